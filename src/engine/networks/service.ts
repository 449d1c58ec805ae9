/**
 * Networks of one host: the predefined ones, bridges that users make, and those of the swarm that
 * somebody else hosts here. `NetworkService` for containers and tasks, and what the routes need.
 */

import { join } from "node:path";
import { KeyedLock } from "#platform/async.ts";
import { openNft } from "#platform/net/nft.ts";
import type {
  EndpointSettings,
  NetworkCreateBody,
  NetworkInspect,
  NetworksPruneReport,
} from "#wire/docker/networks.ts";
import type {
  AttachResult,
  Filters,
  NetworkSandbox,
  NetworkService,
  PortRequest,
} from "../ports.ts";
import { attachContainer, detachContainer } from "./attach.ts";
import { attachResult } from "./attach-result.ts";
import { RulesAudit } from "./audit.ts";
import {
  announceDisconnect,
  connectContainer,
  disconnectContainer,
  renameContainer,
} from "./connect.ts";
import { checkAddresses, checkSettings } from "./endpoint-plan.ts";
import { DEFAULT_POOLS, formatPrefix } from "./ipam.ts";
import type { NetworkLender } from "./lend.ts";
import { createNetwork, removeIfItGoes, removeNetwork } from "./lifecycle.ts";
import { type HostedNetwork, LocalNetwork } from "./network.ts";
import {
  containerOf,
  filterNetworks,
  inspectLocal,
  pruneFilter,
  withSwarm,
} from "./network-json.ts";
import { PREDEFINED } from "./network-spec.ts";
import { HostPorts } from "./port-hold.ts";
import { type AttachmentRecord, RecordFolder } from "./records.ts";
import { GlobalScope, OWN_DRIVERS } from "./remote-network.ts";
import { reconcileContainers, startNetworks, takenSubnets } from "./start.ts";
import {
  findHosted,
  findLocal,
  findOrNone,
  type NetworkOptions,
  type NetworkState,
  notFound,
} from "./state.ts";
import {
  dropSwarmNetwork,
  ensureSwarmNetwork,
  type SwarmNetwork,
  swarmNetworkIds,
} from "./swarm-networks.ts";
import { Wiring } from "./wiring.ts";

/** What a prune has to know beyond this host's networks. */
export interface PruneMore {
  /** Names of networks that stay. */
  readonly keep: ReadonlySet<string>;
  /** Networks that somebody else keeps, and how to remove one; false = it stays. */
  readonly others: readonly NetworkInspect[];
  remove(network: NetworkInspect): Promise<boolean>;
}

export interface NetworkStore extends NetworkService {
  /** `ofSwarm` is all that the managers know, undefined where there are none to ask. */
  list(filters: Filters, ofSwarm?: readonly NetworkInspect[]): Promise<readonly NetworkInspect[]>;
  prune(filters: Filters, more?: PruneMore): Promise<NetworksPruneReport>;
  /** Whether `create` has refused because the driver is a plug-in for networks of the whole swarm. */
  isForSwarm(error: unknown): boolean;
  /** Makes a network of the swarm known; containers may attach until `unhost`. */
  host(network: HostedNetwork): void;
  unhost(networkId: string): void;
  /** Makes a network of the swarm that a plug-in carries, if it is not here. */
  ensureSwarm(network: SwarmNetwork): Promise<void>;
  dropSwarm(networkId: string): Promise<void>;
  /** Those that are here. */
  swarmIds(): ReadonlySet<string>;
  /** Who lends networks of the swarm to containers that are no tasks. */
  setLender(lender: NetworkLender): void;
  /** What containers hold now: for whoever audits. */
  attachments(): readonly AttachmentRecord[];
  /** CIDRs of all networks of this host. */
  subnets(): readonly string[];
  /** What `--driver` can be here: our own drivers and the plug-ins that answer. */
  drivers(): Promise<readonly string[]>;
  /** Looks at the nftables table now, as happens every few seconds; what was wrong and is repaired. */
  audit(): Promise<readonly string[]>;
  /** What keeps containers off the net, for `docker info`. */
  warnings(): readonly string[];
  /** Lets go of ports and handles; what is in the kernel stays for running containers. */
  close(): void;
}

