/**
 * Endpoints of a plug-in's network: CreateEndpoint and Join before the interface is taken into the
 * container, Leave and DeleteEndpoint after. How far the plug-in has come is on disk before each
 * step, so that whoever finds the record after a crash knows what to take back.
 */

import { readFile } from "node:fs/promises";
import { EngineError } from "#base/error.ts";
import type { NetworkSandbox, PortRequest } from "../ports.ts";
import { gatewayEndpoints } from "./endpoint-plan.ts";
import type { EndpointRecord, PublishedPort } from "./records.ts";
import { mustBeRemote, withAnswered, withJoin } from "./remote-answers.ts";
import { callQuietly, remoteOf } from "./remote-call.ts";
import { type NetworkState, saveAttachment } from "./state.ts";

const EXPOSED = "com.docker.network.endpoint.exposedports";
const PORTMAP = "com.docker.network.portmap";
const PROTOCOLS = { tcp: 6, udp: 17, sctp: 132 } as const;

export interface Membership {
  readonly endpoints: readonly EndpointRecord[];
  /** Published by the host. */
  readonly ports: readonly PublishedPort[];
  readonly requests: readonly PortRequest[];
}

/** Brings the plug-ins' endpoints to where their interfaces can be taken; what fails stays recorded. */
export async function joinRemotes(
  state: NetworkState,
  sandbox: NetworkSandbox,
  { endpoints, ports, requests }: Membership,
): Promise<readonly EndpointRecord[]> {
  let all = endpoints;
  const keep = async (next: EndpointRecord) => {
    all = all.map((one) => (one.endpointId === next.endpointId ? next : one));
    const network = state.networks.get(next.networkId);
    network?.leave(sandbox.containerId);
    network?.join(sandbox.containerId, next);
    await saveAttachment(state, sandbox, all, ports);
    return next;
  };
  const planned = endpoints.filter(({ remote }) => remote?.stage === "planned");
  if (planned.length > 0) await saveAttachment(state, sandbox, endpoints, ports);
  for (const endpoint of planned) {
    const created = await keep(await createEndpoint(state, sandbox, endpoint, requests));
    const others = all.filter((one) => one !== created);
    await keep(await join(state, sandbox, created, { others, requests }));
  }
  return all;
}

async function createEndpoint(
  state: NetworkState,
  { containerName }: NetworkSandbox,
  endpoint: EndpointRecord,
  requests: readonly PortRequest[],
): Promise<EndpointRecord> {
  const remote = mustBeRemote(endpoint);
  const { networkId, networkName, endpointId, ipv4, ipv6, mac, settings } = endpoint;
  try {
    const answer = await remoteOf(state, remote.driver, "NetworkDriver").call("CreateEndpoint", {
      NetworkID: networkId,
      EndpointID: endpointId,
      Options: { ...settings.DriverOpts, ...portOptions(requests) },
      Interface: { Address: ipv4 ?? "", AddressIPv6: ipv6 ?? "", MacAddress: mac },
    });
    return { ...withAnswered(endpoint, answer), remote: { ...remote, stage: "created" } };
  } catch (error) {
    const { code, message } = EngineError.from(error, "internal");
    throw new EngineError(
      code,
      `failed to create endpoint ${containerName} on network ${networkName}: ${message}`,
      { cause: error },
    );
  }
}

async function join(
  state: NetworkState,
  { pid }: NetworkSandbox,
  endpoint: EndpointRecord,
  {
    others,
    requests,
  }: { readonly others: readonly EndpointRecord[]; readonly requests: readonly PortRequest[] },
): Promise<EndpointRecord> {
  const remote = mustBeRemote(endpoint);
  const answer = await remoteOf(state, remote.driver, "NetworkDriver").call("Join", {
    ...idsOf(endpoint),
    SandboxKey: `/proc/${pid}/ns/net`,
    Options: portOptions(requests),
  });
  const joined = withJoin(endpoint, answer, (name) =>
    others.some((other) => other.interface === name),
  );
  const source = joined.remote?.source;
  if (source === undefined) return joined;
  const mac = await readFile(`/sys/class/net/${source}/address`, "utf8").catch(() => undefined);
  if (mac === undefined) {
    throw new EngineError(
      "internal",
      `failed to add interface ${source} to sandbox: failed to get link by name "${source}": Link not found`,
    );
  }
  return joined.mac === "" ? { ...joined, mac: mac.trim() } : joined;
}

