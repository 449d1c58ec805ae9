/**
 * What the parts of the network service share: networks and attachments in memory, their files, and
 * the kernel. Decisions are made on the memory, without waiting in between; files and kernel follow.
 */

import { EngineError } from "#base/error.ts";
import type { Clock, Log, Random } from "#base/ports.ts";
import type { KeyedLock } from "#platform/async.ts";
import type { Nft } from "#platform/net/nft.ts";
import type { PluginRegistry } from "../plugins/registry.ts";
import type { EventBus, NetworkSandbox } from "../ports.ts";
import type { EndpointOwner } from "./endpoint-plan.ts";
import type { SubnetPool } from "./ipam.ts";
import type { NetworkLender } from "./lend.ts";
import { leadsLoopback6 } from "./loopback6.ts";
import { type HostedNetwork, type LocalNetwork, OPTION } from "./network.ts";
import type { HostPorts } from "./port-hold.ts";
import type {
  AttachmentRecord,
  EndpointRecord,
  HeldEndpoint,
  NetworkRecord,
  PublishedPort,
  RecordFolder,
} from "./records.ts";
import { type RulesetNetwork, renderTable } from "./ruleset.ts";
import type { Wiring } from "./wiring.ts";

/**
 * How a container reaches what is outside its networks: by a router of its own, by the engine only
 * (a swarm network whose data path leads nowhere else), or not at all.
 */
export type Exit = "container" | "engine" | "none";

/** Who answers DNS inside containers; without one they get the host's name servers. */
export interface ContainerResolver {
  /**
   * Called when the endpoints are wired, and when they change. Resolves to what resolv.conf shall
   * name; undefined = none of the container's networks has names.
   */
  attached(
    sandbox: NetworkSandbox,
    endpoints: readonly EndpointRecord[],
    exit: Exit,
  ): Promise<readonly string[] | undefined>;
  detached(containerId: string): Promise<void>;
}

export interface NetworkOptions {
  /** Network definitions: DATA_ROOT/networks; beside it DATA_ROOT/networks-held, of plug-ins. */
  readonly dataFolder: string;
  /** What running containers hold: RUN_ROOT/networks. */
  readonly runFolder: string;
  /** nftables table, and the mark on interfaces; its own for every engine in one namespace. */
  readonly table: string;
  readonly bridge: {
    readonly name: string;
    /** Address of the host on it with prefix length; undefined = cut from the pools. */
    readonly cidr: string | undefined;
    /** Part of the subnet that containers get. */
    readonly fixedCidr: string | undefined;
    readonly mtu: number;
    /** Host address of published ports that name none. */
    readonly defaultBindIp: string;
  };
  /** Empty = docker's. */
  readonly addressPools: readonly SubnetPool[];
  /** Name servers for every container; empty = the host's. */
  readonly nameservers: readonly string[];
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly events?: Pick<EventBus, "publish"> | undefined;
  readonly resolver?: ContainerResolver | undefined;
  /** Drivers that are not our own; absent = there are none. */
  readonly plugins?: PluginRegistry | undefined;
}

export interface NetworkState {
  readonly options: NetworkOptions;
  readonly log: Log;
  readonly pools: readonly SubnetPool[];
  /** By id. */
  readonly networks: Map<string, LocalNetwork>;
  readonly hosted: Map<string, HostedNetwork>;
  /** By container id. */
  readonly attachments: Map<string, AttachmentRecord>;
  readonly networkFiles: RecordFolder<NetworkRecord>;
  readonly attachmentFiles: RecordFolder<AttachmentRecord>;
  /** What plug-ins hold, by endpoint id. */
  readonly heldFiles: RecordFolder<HeldEndpoint>;
  readonly ports: HostPorts;
  readonly wiring: Wiring;
  readonly nft: Nft;
  /** Networks of the swarm for containers that are no tasks; comes when there is a swarm to ask. */
  lender?: NetworkLender | undefined;
  /** One change of a container's network at a time. */
  readonly containerLock: KeyedLock;
}

/** What a container holds, in memory and on disk. */
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
  const before = state.attachments.get(containerId)?.endpoints ?? [];
  state.attachments.set(containerId, record);
  await saveHeld(state, containerId, before, endpoints);
  await state.attachmentFiles.save(containerId, record);
}

/** Once for each endpoint, whatever becomes of it: enough to take it back from its plug-ins. */
async function saveHeld(
  state: NetworkState,
  containerId: string,
  before: readonly EndpointRecord[],
  after: readonly EndpointRecord[],
): Promise<void> {
  for (const endpoint of after) {
    const { endpointId, remote, held } = endpoint;
    if (remote === undefined && held === undefined) continue;
    if (before.some((known) => known.endpointId === endpointId)) continue;
    const joined = remote === undefined ? {} : { remote: { ...remote, stage: "joined" as const } };
    const record = { version: 1, containerId, endpoint: { ...endpoint, ...joined } } as const;
    await state.heldFiles.save(endpointId, record);
  }
}

