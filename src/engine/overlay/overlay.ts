/**
 * The swarm's networks on this host. Owns the newest tables, the containers on them, and the one loop
 * that brings the kernel to both. Nothing is done before tables are known: a restarted engine leaves
 * running containers connected, and touches nothing that is right.
 */

import { EngineError, messageOf } from "#base/error.ts";
import type { Clock, Log, Timer } from "#base/ports.ts";
import type { LocalEndpoint } from "#plan/dataplane/kernel.ts";
import { type Deferred, deferred, sleep } from "#platform/async.ts";
import type { NetworkTable } from "#wire/gen/skep/dataplane_pb.js";
import type { AttachmentRecord, EndpointRecord } from "../networks/records.ts";
import type { NetworkStore } from "../networks/service.ts";
import type { NetworkSandbox } from "../ports.ts";
import { hostedNetwork, pluggedNetwork } from "./hosted.ts";
import { KernelKeeper } from "./kernel-keeper.ts";
import { type Monitor, startMonitor } from "./monitor.ts";
import { TableNames } from "./names.ts";
import { PeerProbe } from "./peer-probe.ts";
import { PluginNetworks } from "./plugin-networks.ts";
import type { Wireguard } from "./wireguard.ts";

export type Tables = ReadonlyMap<string, NetworkTable>;

export interface OverlayOptions {
  readonly networks: Pick<
    NetworkStore,
    "host" | "unhost" | "attachments" | "ensureSwarm" | "dropSwarm" | "swarmIds"
  >;
  /** Undefined on a host without it: there, encrypted networks do not exist. */
  readonly wireguard: Wireguard | undefined;
  /** CIDRs of this host that mesh ports answer on whose service does not say; empty = all. */
  readonly meshAddresses?: readonly string[];
  readonly clock: Clock;
  readonly log: Log;
}

export interface OverlayStatus {
  /** Differences in the kernel that nobody asked for, all repaired. */
  readonly repairs: number;
  /** Published ports that a program of this host has: "tcp/22". */
  readonly refusedPorts: readonly string[];
  /** VXLAN packets of our networks that came from no node of them, and were dropped. */
  readonly foreignPackets: number;
  /** Chains of other programs that drop what is forwarded: "ip filter FORWARD". */
  readonly foreignDrops: readonly string[];
}

/** Kernel events come in bursts, and our own changes make some. */
const HINT_DELAY_MS = 250;
const AUDIT_MS = 4_000;
/** While events of the host are heard, its devices are looked at every so many times. */
const GLANCES = 5;
const RETRY_MS = 1_000;
const ATTACH_TRIES = 3;
const DEFAULT_PORT = 4789;
/** Of what plug-ins make nobody asks. */
const PLUGGED_MTU = 1500;

interface LocalMember {
  readonly sandbox: NetworkSandbox;
  /** By network id. */
  readonly endpoints: Map<string, LocalEndpoint>;
}

export class Overlay {
  readonly names: TableNames;
  readonly #options: OverlayOptions;
  readonly #log: Log;
  readonly #keeper: KernelKeeper;
  readonly #members = new Map<string, LocalMember>();
  readonly #hosted = new Map<string, string>();
  readonly #closing = new AbortController();
  readonly #known = deferred();
  #nodeId = "";
  #port = DEFAULT_PORT;
  #tables: Tables | undefined;
  /** Those that the kernel is kept to: no name leads to where no rule is yet. */
  #applied: Tables = new Map();
  /** Nodes that did not answer when the last pass began. */
  #silent: ReadonlySet<string> = new Set();
  /** Networks that are here for their containers only. */
  #lingering: ReadonlySet<string> = new Set();
  /** Something was asked for that is not in the kernel yet. */
  #dirty = false;
  /** The next pass looks at everything. */
  #thorough = false;
  #next: Deferred<void> | undefined;
  #running: Promise<void> | undefined;
  #waiters: Deferred<void>[] = [];
  #timer: Timer | undefined;
  #hint: Timer | undefined;
  #glances = 0;
  #monitor: Monitor | undefined;
  readonly #probe: PeerProbe;
  readonly #plugged: PluginNetworks;

