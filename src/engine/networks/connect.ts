/**
 * Changes of a running container's networks: `docker network connect`, `disconnect`, and a new name.
 * Published ports follow the network that leads out: when that becomes another one, they are sent
 * there, on the same ports of the host.
 */

import { EngineError } from "#base/error.ts";
import type { EndpointSettings } from "#wire/docker/networks.ts";
import type { AttachResult, NetworkSandbox, PortRequest } from "../ports.ts";
import {
  freeEndpoints,
  freeInterface,
  holdPublished,
  planEndpoint,
  publishPlan,
  setGateways,
  unplug,
  wire,
} from "./attach.ts";
import { attachResult } from "./attach-result.ts";
import { dnsNames } from "./endpoint-plan.ts";
import { type Borrowed, borrow, returnBorrowed } from "./lend.ts";
import { LocalNetwork } from "./network.ts";
import { announcePorts, releasePorts, withdrawPorts } from "./publish.ts";
import type { EndpointRecord, PublishedPort } from "./records.ts";
import { joinRemotes, leaveRemote, publishRemotely, revokeRemotely } from "./remote-endpoint.ts";
import {
  announceNames,
  findNetwork,
  type NetworkState,
  publishEvent,
  saveAttachment,
} from "./state.ts";

/** The endpoint is wired or nothing has changed. */
export function connectContainer(
  state: NetworkState,
  sandbox: NetworkSandbox,
  wanted: { readonly reference: string; readonly settings: EndpointSettings },
  requests: readonly PortRequest[],
): Promise<AttachResult> {
  const { containerId } = sandbox;
  return state.containerLock.run(containerId, async () => {
    const before = state.attachments.get(containerId);
    const endpoints = before?.endpoints ?? [];
    const { reference } = wanted;
    const borrowed = await borrow(state, sandbox, reference, wanted.settings);
    const planned = await planBorrowed(state, sandbox, reference, borrowed, endpoints);
    let after: readonly EndpointRecord[] = [...endpoints, planned];
    let ports = before?.ports ?? [];
    try {
      // Before the kernel has it, so that a crash in between leaves nothing that nobody knows of.
      await saveAttachment(state, sandbox, after, ports);
      after = await joinRemotes(state, sandbox, { endpoints: after, ports, requests });
      await wire(state, sandbox, after.slice(-1));
      await setGateways(state, sandbox, after);
      after = await revokeRemotely(state, sandbox, { endpoints: after, ports });
      ports = await movePorts(state, sandbox, { from: endpoints, to: after, ports }, requests);
      after = await publishRemotely(state, sandbox, { endpoints: after, ports, requests });
      return await attachResult(state, sandbox, after, ports);
    } catch (error) {
      await takeBack(state, sandbox, planned);
      const now = state.attachments.get(containerId)?.endpoints ?? after;
      const rest = now.filter(({ endpointId }) => endpointId !== planned.endpointId);
      await saveAttachment(state, sandbox, rest, ports);
      await setGateways(state, sandbox, rest);
      await publishRemotely(state, sandbox, { endpoints: rest, ports, requests }).catch(
        (again: unknown) =>
          state.log.error("ports are no longer published", {
            container: containerId,
            error: again,
          }),
      );
      throw error;
    }
  });
}

/** An endpoint out of a container that goes on, as far as it had come. */
export async function takeBack(
  state: NetworkState,
  { containerId, pid }: NetworkSandbox,
  planned: EndpointRecord,
): Promise<void> {
  const endpoint =
    state.attachments
      .get(containerId)
      ?.endpoints.find(({ endpointId }) => endpointId === planned.endpointId) ?? planned;
  await leaveRemote(state, endpoint);
  await state.wiring.disconnect(endpoint, pid);
  await freeEndpoints(state, containerId, [endpoint]);
}

async function planBorrowed(
  state: NetworkState,
  sandbox: NetworkSandbox,
  reference: string,
  borrowed: Borrowed,
  endpoints: readonly EndpointRecord[],
): Promise<EndpointRecord> {
  try {
    const request = { ...borrowed, reference, interface: freeInterface(endpoints) };
    return planEndpoint(state, sandbox, request);
  } catch (error) {
    await returnBorrowed(state, [borrowed]);
    throw error;
  }
}

