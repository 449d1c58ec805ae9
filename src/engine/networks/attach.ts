/**
 * A container's part in its networks. Everything is decided and written down first, then wired, and
 * published last; what fails on the way is undone, so that a container is on all its networks or
 * on none.
 */

import { EngineError } from "#base/error.ts";
import { runCommand } from "#platform/net/command.ts";
import type { EndpointSettings } from "#wire/docker/networks.ts";
import type { AttachResult, NetworkSandbox, PortRequest } from "../ports.ts";
import { attachResult } from "./attach-result.ts";
import {
  type EndpointOwner,
  gatewayEndpoints,
  planHostedEndpoint,
  planLocalEndpoint,
} from "./endpoint-plan.ts";
import { type Borrowed, borrowAll, returnLoans } from "./lend.ts";
import { isPlugged, isWired, LocalNetwork, OPTION } from "./network.ts";
import { MODE_OPTION } from "./parent.ts";
import { holdPorts, type PublishTarget, publishTarget, releasePorts } from "./publish.ts";
import type { AttachmentRecord, EndpointRecord, PublishedPort } from "./records.ts";
import { renderPorts } from "./ruleset.ts";
import { changeTable, findNetwork, type NetworkState, notFound, publishEvent } from "./state.ts";
import type { EndpointWiring, Gateway } from "./wiring.ts";

export async function attachContainer(
  state: NetworkState,
  sandbox: NetworkSandbox,
  requested: Readonly<Record<string, EndpointSettings>>,
  ports: readonly PortRequest[],
): Promise<AttachResult> {
  return state.containerLock.run(sandbox.containerId, async () => {
    // An earlier run of the container that nobody could clean up after.
    await detachLocked(state, sandbox.containerId);
    const borrowed = await borrowAll(state, sandbox, requested);
    const endpoints = planEndpoints(state, sandbox, borrowed);
    let published: readonly PublishedPort[] = [];
    try {
      published = holdPublished(state, sandbox, endpoints, ports);
      await saveAttachment(state, sandbox, endpoints, published);
      await wire(state, sandbox, endpoints);
      await setGateways(state, sandbox, endpoints);
      await announcePorts(state, published);
      return await attachResult(state, sandbox, endpoints, published);
    } catch (error) {
      await undoAttach(state, sandbox, endpoints, published);
      throw error;
    }
  });
}

/** Takes the addresses in memory, all or none. */
function planEndpoints(
  state: NetworkState,
  sandbox: NetworkSandbox,
  borrowed: ReadonlyMap<string, Borrowed>,
): readonly EndpointRecord[] {
  const endpoints: EndpointRecord[] = [];
  try {
    for (const [reference, { settings, loan }] of borrowed) {
      const name = freeInterface(endpoints);
      const request = { reference, settings, interface: name, loan };
      endpoints.push(planEndpoint(state, sandbox, request));
    }
    return endpoints;
  } catch (error) {
    leaveAll(state, sandbox.containerId, endpoints);
    returnLoans(state, [...borrowed.values()]);
    throw error;
  }
}

export function freeInterface(endpoints: readonly EndpointRecord[]): string {
  for (let index = 0; ; index += 1) {
    if (!endpoints.some((endpoint) => endpoint.interface === `eth${index}`)) return `eth${index}`;
  }
}

export interface EndpointRequest {
  readonly reference: string;
  readonly settings: EndpointSettings;
  readonly interface: string;
  readonly loan?: string | undefined;
}

/** Takes the addresses of one endpoint, in memory. */
export function planEndpoint(
  state: NetworkState,
  owner: EndpointOwner,
  { reference, settings, interface: name, loan }: EndpointRequest,
): EndpointRecord {
  const more = { interface: name, random: state.options.random };
  const network = findNetwork(state, reference, settings.NetworkID);
  if (!(network instanceof LocalNetwork)) {
    const endpoint = planHostedEndpoint(network, settings, owner, more);
    return loan === undefined ? endpoint : { ...endpoint, loan };
  }
  if (network.removing) throw notFound(reference);
  if (network.endpoints.has(owner.containerId)) {
    throw new EngineError(
      "forbidden",
      `endpoint with name ${owner.containerName} already exists in network ${network.record.name}`,
    );
  }
  const endpoint = planLocalEndpoint(network, settings, owner, more);
  network.join(owner.containerId, endpoint);
  return endpoint;
}