export async function openNetworkStore(options: NetworkOptions): Promise<NetworkStore> {
  const log = options.log.child({ component: "networks" });
  const state: NetworkState = {
    options,
    log,
    pools: options.addressPools.length > 0 ? options.addressPools : DEFAULT_POOLS,
    networks: new Map(),
    hosted: new Map(),
    attachments: new Map(),
    networkFiles: new RecordFolder(join(options.dataFolder), {
      durable: true,
      isWhole: ({ id, name, driver, ipam }, file) =>
        id === file && Boolean(name) && Boolean(driver) && Array.isArray(ipam),
    }),
    attachmentFiles: new RecordFolder(join(options.runFolder), {
      durable: false,
      isWhole: ({ containerId, endpoints, ports }, file) =>
        containerId === file && Array.isArray(endpoints) && Array.isArray(ports),
    }),
    heldFiles: new RecordFolder(`${options.dataFolder}-held`, {
      durable: true,
      isWhole: ({ endpoint }, file) => endpoint?.endpointId === file,
    }),
    ports: new HostPorts(),
    wiring: new Wiring(options.table, log),
    nft: openNft(),
    containerLock: new KeyedLock(),
  };
  try {
    await startNetworks(state);
    return new LocalNetworks(state, new RulesAudit(state));
  } catch (error) {
    state.ports.close();
    state.nft.close();
    state.wiring.close();
    throw error;
  }
}

class LocalNetworks implements NetworkStore {
  readonly #state: NetworkState;
  /** Creating and removing follow each other: both look at all subnets and names. */
  readonly #lock = new KeyedLock();

  readonly #audit: RulesAudit;

  constructor(state: NetworkState, audit: RulesAudit) {
    this.#state = state;
    this.#audit = audit;
  }

