/**
 * A container's part in its networks. Everything is decided and written down first, then wired, and
 * published last; what fails on the way is undone, so that a container is on all its networks or
 * on none.
 */

import { EngineError } from "#base/error.ts";
import { must } from "#base/invariant.ts";
import { runCommand } from "#platform/net/command.ts";
import type { EndpointSettings } from "#wire/docker/networks.ts";
import type { AttachResult, NetworkSandbox, PortRequest } from "../ports.ts";
import {
  type EndpointOwner,
  gatewayEndpoints,
  planHostedEndpoint,
  planLocalEndpoint,
} from "./endpoint-plan.ts";
import { addressesOf, OPTION } from "./network.ts";
import { endpointSettings } from "./network-json.ts";
import { holdPorts, portsJson, publishTarget, releasePorts } from "./publish.ts";
import type { AttachmentRecord, EndpointRecord, PublishedPort } from "./records.ts";
import { hostNameservers } from "./resolvers.ts";
import { renderPorts } from "./ruleset.ts";
import {
  changeTable,
  findHosted,
  findLocal,
  type NetworkState,
  notFound,
  publishEvent,
} from "./state.ts";
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
    const endpoints = planEndpoints(state, sandbox, requested);
    let published: readonly PublishedPort[] = [];
    try {
      published = holdPublished(state, sandbox, endpoints, ports);
      await saveAttachment(state, sandbox, endpoints, published);
      await wire(state, sandbox, endpoints);
      await setGateways(state, sandbox, endpoints);
      await changeTable(state, renderPorts(state.options.table, published, "add"));
      await forgetFlows(published);
      return await resultOf(state, sandbox, endpoints, published);
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
  requested: Readonly<Record<string, EndpointSettings>>,
): readonly EndpointRecord[] {
  const endpoints: EndpointRecord[] = [];
  try {
    for (const [reference, settings] of Object.entries(requested)) {
      const name = `eth${endpoints.length}`;
      const endpoint = planEndpoint(state, sandbox, { reference, settings, interface: name });
      if (endpoint !== undefined) endpoints.push(endpoint);
    }
    return endpoints;
  } catch (error) {
    leaveAll(state, sandbox.containerId, endpoints);
    throw error;
  }
}

interface EndpointRequest {
  readonly reference: string;
  readonly settings: EndpointSettings;
  readonly interface: string;
}

/** Undefined for host and none, which have no endpoint in the kernel. */
function planEndpoint(
  state: NetworkState,
  owner: EndpointOwner,
  { reference, settings, interface: name }: EndpointRequest,
): EndpointRecord | undefined {
  const more = { interface: name, random: state.options.random };
  const local = findLocal(state, reference);
  if (local !== undefined) {
    if (local.removing) throw notFound(reference);
    if (local.record.driver !== "bridge") return undefined;
    if (local.endpoints.has(owner.containerId)) {
      throw new EngineError(
        "forbidden",
        `endpoint with name ${owner.containerName} already exists in network ${local.record.name}`,
      );
    }
    const endpoint = planLocalEndpoint(local, settings, owner, more);
    local.join(owner.containerId, endpoint);
    return endpoint;
  }
  const hosted = findHosted(state, reference);
  if (hosted === undefined) throw notFound(reference);
  return planHostedEndpoint(hosted, settings, owner, more);
}

function leaveAll(
  state: NetworkState,
  containerId: string,
  endpoints: readonly EndpointRecord[],
): void {
  for (const { networkId } of endpoints) state.networks.get(networkId)?.leave(containerId);
}

function holdPublished(
  state: NetworkState,
  sandbox: NetworkSandbox,
  endpoints: readonly EndpointRecord[],
  requests: readonly PortRequest[],
): readonly PublishedPort[] {
  if (requests.length === 0) return [];
  const { v4, v6 } = gatewayEndpoints(endpoints);
  // The network that leads out is the one that answers; an internal one publishes nothing.
  const open = endpoints.filter(({ networkId }) => !state.networks.get(networkId)?.record.internal);
  const ordered = [v4, v6, ...open].filter((endpoint) => endpoint !== undefined);
  const [first] = ordered;
  if (first === undefined) return [];
  const network = state.networks.get(first.networkId)?.record;
  const bindIp = network?.options[OPTION.hostBinding] ?? state.options.bridge.defaultBindIp;
  try {
    return holdPorts(state.ports, requests, publishTarget(ordered), bindIp);
  } catch (error) {
    const reason = EngineError.from(error, "internal");
    throw new EngineError(
      reason.code,
      `driver failed programming external connectivity on endpoint ${sandbox.containerName} (${first.endpointId}): ${reason.message}`,
      { cause: error },
    );
  }
}

