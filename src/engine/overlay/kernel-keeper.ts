/**
 * Brings this host's kernel to its plan and keeps it there. One pass at a time: look, add what lacks,
 * let the rules point to it, take away what nobody is sent to any more. The same pass is the audit;
 * what it finds wrong when nothing was asked for is drift, is repaired, and is counted.
 */

import { EngineError, messageOf } from "#base/error.ts";
import type { Clock, Log } from "#base/ports.ts";
import { type KernelInput, type KernelPlan, planKernel } from "#plan/dataplane/kernel.ts";
import { type LostFlow, lostFlows } from "#plan/dataplane/lost-flows.ts";
import { type DumpedHost, dumpHost, runAll } from "#platform/net/dump.ts";
import { leadsLoopback6, routeLoopback6 } from "../networks/loopback6.ts";
import type { NetworkSandbox } from "../ports.ts";
import { asDumped } from "./as-dumped.ts";
import { ContainerKeeper } from "./container-keeper.ts";
import { cutFlows } from "./flows.ts";
import { ForeignRules } from "./foreign-rules.ts";
import { HalfOpenCuts } from "./half-open.ts";
import { diffHost } from "./host-diff.ts";
import { MeshPorts } from "./mesh-ports.ts";
import { type Commands, countOf, ROUTE_PROTOCOL } from "./routing-diff.ts";
import { setHostSysctls } from "./sysctls.ts";
import { TableKeeper } from "./table-keeper.ts";
import type { Wireguard } from "./wireguard.ts";

/** What to bring about; the rest of the planner's input is read from the host. */
export interface PassInput
  extends Pick<KernelInput, "tables" | "nodeId" | "containers" | "silentNodes" | "meshAddresses"> {
  /** UDP port of VXLAN. */
  readonly port: number;
}

const UNDERLAY_MTU = 1500;

/** Containers whose routes one audit looks at, in turn: it takes two processes each. */
const ROUTING_PER_AUDIT = 1;

export class KernelKeeper {
  readonly #log: Log;
  readonly #ports: MeshPorts;
  readonly #table = new TableKeeper();
  readonly #foreign: ForeignRules;
  readonly #containers = new Map<string, ContainerKeeper>();
  #plan: KernelPlan | undefined;
  /** Links as they were seen, if nothing of ours has changed them since. */
  #links: DumpedHost["links"] | undefined;
  #repairs = 0;
  #turn = 0;

  readonly #wireguard: Wireguard | undefined;
  readonly #halfOpen: HalfOpenCuts;