  constructor(options: OverlayOptions) {
    this.#options = options;
    this.#log = options.log;
    this.#keeper = new KernelKeeper(options.clock, options.log, options.wireguard);
    this.#probe = new PeerProbe({
      clock: options.clock,
      log: options.log,
      onChange: () => this.#look("change"),
    });
    this.#plugged = new PluginNetworks({
      networks: options.networks,
      clock: options.clock,
      log: options.log,
      onChange: () => this.#look("change"),
    });
    this.names = new TableNames(
      (id) => this.#applied.get(id),
      () => this.#silent,
    );
  }

  get canEncrypt(): boolean {
    return this.#options.wireguard !== undefined;
  }

  /** Of WireGuard; empty without. */
  get publicKey(): Uint8Array {
    return this.#options.wireguard?.encryption.publicKey ?? new Uint8Array();
  }

  /** Whether WireGuard's key may lie on the disk: on a locked manager it may not. */
  async keepKeyOnDisk(onDisk: boolean): Promise<void> {
    await this.#options.wireguard?.keepKeyOnDisk(onDisk);
  }

  get tables(): Tables {
    return this.#tables ?? new Map();
  }

  /** Containers that run already, after a restart of the engine. */
  adopt(running: ReadonlyMap<string, NetworkSandbox>): void {
    for (const record of this.#options.networks.attachments()) {
      const sandbox = running.get(record.containerId);
      if (sandbox !== undefined) this.#adoptOne(sandbox, record);
    }
  }

  #adoptOne(sandbox: NetworkSandbox, { endpoints }: AttachmentRecord): void {
    for (const endpoint of endpoints) {
      const plugged = this.#options.networks.swarmIds().has(endpoint.networkId);
      if (!plugged && !endpoint.bridge.startsWith("ov-")) continue;
      try {
        this.#join(sandbox, endpoint);
      } catch (error) {
        this.#log.warn("a container ended while it was taken over", {
          container: sandbox.containerId,
          reason: messageOf(error),
        });
      }
    }
  }

  /** Which of the nodes in the tables this is. */
  setNode(nodeId: string): void {
    if (nodeId === "" || nodeId === this.#nodeId) return;
    this.#nodeId = nodeId;
    this.#known.resolve();
  }

  /** Resolves when the kernel is what the tables say; what fails is tried until it succeeds. */
  async setTables(tables: Tables, port = this.#port): Promise<void> {
    this.#tables = this.#withLingering(tables);
    this.#port = port === 0 ? DEFAULT_PORT : port;
    await this.#known.promise;
    while (!this.#closing.signal.aborted) {
      try {
        await this.#request();
        return;
      } catch (error) {
        this.#log.error("the kernel could not be brought to the tables, it is tried again", {
          reason: messageOf(error),
        });
        await sleep(this.#options.clock, RETRY_MS, this.#closing.signal);
      }
    }
  }

  /** A network that the node serves no more stays for as long as a container is on it. */
  #withLingering(tables: Tables): Tables {
    const kept = new Map(tables);
    for (const [id, table] of this.#tables ?? []) {
      if (kept.has(id)) continue;
      if ([...this.#members.values()].some(({ endpoints }) => endpoints.has(id))) {
        kept.set(id, table);
      }
    }
    this.#lingering = new Set([...kept.keys()].filter((id) => !tables.has(id)));
    return kept;
  }

  /** Whether containers can be attached to the network now. */
  hosts(networkId: string): boolean {
    return this.#hosted.has(networkId);
  }

  /** Why a network that a plug-in carries could not be made here. */
  failure(networkId: string): string | undefined {
    return this.#plugged.failure(networkId);
  }

  /**
   * Resolves when the network is here with a place for the task. Without its row the tables may be
   * from before the task, and say that the network is about to go. Rejects with the signal's reason.
   */
  async untilPlaced(networkId: string, taskId: string, signal: AbortSignal): Promise<void> {
    while (!this.#isPlaced(networkId, taskId)) {
      signal.throwIfAborted();
      const waiter = deferred();
      this.#waiters.push(waiter);
      const stop = () => waiter.reject(signal.reason);
      signal.addEventListener("abort", stop, { once: true });
      await waiter.promise.finally(() => signal.removeEventListener("abort", stop));
    }
  }

  #isPlaced(networkId: string, taskId: string): boolean {
    if (!this.#hosted.has(networkId)) return false;
    const rows = this.#applied.get(networkId)?.endpoints ?? [];
    return rows.some((row) => row.taskId === taskId);
  }

  async status(): Promise<OverlayStatus> {
    return {
      repairs: this.#keeper.repairs,
      refusedPorts: [...this.#keeper.refusedPorts],
      foreignDrops: this.#keeper.foreignDrops,
      foreignPackets: await this.#keeper.foreignPackets(),
    };
  }

  /** Looks at the kernel now; resolves when it is as it should be. */
  audit(): Promise<void> {
    return this.#tables === undefined ? Promise.resolve() : this.#request("audit");
  }

  /** This host has left its swarm: everything of ours goes out of the kernel. */
  async leave(): Promise<void> {
    this.#tables = undefined;
    this.#stopWatching();
    await this.#running?.catch(() => undefined);
    await this.#keeper.clear();
    for (const id of this.#hosted.keys()) this.#options.networks.unhost(id);
    this.#hosted.clear();
    this.#applied = new Map();
    await this.#plugged.clear();
  }

  /** Lets go of sockets and handles; the kernel stays as it is, for the containers that run on. */
  async close(): Promise<void> {
    this.#closing.abort(new EngineError("cancelled", "the engine is stopping"));
    this.#stopWatching();
    await this.#running?.catch(() => undefined);
    await this.#plugged.close();
    this.#keeper.close();
  }

  #stopWatching(): void {
    this.#timer?.cancel();
    this.#hint?.cancel();
    this.#probe.close();
    this.#monitor?.close();
    this.#timer = this.#hint = this.#monitor = undefined;
  }

  #join(sandbox: NetworkSandbox, endpoint: EndpointRecord): void {
    const { networkId, interface: name, hostInterface, ipv4, ipv6 } = endpoint;
    this.#keeper.addContainer(sandbox);
    const member = this.#members.get(sandbox.containerId) ?? { sandbox, endpoints: new Map() };
    this.#members.set(sandbox.containerId, member);
    member.endpoints.set(networkId, {
      networkId,
      interface: name,
      hostInterface,
      addresses: [ipv4, ipv6].filter((address) => address !== undefined),
    });
    this.#dirty = true;
  }

  async #attached(sandbox: NetworkSandbox, endpoint: EndpointRecord): Promise<void> {
    this.#join(sandbox, endpoint);
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.#request();
      } catch (error) {
        if (attempt === ATTACH_TRIES || this.#closing.signal.aborted) throw error;
      }
    }
  }

  async #detached(containerId: string, endpoint: EndpointRecord): Promise<void> {
    const member = this.#members.get(containerId);
    if (member === undefined) return;
    member.endpoints.delete(endpoint.networkId);
    if (member.endpoints.size === 0) {
      this.#members.delete(containerId);
      await this.#keeper.forget(containerId);
    }
    if (this.#lingering.has(endpoint.networkId)) {
      const served = [...this.tables].filter(([id]) => !this.#lingering.has(id));
      this.#tables = this.#withLingering(new Map(served));
    }
    void this.#request().catch((error: unknown) =>
      this.#log.warn("a container's networks were not all taken away", {
        container: containerId,
        reason: messageOf(error),
      }),
    );
  }

  /** A pass that begins after now; those who ask meanwhile share it. */
  #request(reason: "change" | "audit" | "glance" = "change"): Promise<void> {
    this.#dirty ||= reason === "change";
    this.#thorough ||= reason !== "glance";
    const next = (this.#next ??= deferred());
    // Somebody may wait for it, or nobody.
    next.promise.catch(() => undefined);
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
    });
    return next.promise;
  }

  async #run(): Promise<void> {
    // Whoever asks in this turn of the event loop is served by this pass.
    await Promise.resolve();
    for (let due = this.#next; due !== undefined; due = this.#next) {
      this.#next = undefined;
      try {
        await this.#pass();
        due.resolve();
      } catch (error) {
        due.reject(error);
      }
    }
  }

  async #pass(): Promise<void> {
    const tables = this.#tables;
    if (tables === undefined || this.#nodeId === "") return;
    this.#withdraw(tables);
    const [audit, thorough] = [!this.#dirty, this.#thorough];
    this.#silent = this.#probe.silent;
    this.#dirty = this.#thorough = false;
    try {
      if (!thorough) {
        if (!(await this.#keeper.glance())) void this.#request();
        return;
      }
      await this.#keeper.bring(
        {
          tables,
          nodeId: this.#nodeId,
          port: this.#port,
          silentNodes: this.#silent,
          meshAddresses: this.#options.meshAddresses ?? [],
          containers: [...this.#members].map(([id, { endpoints }]) => ({
            id,
            endpoints: [...endpoints.values()],
          })),
        },
        { audit },
      );
    } catch (error) {
      // What was asked for is not there: the next look must not take it for drift.
      this.#dirty = this.#thorough = true;
      throw error;
    } finally {
      this.#watch();
    }
    this.#publish(tables);
    this.#probe.setPeers(this.#keeper.plan?.peers ?? new Map());
  }

  /** Nobody shall be attached to what is about to go. */
  #withdraw(tables: Tables): void {
    for (const id of this.#hosted.keys()) {
      if (tables.has(id)) continue;
      this.#options.networks.unhost(id);
      this.#hosted.delete(id);
    }
  }

  /** Offers the networks that stand to the host's containers. */
  #publish(tables: Tables): void {
    const { networks } = this.#options;
    this.#applied = tables;
    const hooks = {
      attached: (sandbox: NetworkSandbox, endpoint: EndpointRecord) =>
        this.#attached(sandbox, endpoint),
      detached: (containerId: string, endpoint: EndpointRecord) =>
        this.#detached(containerId, endpoint),
    };
    const plans = new Map(this.#keeper.plan?.overlays.map((plan) => [plan.networkId, plan]));
    this.#plugged.want(tables);
    const plugged = new Map(this.#plugged.here().map((table) => [table.networkId, table]));
    for (const id of this.#hosted.keys()) {
      if (plans.has(id) || plugged.has(id)) continue;
      networks.unhost(id);
      this.#hosted.delete(id);
    }
    for (const [id, plan] of plans) {
      const table = tables.get(id);
      if (table === undefined) continue;
      networks.host(hostedNetwork(plan, table, this.#nodeId, hooks));
      this.#hosted.set(id, table.name);
    }
    for (const [id, table] of plugged) {
      networks.host(pluggedNetwork(table, PLUGGED_MTU, hooks));
      this.#hosted.set(id, table.name);
    }
    for (const waiter of this.#waiters.splice(0)) waiter.resolve();
  }

  #watch(): void {
    if (this.#closing.signal.aborted || this.#tables === undefined) return;
    const { clock } = this.#options;
    this.#monitor ??= startMonitor(clock, () => {
      this.#hint ??= clock.setTimer(HINT_DELAY_MS, () => {
        this.#hint = undefined;
        this.#look("audit");
      });
    });
    this.#timer?.cancel();
    this.#timer = clock.setTimer(AUDIT_MS, () => {
      this.#glances = (this.#glances + 1) % GLANCES;
      const heard = this.#monitor?.listening === true && this.#glances !== 0;
      this.#look(heard ? "glance" : "audit");
    });
  }

  #look(reason: "audit" | "change" | "glance"): void {
    if (this.#closing.signal.aborted || this.#tables === undefined) return;
    this.#request(reason).catch((error: unknown) =>
      this.#log.error("the kernel could not be repaired, it is tried again", {
        reason: messageOf(error),
      }),
    );
  }
}