  async inspect(reference: string): Promise<NetworkInspect> {
    const local = findLocal(this.#state, reference);
    if (local !== undefined) return inspectLocal(local, this.#state.attachments);
    const hosted = findHosted(this.#state, reference);
    if (hosted === undefined) throw notFound(reference);
    return this.#inspectHosted(hosted);
  }

  async list(
    filters: Filters,
    ofSwarm?: readonly NetworkInspect[],
  ): Promise<readonly NetworkInspect[]> {
    const { networks, attachments, hosted } = this.#state;
    const here = [
      ...[...networks.values()]
        .filter(({ record }) => record.swarm !== true)
        .map((network) => inspectLocal(network, attachments)),
      ...[...hosted.values()].map((network) => this.#inspectHosted(network)),
    ];
    return filterNetworks(withSwarm(here, ofSwarm), filters);
  }

  idOf(name: string): string | undefined {
    const { networks, hosted } = this.#state;
    const local = [...networks.values()].find(
      ({ record }) => record.name === name && record.swarm !== true,
    );
    return local?.record.id ?? [...hosted.values()].find((other) => other.name === name)?.id;
  }

  create(body: NetworkCreateBody): Promise<{ id: string; warning: string }> {
    return this.#lock.run("networks", () => createNetwork(this.#state, body));
  }

  remove(reference: string): Promise<void> {
    return this.#lock.run("networks", async () => {
      const network = findLocal(this.#state, reference);
      if (network === undefined) throw notFound(reference);
      await removeNetwork(this.#state, network);
    });
  }

  async resolve(
    endpoints: Readonly<Record<string, EndpointSettings>>,
  ): Promise<Readonly<Record<string, EndpointSettings>>> {
    const resolved: Record<string, EndpointSettings> = {};
    for (const [reference, settings] of Object.entries(endpoints)) {
      const network = findOrNone(this.#state, reference, settings.NetworkID);
      if (network === undefined) {
        resolved[reference] = { ...resolved[reference], ...settings };
        continue;
      }
      const { name } = network instanceof LocalNetwork ? network.record : network;
      const merged = { ...resolved[name], ...settings };
      if (network instanceof LocalNetwork) {
        checkSettings(network, merged);
        checkAddresses(network, merged);
      }
      resolved[name] = merged;
    }
    return resolved;
  }

  attach(
    sandbox: NetworkSandbox,
    endpoints: Readonly<Record<string, EndpointSettings>>,
    ports: readonly PortRequest[],
  ): Promise<AttachResult> {
    return attachContainer(this.#state, sandbox, endpoints, ports);
  }

  detach(containerId: string): Promise<void> {
    return detachContainer(this.#state, containerId);
  }

  reconcile(running: ReadonlyMap<string, NetworkSandbox>): Promise<void> {
    return reconcileContainers(this.#state, running);
  }

  connect(
    sandbox: NetworkSandbox,
    endpoint: { readonly reference: string; readonly settings: EndpointSettings },
    ports: readonly PortRequest[],
  ): Promise<AttachResult> {
    return connectContainer(this.#state, sandbox, endpoint, ports);
  }

  disconnect(
    sandbox: NetworkSandbox,
    reference: string,
    ports: readonly PortRequest[],
  ): Promise<AttachResult> {
    return disconnectContainer(this.#state, sandbox, reference, ports);
  }

  announceDisconnect(reference: string, containerId: string): void {
    announceDisconnect(this.#state, reference, containerId);
  }

  rename(sandbox: NetworkSandbox): Promise<void> {
    return renameContainer(this.#state, sandbox);
  }

  async attached(sandbox: NetworkSandbox): Promise<AttachResult | undefined> {
    const attachment = this.#state.attachments.get(sandbox.containerId);
    if (attachment === undefined) return undefined;
    return attachResult(this.#state, sandbox, attachment.endpoints, attachment.ports);
  }

  prune(filters: Filters, more?: PruneMore): Promise<NetworksPruneReport> {
    const wanted = pruneFilter(filters, this.#state.options.clock.nowMs());
    return this.#lock.run("networks", async () => {
      const deleted: string[] = [];
      for (const network of this.#state.networks.values()) {
        const { record, endpoints } = network;
        if (record.swarm === true) continue;
        if (PREDEFINED.includes(record.name) || endpoints.size > 0 || record.configOnly) continue;
        if (more?.keep.has(record.name) || !wanted(record.created, record.labels)) continue;
        if (await removeIfItGoes(this.#state, network)) deleted.push(record.name);
      }
      for (const network of more?.others ?? []) {
        const { Name, Created, Labels } = network;
        if (more?.keep.has(Name) || !wanted(Created, Labels)) continue;
        if (await more?.remove(network)) deleted.push(Name);
      }
      return { NetworksDeleted: deleted.length === 0 ? null : deleted };
    });
  }

  isForSwarm(error: unknown): boolean {
    return error instanceof GlobalScope;
  }

  host(network: HostedNetwork): void {
    this.#state.hosted.set(network.id, network);
  }

  unhost(networkId: string): void {
    this.#state.hosted.delete(networkId);
  }

  ensureSwarm(network: SwarmNetwork): Promise<void> {
    return this.#lock.run("networks", () => ensureSwarmNetwork(this.#state, network));
  }

  dropSwarm(networkId: string): Promise<void> {
    return this.#lock.run("networks", () => dropSwarmNetwork(this.#state, networkId));
  }

  swarmIds(): ReadonlySet<string> {
    return swarmNetworkIds(this.#state);
  }

  setLender(lender: NetworkLender): void {
    this.#state.lender = lender;
  }

  attachments(): readonly AttachmentRecord[] {
    return [...this.#state.attachments.values()];
  }

  subnets(): readonly string[] {
    return takenSubnets(this.#state).map(formatPrefix);
  }

  async drivers(): Promise<readonly string[]> {
    const plugins = (await this.#state.options.plugins?.list("NetworkDriver")) ?? [];
    return [...OWN_DRIVERS, ...plugins.map(({ name }) => name)];
  }

  async audit(): Promise<readonly string[]> {
    return await this.#audit.check();
  }

  warnings(): readonly string[] {
    return this.#audit.warnings();
  }

  close(): void {
    this.#audit.close();
    this.#state.ports.close();
    this.#state.nft.close();
    this.#state.wiring.close();
  }

  #inspectHosted(hosted: HostedNetwork): NetworkInspect {
    const containers = this.attachments().flatMap(({ containerId, containerName, endpoints }) =>
      endpoints
        .filter(({ networkId }) => networkId === hosted.id)
        .map((endpoint) => [containerId, containerOf(endpoint, containerName)] as const),
    );
    return { ...hosted.inspect(), Containers: Object.fromEntries(containers) };
  }
}