/**
 * Finds a network of this host alone by name, whole id, or unique beginning of an id. Those of the
 * swarm are found as `hosted`, or by their id in an endpoint's settings.
 */
export function findLocal(state: NetworkState, reference: string): LocalNetwork | undefined {
  const wanted = reference === "default" ? "bridge" : reference;
  const exact = state.networks.get(wanted);
  if (exact !== undefined && exact.record.swarm !== true) return exact;
  const all = [...state.networks.values()].filter(
    ({ removing, record }) => !removing && record.swarm !== true,
  );
  const named = all.find(({ record }) => record.name === wanted);
  if (named !== undefined) return named;
  const matching = wanted === "" ? [] : all.filter(({ record }) => record.id.startsWith(wanted));
  if (matching.length > 1) {
    throw new EngineError(
      "invalid-argument",
      `network ${reference} is ambiguous (${matching.length} matches found on ID prefix)`,
    );
  }
  return matching[0];
}

export function findHosted(state: NetworkState, reference: string): HostedNetwork | undefined {
  return (
    state.hosted.get(reference) ?? [...state.hosted.values()].find(({ name }) => name === reference)
  );
}

/**
 * The network that a container shall be on, by what it calls it. An id in the endpoint's settings
 * goes first: a network of the swarm and one of this host may have one name.
 */
export function findOrNone(
  state: NetworkState,
  reference: string,
  id?: string,
): LocalNetwork | HostedNetwork | undefined {
  const known = id === undefined ? undefined : (state.networks.get(id) ?? state.hosted.get(id));
  return known ?? findLocal(state, reference) ?? findHosted(state, reference);
}

export function findNetwork(
  state: NetworkState,
  reference: string,
  id?: string,
): LocalNetwork | HostedNetwork {
  const network = findOrNone(state, reference, id);
  if (network === undefined) throw notFound(reference);
  return network;
}

function exitOf(state: NetworkState, endpoints: readonly EndpointRecord[]): Exit {
  if (endpoints.some(({ gateway4, gateway6 }) => (gateway4 ?? gateway6) !== undefined)) {
    return "container";
  }
  const hosted = endpoints.some(({ networkId }) => {
    const network = state.hosted.get(networkId);
    return network !== undefined && !network.inspect().Internal;
  });
  return hosted ? "engine" : "none";
}

/** Tells the resolver who a container is on its networks; what resolv.conf shall name. */
export async function announceNames(
  state: NetworkState,
  sandbox: NetworkSandbox,
  endpoints: readonly EndpointRecord[],
): Promise<readonly string[] | undefined> {
  return await state.options.resolver?.attached(sandbox, endpoints, exitOf(state, endpoints));
}

export function notFound(reference: string): EngineError {
  return new EngineError("not-found", `network ${reference} not found`);
}

/** A network as the ruleset sees it; host and null have no part in it. */
export function rulesetNetwork({ record }: LocalNetwork): RulesetNetwork | undefined {
  if (record.driver !== "bridge") return undefined;
  const subnets = (six: boolean) =>
    record.ipam.flatMap(({ subnet }) => (subnet.includes(":") === six ? [subnet] : []));
  return {
    bridge: record.bridge,
    internal: record.internal,
    masquerade: record.options[OPTION.masquerade] !== "false",
    subnets4: subnets(false),
    subnets6: subnets(true),
  };
}

/** The script that makes the table as it shall be. */
export function renderWhole(state: NetworkState): string {
  const networks = [...state.networks.values()].flatMap((network) => rulesetNetwork(network) ?? []);
  const ports = [...state.attachments.values()].flatMap((attachment) => attachment.ports);
  return renderTable(state.options.table, leadsLoopback6(), networks, ports);
}

/** Puts the whole table in place, whatever was there. */
export async function writeTable(state: NetworkState): Promise<void> {
  await state.nft.run(renderWhole(state));
}

/**
 * Applies a change to the table. When the table is not what we think (somebody flushed it), all of
 * it is written anew; memory has the change already.
 */
export async function changeTable(state: NetworkState, script: string): Promise<void> {
  if (script.trim() === "") return;
  try {
    await state.nft.run(script);
  } catch (error) {
    state.log.warn("the nftables table was changed by somebody, it is written anew", { error });
    await writeTable(state);
  }
}

export function publishEvent(
  state: NetworkState,
  action: string,
  network: { readonly id: string; readonly name: string; readonly driver: string },
  attributes: Readonly<Record<string, string>> = {},
): void {
  state.options.events?.publish({
    Type: "network",
    Action: action,
    Actor: {
      ID: network.id,
      Attributes: { ...attributes, name: network.name, type: network.driver },
    },
  });
}