function leaveAll(
  state: NetworkState,
  containerId: string,
  endpoints: readonly EndpointRecord[],
): void {
  for (const { networkId } of endpoints) state.networks.get(networkId)?.leave(containerId);
}

/** The endpoint that published ports lead to, and the host address of those that name none. */
export function publishPlan(
  state: NetworkState,
  endpoints: readonly EndpointRecord[],
):
  | {
      readonly endpointId: string;
      readonly target: PublishTarget;
      readonly bindIp: string;
    }
  | undefined {
  const { v4, v6 } = gatewayEndpoints(endpoints);
  // The network that leads out is the one that answers; an internal one publishes nothing.
  const open = endpoints.filter(
    (endpoint) => state.networks.get(endpoint.networkId)?.record.internal === false,
  );
  // What has its own place on the network outside is reached there, not through the host.
  const ordered = [v4, v6, ...open].filter(
    (endpoint): endpoint is EndpointRecord => endpoint !== undefined && isPlugged(endpoint),
  );
  const [first] = ordered;
  if (first === undefined) return undefined;
  const network = state.networks.get(first.networkId)?.record;
  const bindIp = network?.options[OPTION.hostBinding] ?? state.options.bridge.defaultBindIp;
  return { endpointId: first.endpointId, target: publishTarget(ordered), bindIp };
}

export function holdPublished(
  state: NetworkState,
  sandbox: NetworkSandbox,
  endpoints: readonly EndpointRecord[],
  requests: readonly PortRequest[],
): readonly PublishedPort[] {
  const plan = requests.length === 0 ? undefined : publishPlan(state, endpoints);
  if (plan === undefined) return [];
  try {
    return holdPorts(state.ports, requests, plan.target, plan.bindIp);
  } catch (error) {
    const reason = EngineError.from(error, "internal");
    throw new EngineError(
      reason.code,
      `driver failed programming external connectivity on endpoint ${sandbox.containerName} (${plan.endpointId}): ${reason.message}`,
      { cause: error },
    );
  }
}

export async function saveAttachment(
  state: NetworkState,
  owner: EndpointOwner,
  endpoints: readonly EndpointRecord[],
  ports: readonly PublishedPort[],
): Promise<void> {
  const { containerId, containerName, hostname } = owner;
  const record: AttachmentRecord = {
    version: 1,
    containerId,
    containerName,
    hostname,
    endpoints,
    ports,
  };
  state.attachments.set(containerId, record);
  await state.attachmentFiles.save(containerId, record);
}

export async function wire(
  state: NetworkState,
  sandbox: NetworkSandbox,
  endpoints: readonly EndpointRecord[],
): Promise<void> {
  const wired = endpoints.filter(isWired);
  if (wired.length > 0) {
    const wirings = wired.map((endpoint) => wiringOf(state, endpoint));
    await state.wiring.connect(wirings, sandbox.pid, sandbox.containerId);
  }
  for (const endpoint of endpoints) {
    await state.hosted.get(endpoint.networkId)?.attached?.(sandbox, endpoint);
    announce(state, "connect", endpoint, sandbox.containerId);
  }
}

function wiringOf(state: NetworkState, endpoint: EndpointRecord): EndpointWiring {
  const local = state.networks.get(endpoint.networkId);
  const hosted = state.hosted.get(endpoint.networkId);
  const { mtu } = state.options.bridge;
  return {
    endpoint,
    mtu: local?.mtu(mtu) ?? hosted?.mtu ?? mtu,
    neighbours: local?.record.options[OPTION.icc] !== "false",
    ...(local?.record.driver === "macvlan"
      ? { macvlan: local.record.options[MODE_OPTION] ?? "bridge" }
      : {}),
  };
}