/** The plug-in whose network leads out publishes the ports. */
export async function publishRemotely(
  state: NetworkState,
  sandbox: NetworkSandbox,
  { endpoints, ports, requests }: Membership,
): Promise<readonly EndpointRecord[]> {
  const way = wayOut(endpoints);
  if (way?.remote === undefined || way.remote.external === true) return endpoints;
  // Before the plug-in hears of it: what is marked is revoked.
  const marked = await markExternal(state, sandbox, { endpoints, ports }, way);
  await program(state, sandbox, way, requests);
  return marked;
}

/** One whose network no longer leads out lets go of the ports, for others to publish them. */
export async function revokeRemotely(
  state: NetworkState,
  sandbox: NetworkSandbox,
  { endpoints, ports }: Omit<Membership, "requests">,
): Promise<readonly EndpointRecord[]> {
  const way = wayOut(endpoints);
  let all = endpoints;
  for (const endpoint of endpoints) {
    if (endpoint.remote?.external !== true || endpoint.endpointId === way?.endpointId) continue;
    await revoke(state, endpoint);
    all = await markExternal(state, sandbox, { endpoints: all, ports }, endpoint);
  }
  return all;
}

function wayOut(endpoints: readonly EndpointRecord[]): EndpointRecord | undefined {
  const { v4, v6 } = gatewayEndpoints(endpoints);
  return v4 ?? v6;
}

/** Turns the mark of one endpoint over, on disk as well. */
async function markExternal(
  state: NetworkState,
  sandbox: NetworkSandbox,
  { endpoints, ports }: Omit<Membership, "requests">,
  endpoint: EndpointRecord,
): Promise<readonly EndpointRecord[]> {
  const remote = mustBeRemote(endpoint);
  const next = { ...endpoint, remote: { ...remote, external: remote.external !== true } };
  const all = endpoints.map((one) => (one.endpointId === next.endpointId ? next : one));
  state.networks.get(next.networkId)?.join(sandbox.containerId, next);
  await saveAttachment(state, sandbox, all, ports);
  return all;
}

async function program(
  state: NetworkState,
  { containerName }: NetworkSandbox,
  endpoint: EndpointRecord,
  requests: readonly PortRequest[],
): Promise<void> {
  const { driver } = mustBeRemote(endpoint);
  try {
    await remoteOf(state, driver, "NetworkDriver").call("ProgramExternalConnectivity", {
      ...idsOf(endpoint),
      Options: portOptions(requests),
    });
  } catch (error) {
    const { code, message } = EngineError.from(error, "internal");
    if (code === "unimplemented") {
      // Docker goes on as well: plug-ins need not have it.
      if (requests.length > 0) {
        state.log.warn("a plugin publishes no ports", { container: containerName, plugin: driver });
      }
      return;
    }
    throw new EngineError(
      code,
      `driver failed programming external connectivity on endpoint ${containerName} (${endpoint.endpointId}): ${message}`,
      { cause: error },
    );
  }
}

async function revoke(state: NetworkState, endpoint: EndpointRecord): Promise<void> {
  const remote = remoteOf(state, mustBeRemote(endpoint).driver, "NetworkDriver");
  await callQuietly(state, remote, "RevokeExternalConnectivity", idsOf(endpoint));
}

/** The first half of the way back, while the interface is still in the container. */
export async function leaveRemote(state: NetworkState, endpoint: EndpointRecord): Promise<void> {
  const { remote } = endpoint;
  if (remote === undefined || remote.stage === "planned") return;
  if (remote.external === true) await revoke(state, endpoint);
  const driver = remoteOf(state, remote.driver, "NetworkDriver");
  await callQuietly(state, driver, "Leave", idsOf(endpoint));
}

/** The second half: the plug-in gets its interface, if it is still there, and the endpoint ends. */
export async function deleteRemoteEndpoint(
  state: NetworkState,
  endpoint: EndpointRecord,
): Promise<boolean> {
  if (endpoint.remote === undefined) return true;
  const driver = remoteOf(state, endpoint.remote.driver, "NetworkDriver");
  return await callQuietly(state, driver, "DeleteEndpoint", idsOf(endpoint));
}

function idsOf({ networkId, endpointId }: EndpointRecord) {
  return { NetworkID: networkId, EndpointID: endpointId };
}

function portOptions(requests: readonly PortRequest[]): Readonly<Record<string, unknown>> {
  return {
    [EXPOSED]: requests.map(({ protocol, containerPort }) => ({
      Proto: PROTOCOLS[protocol],
      Port: containerPort,
    })),
    [PORTMAP]: requests.map(({ protocol, containerPort, hostIp, hostPort, hostPortEnd }) => ({
      Proto: PROTOCOLS[protocol],
      IP: "",
      Port: containerPort,
      HostIP: hostIp,
      HostPort: hostPort,
      HostPortEnd: hostPortEnd ?? hostPort,
    })),
  };
}
