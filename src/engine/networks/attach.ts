/**
 * A container's part in its networks. Everything is decided and written down first, then wired, and
 * published last; what fails on the way is undone, so that a container is on all its networks or
 * on none.
 */

import { EngineError } from "#base/error.ts";
import type { EndpointSettings } from "#wire/docker/networks.ts";
import type { AttachResult, NetworkSandbox, PortRequest } from "../ports.ts";
import { attachResult } from "./attach-result.ts";
import {
  type EndpointOwner,
  gatewayEndpoints,
  planHostedEndpoint,
  planLocalEndpoint,
} from "./endpoint-plan.ts";
import { type Borrowed, borrowAll, returnBorrowed, returnLoans } from "./lend.ts";
import { restoreBridges } from "./lost-bridge.ts";
import { isPlugged, isWired, LocalNetwork, OPTION } from "./network.ts";
import { subinterfaceOf } from "./parent.ts";
import {
  announcePorts,
  holdPorts,
  type PublishTarget,
  publishTarget,
  releasePorts,
  withdrawPorts,
} from "./publish.ts";
import type { EndpointRecord, PublishedPort } from "./records.ts";
import { endHeld } from "./remote-debts.ts";
import { joinRemotes, leaveRemote, publishRemotely } from "./remote-endpoint.ts";
import { findNetwork, type NetworkState, notFound, publishEvent, saveAttachment } from "./state.ts";
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
    let endpoints = await planEndpoints(state, sandbox, borrowed);
    let published: readonly PublishedPort[] = [];
    try {
      endpoints = await joinRemotes(state, sandbox, { endpoints, ports: [], requests: ports });
      published = holdPublished(state, sandbox, endpoints, ports);
      await saveAttachment(state, sandbox, endpoints, published);
      await wire(state, sandbox, endpoints);
      await setGateways(state, sandbox, endpoints);
      await announcePorts(state, published);
      const membership = { endpoints, ports: published, requests: ports };
      endpoints = await publishRemotely(state, sandbox, membership);
      return await attachResult(state, sandbox, endpoints, published);
    } catch (error) {
      await undoAttach(state, sandbox, endpoints, published);
      throw error;
    }
  });
}

/** Takes the addresses in memory, all or none. */
async function planEndpoints(
  state: NetworkState,
  sandbox: NetworkSandbox,
  borrowed: ReadonlyMap<string, Borrowed>,
): Promise<readonly EndpointRecord[]> {
  const endpoints: EndpointRecord[] = [];
  try {
    for (const [reference, taken] of borrowed) {
      const request = { ...taken, reference, interface: freeInterface(endpoints) };
      endpoints.push(planEndpoint(state, sandbox, request));
    }
    return endpoints;
  } catch (error) {
    leaveAll(state, sandbox.containerId, endpoints);
    await returnBorrowed(state, [...borrowed.values()]);
    throw error;
  }
}

export function freeInterface(endpoints: readonly EndpointRecord[]): string {
  for (let index = 0; ; index += 1) {
    if (!endpoints.some((endpoint) => endpoint.interface === `eth${index}`)) return `eth${index}`;
  }
}

export interface EndpointRequest extends Borrowed {
  readonly reference: string;
  readonly interface: string;
}

/** Takes the addresses of one endpoint, in memory. */
export function planEndpoint(
  state: NetworkState,
  owner: EndpointOwner,
  { reference, settings, interface: name, loan, given }: EndpointRequest,
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
  const planned = planLocalEndpoint(
    network,
    loan === undefined ? settings : withoutMasks(settings),
    owner,
    more,
    given,
  );
  const endpoint = loan === undefined ? planned : { ...planned, loan };
  network.join(owner.containerId, endpoint);
  return endpoint;
}

/** The swarm lends addresses with their prefix length, which networks of plug-ins know. */
function withoutMasks(settings: EndpointSettings): EndpointSettings {
  const { IPv4Address, IPv6Address, ...more } = settings.IPAMConfig ?? {};
  const bare = (address: string) => address.split("/")[0] ?? address;
  return {
    ...settings,
    IPAMConfig: {
      ...more,
      ...(IPv4Address === undefined ? {} : { IPv4Address: bare(IPv4Address) }),
      ...(IPv6Address === undefined ? {} : { IPv6Address: bare(IPv6Address) }),
    },
  };
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
  // A plug-in whose network leads out publishes them itself.
  if ((v4 ?? v6)?.remote !== undefined) return undefined;
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

export async function wire(
  state: NetworkState,
  sandbox: NetworkSandbox,
  endpoints: readonly EndpointRecord[],
): Promise<void> {
  const wired = endpoints.filter(isWired);
  if (wired.length > 0) {
    await restoreBridges(state, wired);
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
  const on = local === undefined ? undefined : subinterfaceOf(local.record);
  return {
    endpoint,
    mtu: local?.mtu(mtu) ?? hosted?.mtu ?? mtu,
    neighbours: local?.record.options[OPTION.icc] !== "false",
    ...(on === undefined ? {} : { on }),
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
  await freeEndpoints(state, sandbox.containerId, endpoints);
}

/** What endpoints that are no more held. */
export async function freeEndpoints(
  state: NetworkState,
  containerId: string,
  endpoints: readonly EndpointRecord[],
): Promise<void> {
  for (const endpoint of [...endpoints].reverse()) await endHeld(state, endpoint);
  leaveAll(state, containerId, endpoints);
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
    const backwards = [...endpoints].reverse();
    for (const endpoint of backwards) await unplug(state, containerId, endpoint);
    await state.wiring.removeLinks(
      endpoints.filter(isPlugged).map(({ hostInterface }) => hostInterface),
    );
  } finally {
    // Addresses are free when the interfaces are gone, not before.
    releasePorts(state.ports, ports);
    await freeEndpoints(state, containerId, endpoints);
    await state.attachmentFiles.remove(containerId);
  }
}

export async function unplug(
  state: NetworkState,
  containerId: string,
  endpoint: EndpointRecord,
): Promise<void> {
  await state.hosted.get(endpoint.networkId)?.detached?.(containerId, endpoint);
  await leaveRemote(state, endpoint);
  announce(state, "disconnect", endpoint, containerId);
}