function announce(
  state: NetworkState,
  action: "connect" | "disconnect",
  { networkId, networkName }: EndpointRecord,
  container: string,
): void {
  const driver =
    state.networks.get(networkId)?.record.driver ??
    state.hosted.get(networkId)?.inspect().Driver ??
    "bridge";
  publishEvent(state, action, { id: networkId, name: networkName, driver }, { container });
}

export async function setGateways(
  state: NetworkState,
  sandbox: Pick<NetworkSandbox, "pid">,
  endpoints: readonly EndpointRecord[],
): Promise<void> {
  const { v4, v6 } = gatewayEndpoints(endpoints);
  const gateway = (endpoint: EndpointRecord | undefined, key: "gateway4" | "gateway6") => {
    const address = endpoint?.[key];
    return endpoint === undefined || address === undefined
      ? undefined
      : ({ address, interface: endpoint.interface } satisfies Gateway);
  };
  const gateways = { v4: gateway(v4, "gateway4"), v6: gateway(v6, "gateway6") };
  if (gateways.v4 === undefined && gateways.v6 === undefined) return;
  await state.wiring.setGateways(sandbox.pid, gateways);
}

async function undoAttach(
  state: NetworkState,
  sandbox: NetworkSandbox,
  endpoints: readonly EndpointRecord[],
  published: readonly PublishedPort[],
): Promise<void> {
  if (state.attachments.has(sandbox.containerId)) {
    await detachLocked(state, sandbox.containerId);
    return;
  }
  releasePorts(state.ports, published);
  leaveAll(state, sandbox.containerId, endpoints);
  returnLoans(state, endpoints);
}

export function detachContainer(state: NetworkState, containerId: string): Promise<void> {
  return state.containerLock.run(containerId, () => detachLocked(state, containerId));
}

/** Withdraws what is published first, so that nothing is sent to where nobody is. */
async function detachLocked(state: NetworkState, containerId: string): Promise<void> {
  const attachment = state.attachments.get(containerId);
  if (attachment === undefined) return;
  const { endpoints, ports } = attachment;
  state.attachments.delete(containerId);
  try {
    await withdrawPorts(state, ports);
    await state.options.resolver?.detached(containerId);
    for (const endpoint of endpoints) await unplug(state, containerId, endpoint);
    await state.wiring.removeLinks(
      endpoints.filter(isPlugged).map(({ hostInterface }) => hostInterface),
    );
  } finally {
    // Addresses are free when the interfaces are gone, not before.
    leaveAll(state, containerId, endpoints);
    releasePorts(state.ports, ports);
    returnLoans(state, endpoints);
    await state.attachmentFiles.remove(containerId);
  }
}

export async function unplug(
  state: NetworkState,
  containerId: string,
  endpoint: EndpointRecord,
): Promise<void> {
  await state.hosted.get(endpoint.networkId)?.detached?.(containerId, endpoint);
  announce(state, "disconnect", endpoint, containerId);
}

export async function announcePorts(
  state: NetworkState,
  ports: readonly PublishedPort[],
): Promise<void> {
  await changeTable(state, renderPorts(state.options.table, ports, "add"));
  await forgetFlows(ports);
}

export async function withdrawPorts(
  state: NetworkState,
  ports: readonly PublishedPort[],
): Promise<void> {
  if (ports.length === 0) return;
  await changeTable(state, renderPorts(state.options.table, ports, "delete"));
  await forgetFlows(ports);
}

/**
 * A UDP flow keeps its old way for as long as it is used: flows of the published ports are
 * forgotten when the way changes. Best effort; without the tool they end by their timeout.
 */
async function forgetFlows(ports: readonly PublishedPort[]): Promise<void> {
  const udp = ports.filter(
    ({ protocol, containerIp }) => protocol === "udp" && !containerIp.includes(":"),
  );
  for (const hostPort of new Set(udp.map((port) => port.hostPort))) {
    const args = ["-D", "-p", "udp", "--orig-port-dst", String(hostPort)];
    await runCommand("conntrack", args).catch(() => undefined);
  }
}