  constructor(clock: Clock, log: Log, wireguard: Wireguard | undefined) {
    this.#log = log;
    this.#halfOpen = new HalfOpenCuts(clock, async (flows) => {
      await this.#cut(flows).catch((error: unknown) => {
        log.warn("connections could not be looked at", { reason: messageOf(error) });
      });
    });
    this.#wireguard = wireguard;
    this.#ports = new MeshPorts(log);
    this.#foreign = new ForeignRules(log);
  }

  /** What the kernel is kept to; undefined before the first pass that succeeded. */
  get plan(): KernelPlan | undefined {
    return this.#plan;
  }

  /** Differences that nobody asked for, since the start. */
  get repairs(): number {
    return this.#repairs;
  }

  /** Published ports that a program of this host has. */
  get refusedPorts(): ReadonlySet<string> {
    return this.#ports.refused;
  }

  /** Chains of others that drop what is forwarded: "ip filter FORWARD". */
  get foreignDrops(): readonly string[] {
    return this.#foreign.dropping;
  }

  addContainer(sandbox: NetworkSandbox): void {
    if (this.#containers.has(sandbox.containerId)) return;
    this.#containers.set(sandbox.containerId, new ContainerKeeper(sandbox));
  }

  /** The container is on no network of the swarm any more; it may run on. */
  async forget(containerId: string): Promise<void> {
    const keeper = this.#containers.get(containerId);
    if (keeper === undefined) return;
    this.#containers.delete(containerId);
    try {
      if (keeper.alive) await keeper.clear();
    } catch (error) {
      if (keeper.alive) throw error;
    } finally {
      keeper.close();
    }
  }

  /** One pass. Does all that can be done, then throws the first thing that could not. */
  async bring(input: PassInput, options: { readonly audit: boolean }): Promise<void> {
    const host = await this.#look(options.audit);
    const plan = this.#decide(input, host);
    const failures: unknown[] = [];
    const attempt = async (work: Promise<unknown>) => {
      await work.catch((error: unknown) => failures.push(error));
    };
    const before = this.#plan;
    const changes = diffHost(plan, host);
    const tunnels = await this.#ensureWireguard(plan, host, options.audit).catch(
      (error: unknown) => void failures.push(error),
    );
    await attempt(run(changes.add));
    const loopback = options.audit || before?.loopback6.join() !== plan.loopback6.join();
    if (loopback) await attempt(routeLoopback6(plan.loopback6));
    const sysctls = setHostSysctls(plan.overlays, this.#log);
    await attempt(this.#table.set(plan.table));
    for (const [id, keeper] of this.#containers)
      await attempt(this.#setContainer(id, keeper, plan));
    await attempt(run(changes.remove));
    if (before !== undefined) await this.#cutLost(before, plan);
    const wrong = options.audit && before !== undefined ? await this.#auditRules() : [];
    if (options.audit && before !== undefined) {
      const { add, remove } = changes;
      const devices = [add.ip, add.ip6, add.bridge, remove.ip, remove.ip6, remove.bridge].flat();
      const secret = (tunnels ?? 0) === 0 ? [] : ["WireGuard"];
      const count = countOf(changes) + sysctls + wrong.length + (tunnels ?? 0);
      this.#drifted(count, [...devices, ...secret, ...wrong]);
    }
    const touched = [...changes.add.ip, ...changes.remove.ip].some((one) =>
      /^(link|addr) /.test(one),
    );
    this.#links = failures.length > 0 || touched ? undefined : host.links;
    if (failures.length > 0) throw EngineError.from(failures[0], "internal");
    this.#plan = plan;
  }

  /** Looked at only by an audit, or when it shall be another; how much was changed. */
  async #ensureWireguard(plan: KernelPlan, host: DumpedHost, audit: boolean): Promise<number> {
    const [wanted, before] = [plan.wireguard, this.#plan?.wireguard];
    if (wanted === undefined || this.#wireguard === undefined) return 0;
    if (!audit && JSON.stringify(wanted) === JSON.stringify(before)) return 0;
    return this.#wireguard.ensure(wanted, host.links, { audit });
  }

  /**
   * For a change, what the last pass has left is believed to be there: reading back thousands of
   * entries to change one would cost more than the change. The audit looks.
   */
  async #look(audit: boolean): Promise<DumpedHost> {
    const [plan, links] = [this.#plan, this.#links];
    if (audit || plan === undefined || links === undefined) return dumpHost(ROUTE_PROTOCOL);
    return { links, ...asDumped(plan) };
  }

  /** The cheap half of an audit: what no event tells of. False when a whole pass is needed. */
  async glance(): Promise<boolean> {
    const plan = this.#plan;
    if (plan === undefined) return false;
    const refused = [...this.#ports.refused].join();
    this.#ports.hold(plan.meshPorts);
    const sysctls = setHostSysctls(plan.overlays, this.#log);
    const wrong = await this.#auditRules();
    this.#drifted(sysctls + wrong.length, wrong);
    return [...this.#ports.refused].join() === refused;
  }

  #decide({ port, ...input }: PassInput, host: DumpedHost): KernelPlan {
    const dataPath = { port, mtuOf: (address: string) => mtuOf(address, host) };
    const encryption = this.#wireguard?.encryption;
    const loopback6 = leadsLoopback6();
    const plan = () =>
      planKernel({
        ...input,
        dataPath,
        refusedPorts: this.#ports.refused,
        loopback6,
        encryption,
      });
    const first = plan();
    const refused = [...this.#ports.refused].join();
    this.#ports.hold(first.meshPorts);
    return [...this.#ports.refused].join() === refused ? first : plan();
  }

  async #setContainer(id: string, keeper: ContainerKeeper, plan: KernelPlan): Promise<void> {
    const wanted = plan.containers.get(id);
    if (wanted === undefined) return;
    try {
      await keeper.set(wanted);
    } catch (error) {
      // It ended meanwhile, and its namespace with it.
      if (keeper.alive) throw error;
      this.#containers.delete(id);
      keeper.close();
    }
  }

  async #auditRules(): Promise<readonly string[]> {
    const found = [...(await this.#table.audit())];
    if ((this.#plan?.overlays.length ?? 0) > 0) await this.#foreign.look();
    this.#turn += ROUTING_PER_AUDIT;
    for (const [at, [id, keeper]] of [...this.#containers].entries()) {
      if (!keeper.alive) continue;
      const count = Math.max(this.#containers.size, 1);
      const routing = (at + this.#turn) % count < ROUTING_PER_AUDIT;
      try {
        const wrong = await keeper.audit({ routing });
        found.push(...wrong.map((what) => `container ${id.slice(0, 12)}: ${what}`));
      } catch (error) {
        if (keeper.alive) throw error;
      }
    }
    return found;
  }

  #drifted(count: number, what: readonly string[]): void {
    if (count === 0) return;
    this.#repairs += count;
    this.#log.warn("the kernel was not what it should be, and was repaired", {
      differences: count,
      first: what.slice(0, 10),
      repairs: this.#repairs,
    });
  }

  async #cutLost(before: KernelPlan, after: KernelPlan): Promise<void> {
    const lost = lostFlows(before, after);
    this.#halfOpen.later(
      lost.filter(({ halfOpen }) => halfOpen === true),
      () => (this.#plan === undefined ? [] : lostFlows(before, this.#plan)),
    );
    await this.#cut(lost.filter(({ halfOpen }) => halfOpen !== true));
  }

  async #cut(lost: readonly LostFlow[]): Promise<void> {
    if (lost.length === 0) return;
    const mine = lost.filter(({ containerId }) => containerId === undefined);
    await cutFlows(mine, undefined, this.#log);
    for (const [id, keeper] of this.#containers) {
      if (!keeper.alive) continue;
      const inside = lost.filter(({ containerId }) => containerId === id);
      try {
        await cutFlows(inside, keeper.netns, this.#log);
      } catch (error) {
        if (keeper.alive) throw error;
      }
    }
  }

  /** How many VXLAN packets came from nobody we know. */
  foreignPackets(): Promise<number> {
    return this.#table.packets("skep_overlay", "foreign_vxlan");
  }

  /** Takes everything of ours out of the kernel: this host is in no swarm any more. */
  async clear(): Promise<void> {
    for (const keeper of this.#containers.values()) {
      if (keeper.alive) await keeper.clear();
    }
    const nothing = planKernel({
      tables: new Map(),
      nodeId: "",
      dataPath: { port: 0, mtuOf: () => 0 },
      containers: [],
      refusedPorts: new Set(),
      meshAddresses: [],
      silentNodes: new Set(),
      loopback6: false,
      encryption: undefined,
    });
    await run(diffHost(nothing, await dumpHost(ROUTE_PROTOCOL)).remove);
    await this.#table.remove(nothing.table.name);
    this.#ports.hold([]);
    this.#plan = undefined;
  }

  close(): void {
    this.#halfOpen.close();
    this.#ports.close();
    this.#foreign.close();
    this.#table.close();
    for (const keeper of this.#containers.values()) keeper.close();
  }
}

/** Of the interface that has the address. */
function mtuOf(address: string, { links }: DumpedHost): number {
  for (const { mtu, addr_info } of links.values()) {
    if (addr_info?.some(({ local }) => local === address) === true) return mtu;
  }
  return UNDERLAY_MTU;
}

async function run({ ip, ip6, bridge }: Commands): Promise<void> {
  const failures: unknown[] = [];
  const attempt = async (work: Promise<void>) => {
    await work.catch((error: unknown) => failures.push(error));
  };
  await attempt(runAll("ip", ip));
  await attempt(runAll("ip -6", ip6));
  await attempt(runAll("bridge", bridge));
  if (failures.length > 0) throw EngineError.from(failures[0], "internal");
}