async function saveAttachment(
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
  if (endpoints.length === 0) return;
  const wirings = endpoints.map((endpoint) => wiringOf(state, endpoint));
  await state.wiring.connect(wirings, sandbox.pid, sandbox.containerId);
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

async function setGateways(
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

async function resultOf(
  state: NetworkState,
  sandbox: NetworkSandbox,
  endpoints: readonly EndpointRecord[],
  ports: readonly PublishedPort[],
): Promise<AttachResult> {
  const own = [sandbox.hostname].filter((name) => name !== "").join(" ");
  const hosts = endpoints.flatMap((endpoint) => [
    ...(own === "" ? [] : addressesOf(endpoint).map((address) => `${address} ${own}`)),
    ...linkLines(state, endpoint),
  ]);
  const resolved = await state.options.resolver?.attached(sandbox, endpoints);
  return {
    networks: endpoints.map((endpoint) => ({
      networkName: endpoint.networkName,
      endpoint: endpointSettings(endpoint),
    })),
    ports: portsJson(ports),
    hosts,
    nameservers: resolved ?? (await nameservers(state)),
  };
}

async function nameservers(state: NetworkState): Promise<readonly string[]> {
  const { nameservers: configured } = state.options;
  return configured.length > 0 ? configured : hostNameservers();
}

/** `--link name:alias`, the names of old: lines of /etc/hosts. */
function linkLines(state: NetworkState, endpoint: EndpointRecord): readonly string[] {
  return (endpoint.settings.Links ?? []).flatMap((link) => {
    const [target = "", alias = target] = link.split(":");
    const other = [...state.attachments.values()].find(
      ({ containerId, containerName }) =>
        containerName === target.replace(/^\//, "") || containerId.startsWith(target),
    );
    const theirs = other?.endpoints.find(({ networkId }) => networkId === endpoint.networkId);
    const address = theirs === undefined ? undefined : addressesOf(theirs)[0];
    if (other === undefined || address === undefined) return [];
    const names = new Set([alias, other.containerId.slice(0, 12), other.containerName]);
    return [`${address} ${[...names].join(" ")}`];
  });
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
    await state.wiring.removeLinks(endpoints.map(({ hostInterface }) => hostInterface));
  } finally {
    // Addresses are free when the interfaces are gone, not before.
    leaveAll(state, containerId, endpoints);
    releasePorts(state.ports, ports);
    await state.attachmentFiles.remove(containerId);
  }
}

async function unplug(
  state: NetworkState,
  containerId: string,
  endpoint: EndpointRecord,
): Promise<void> {
  await state.hosted.get(endpoint.networkId)?.detached?.(containerId, endpoint);
  announce(state, "disconnect", endpoint, containerId);
}

async function withdrawPorts(state: NetworkState, ports: readonly PublishedPort[]): Promise<void> {
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

/** `docker network connect` of a running container; returns the new endpoint. */
export function connectContainer(
  state: NetworkState,
  sandbox: NetworkSandbox,
  reference: string,
  settings: EndpointSettings,
): Promise<EndpointSettings> {
  return state.containerLock.run(sandbox.containerId, async () => {
    const before = state.attachments.get(sandbox.containerId);
    const endpoints = before?.endpoints ?? [];
    const name = freeInterface(endpoints);
    const endpoint = planEndpoint(state, sandbox, { reference, settings, interface: name });
    if (endpoint === undefined) {
      throw new EngineError(
        "forbidden",
        "container cannot be connected to host network - container must be started with it",
      );
    }
    const after = [...endpoints, endpoint];
    try {
      await saveAttachment(state, sandbox, after, before?.ports ?? []);
      await wire(state, sandbox, [endpoint]);
      await setGateways(state, sandbox, after);
      await state.options.resolver?.attached(sandbox, after);
    } catch (error) {
      await state.wiring.removeLinks([endpoint.hostInterface]);
      state.networks.get(endpoint.networkId)?.leave(sandbox.containerId);
      await saveAttachment(state, sandbox, endpoints, before?.ports ?? []);
      throw error;
    }
    return endpointSettings(endpoint);
  });
}

function freeInterface(endpoints: readonly EndpointRecord[]): string {
  for (let index = 0; ; index += 1) {
    if (!endpoints.some((endpoint) => endpoint.interface === `eth${index}`)) return `eth${index}`;
  }
}

/** `docker network disconnect`; `sandbox` is undefined for one that does not run. */
export function disconnectContainer(
  state: NetworkState,
  containerId: string,
  networkId: string,
  sandbox: NetworkSandbox | undefined,
): Promise<void> {
  return state.containerLock.run(containerId, async () => {
    const attachment = state.attachments.get(containerId);
    const endpoint = attachment?.endpoints.find((candidate) => candidate.networkId === networkId);
    if (attachment === undefined || endpoint === undefined) {
      throw new EngineError(
        "forbidden",
        `container ${containerId} is not connected to network ${networkId}`,
      );
    }
    const gone = addressesOf(endpoint);
    const ports = attachment.ports.filter(({ containerIp }) => !gone.includes(containerIp));
    const lost = attachment.ports.filter(({ containerIp }) => gone.includes(containerIp));
    const rest = attachment.endpoints.filter((candidate) => candidate !== endpoint);
    await withdrawPorts(state, lost);
    releasePorts(state.ports, lost);
    await unplug(state, containerId, endpoint);
    await state.wiring.removeLinks([endpoint.hostInterface]);
    state.networks.get(networkId)?.leave(containerId);
    await saveAttachment(state, must(attachment, "the attachment"), rest, ports);
    if (sandbox === undefined) return;
    await setGateways(state, sandbox, rest);
    await state.options.resolver?.attached(sandbox, rest);
  });
}