/** Takes one endpoint of a running container away. */
export function disconnectContainer(
  state: NetworkState,
  sandbox: NetworkSandbox,
  reference: string,
  requests: readonly PortRequest[],
): Promise<AttachResult> {
  const { containerId } = sandbox;
  return state.containerLock.run(containerId, async () => {
    const network = findNetwork(state, reference);
    const { id, name } = network instanceof LocalNetwork ? network.record : network;
    const attachment = state.attachments.get(containerId);
    const endpoint = attachment?.endpoints.find(({ networkId }) => networkId === id);
    if (attachment === undefined || endpoint === undefined) {
      throw new EngineError(
        "forbidden",
        `container ${containerId} is not connected to network ${name}`,
      );
    }
    const rest = attachment.endpoints.filter((candidate) => candidate !== endpoint);
    await unplug(state, containerId, endpoint);
    await state.wiring.disconnect(endpoint, sandbox.pid);
    await freeEndpoints(state, containerId, [endpoint]);
    await saveAttachment(state, sandbox, rest, attachment.ports);
    await setGateways(state, sandbox, rest);
    const move = { from: attachment.endpoints, to: rest, ports: attachment.ports };
    const ports = await movePorts(state, sandbox, move, requests);
    const left = await publishRemotely(state, sandbox, { endpoints: rest, ports, requests });
    return await attachResult(state, sandbox, left, ports);
  });
}

/** A container's names on its networks after `docker rename`; fine when it is on none. */
export function renameContainer(state: NetworkState, sandbox: NetworkSandbox): Promise<void> {
  return state.containerLock.run(sandbox.containerId, async () => {
    const attachment = state.attachments.get(sandbox.containerId);
    if (attachment === undefined) return;
    const endpoints = attachment.endpoints.map((endpoint) =>
      endpoint.names.length === 0
        ? endpoint
        : { ...endpoint, names: dnsNames(sandbox, endpoint.settings) },
    );
    for (const endpoint of endpoints) {
      state.networks.get(endpoint.networkId)?.join(sandbox.containerId, endpoint);
    }
    await saveAttachment(state, sandbox, endpoints, attachment.ports);
    await announceNames(state, sandbox, endpoints);
  });
}

interface Move {
  readonly from: readonly EndpointRecord[];
  readonly to: readonly EndpointRecord[];
  readonly ports: readonly PublishedPort[];
}

/**
 * Publishes on the networks that there are now what was published on those before. Nothing is
 * touched when the ports lead where they should already. All or nothing.
 */
async function movePorts(
  state: NetworkState,
  sandbox: NetworkSandbox,
  { from, to, ports }: Move,
  requests: readonly PortRequest[],
): Promise<readonly PublishedPort[]> {
  const [before, after] = [publishPlan(state, from)?.target, publishPlan(state, to)?.target];
  const same = before?.ipv4 === after?.ipv4 && before?.ipv6 === after?.ipv6;
  if (requests.length === 0 || same) return ports;
  await withdrawPorts(state, ports);
  releasePorts(state.ports, ports);
  let next: readonly PublishedPort[] = [];
  try {
    next = holdPublished(state, sandbox, to, keepingHostPorts(requests, ports));
    await saveAttachment(state, sandbox, to, next);
    await announcePorts(state, next);
    return next;
  } catch (error) {
    releasePorts(state.ports, next);
    for (const { protocol, hostIp, hostPort } of ports) {
      state.ports.adopt({ protocol, address: hostIp, port: hostPort });
    }
    await announcePorts(state, ports);
    throw error;
  }
}

/** Requests whose random ports are those that the container has had so far. */
function keepingHostPorts(
  requests: readonly PortRequest[],
  ports: readonly PublishedPort[],
): readonly PortRequest[] {
  const had = [...ports];
  return requests.map((request) => {
    const { containerPort, protocol, hostPort, hostPortEnd } = request;
    const at = had.findIndex(
      (port) => port.containerPort === containerPort && port.protocol === protocol,
    );
    const before = had[at];
    if (before === undefined || (hostPort !== 0 && hostPortEnd === undefined)) return request;
    // One request may have been bound in both families.
    for (let index = had.length - 1; index >= 0; index -= 1) {
      const other = had[index];
      if (other?.hostPort === before.hostPort && other.protocol === protocol) had.splice(index, 1);
    }
    return { containerPort, protocol, hostIp: request.hostIp, hostPort: before.hostPort };
  });
}

/** For containers that do not run, whose networks are their own record's. */
export function announceDisconnect(
  state: NetworkState,
  reference: string,
  container: string,
): void {
  const network = findNetwork(state, reference);
  const { id, name } = network instanceof LocalNetwork ? network.record : network;
  const driver = network instanceof LocalNetwork ? network.record.driver : network.inspect().Driver;
  publishEvent(state, "disconnect", { id, name, driver }, { container });
}
