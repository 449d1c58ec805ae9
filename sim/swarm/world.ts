/**
 * One run of a whole swarm: the real managers and agents, as they are in the daemon, on virtual
 * clocks, network and disks. Operators and clients work while machines fail; then the faults end,
 * and the swarm must come to what it was asked for.
 */

import { InvariantError } from "#base/invariant.ts";
import type { RaftNode } from "#manager/raft/node.ts";
import type { Kind, ReadView } from "#store/types.ts";
import { type Law, Violation } from "../checker.ts";
import { linearizabilityFault, UNDECIDED } from "../linearizability.ts";
import { SeededRandom } from "../random.ts";
import { Timeline } from "../timeline.ts";
import { Trace } from "../trace.ts";
import { RESTLESS_BUGS, type SwarmBug, withBrokenSwarm } from "./bugs.ts";
import { RegisterClient } from "./clients.ts";
import { Court } from "./court.ts";
import { describeService, describeTask } from "./describe.ts";
import { repeat, type SwarmVictims, unleash } from "./faults.ts";
import { addrOf, Host, type HostWorld } from "./host.ts";
import { misplacedPayloads, unsettledManagers, unsettledServices } from "./laws/rest.ts";
import { misplacedTables } from "./laws/tables.ts";
import { type Desk, Operator } from "./operator.ts";
import { drawSwarm, type SwarmProfile } from "./profile.ts";
import { RpcNetwork } from "./rpc.ts";
import { sendRequests } from "./traffic.ts";

/** Virtual time to come to rest after the last fault: dead nodes are given time to come back. */
const RECOVERY_MS = 150_000;
const LOOK_EVERY_MS = 500;
/** Between two attempts to remove a node. */
const REMOVE_EVERY_MS = 2_000;
/** A node that finds no manager by itself for so long has lost them all. */
const LOST_AFTER_MS = 60_000;
const FRESH_ANSWERS = 2;
/** Registers of before and after the loss of a majority. */
const KEYS_APART = 100;
const CALM = { latencyMs: [1, 10], breakage: 0 } as const;
const CALM_SYNC_MS = [0, 5] as const;

export interface SwarmOptions {
  readonly trace: boolean;
  readonly bug: SwarmBug | undefined;
  /** Under which that bug does harm, without the bug itself; by default those of `bug`. */
  readonly conditionsOf: SwarmBug | undefined;
}

export interface SwarmOutcome {
  readonly seed: number;
  readonly profile: SwarmProfile;
  readonly broken: Law | undefined;
  readonly message: string;
  readonly endedAtMs: number;
  /** How much happened, by what it is. */
  readonly counts: Readonly<Record<string, number>>;
  readonly answers: number;
  readonly isUndecided: boolean;
  readonly trace: Trace;
}

export async function runSwarm(
  seed: number,
  { trace = false, bug, conditionsOf = bug }: Partial<SwarmOptions> = {},
): Promise<SwarmOutcome> {
  const options = { trace, bug, conditionsOf };
  return await withBrokenSwarm(bug, () => new SwarmWorld(seed, options).run());
}

class SwarmWorld {
  readonly #seed: number;
  readonly #profile: SwarmProfile;
  readonly #random: SeededRandom;
  readonly #timeline = new Timeline();
  readonly #trace: Trace;
  readonly #network: RpcNetwork;
  readonly #hosts: readonly Host[];
  readonly #operator: Operator;
  readonly #clients: RegisterClient[] = [];
  readonly #court = new Court({ now: () => this.#timeline.now, hosts: () => this.#hosts });
  /** Registers of clients begin there. */
  #firstKey = 0;
  readonly #bug: SwarmBug | undefined;
  #values = 0;
  #isChaos = true;
  #healedAtMs = 0;
  #removesAtMs = 0;
  #isSettled = false;
  #isUndecided = false;
  #answeredAtHeal: readonly number[] = [];
  #reason = "nobody leads";

  constructor(seed: number, { trace, bug, conditionsOf }: SwarmOptions) {
    this.#seed = seed;
    this.#bug = bug;
    const random = new SeededRandom(seed).fork("swarm");
    const isRestless = conditionsOf !== undefined && RESTLESS_BUGS.has(conditionsOf);
    this.#profile = drawSwarm(random.fork("profile"), isRestless);
    this.#random = random.fork("world");
    this.#trace = new Trace(trace);
    const { managers, workers, raft, syncMs, line, clockDrift, clockOffsetMs } = this.#profile;
    this.#network = new RpcNetwork(this.#timeline, random.fork("network"), line);
    const nodes = Array.from({ length: managers + workers }, (_, at) => ({
      nodeId: `n${at + 1}`,
      isManager: at < managers,
    }));
    const world: HostWorld = {
      timeline: this.#timeline,
      network: this.#network,
      trace: this.#trace,
      nodes,
      managerAddrs: nodes.filter(({ isManager }) => isManager).map(({ nodeId }) => addrOf(nodeId)),
      raft,
      syncMs,
      failed: (host, error) => this.#fail(host, error),
      opened: (host, node) => this.#court.follow(host, node),
      tablesApplied: (host) => this.#court.tablesApplied(host),
      machineEvents: (nodeId) => this.#court.machineEvents(nodeId),
    };
    this.#network.onAnswer = (...answer) => this.#court.streamed(...answer);
    this.#hosts = nodes.map(({ nodeId, isManager }, at) => {
      const own = random.fork(nodeId);
      const drift = (own.int(2_001) / 1_000 - 1) * clockDrift;
      const clock = { rate: 1 + drift, offsetMs: own.int(2 * clockOffsetMs + 1) - clockOffsetMs };
      const host = new Host(nodeId, world, own, { isManager, isFirst: at === 0, clock });
      host.machine.failure = this.#profile.containerFailure;
      return host;
    });
    this.#operator = new Operator(random.fork("operator"), this.#profile.changesRoles);
  }

  async run(): Promise<SwarmOutcome> {
    try {
      this.#begin();
      await this.#runUntil(this.#profile.chaosMs, () => false);
      this.#heal();
      await this.#runUntil(this.#timeline.now + RECOVERY_MS, () => this.#isSettled);
      this.#checkHistory();
      if (!this.#isSettled) throw new Violation("liveness", this.#describeUnsettled());
      this.#checkAcknowledged();
      return this.#outcome(undefined, "");
    } catch (error) {
      this.#showTasks();
      if (error instanceof Violation) return this.#outcome(error.law, error.message);
      if (error instanceof InvariantError) return this.#outcome("invariant", error.message);
      throw error;
    } finally {
      // What still waits must not go on: the world is over.
      for (const host of this.#hosts) host.kill();
      this.#network.end();
    }
  }

  /** Lets everything that an event sets in motion come to rest before the next one. */
  async #runUntil(until: number, stop: () => boolean): Promise<void> {
    while (this.#timeline.step(until, stop)) {
      await new Promise((resolve) => setImmediate(resolve));
      if (this.#court.failure !== undefined) throw this.#court.failure;
    }
  }

  #begin(): void {
    for (const host of this.#hosts) host.start();
    const { clients, keys, clientPauseMs, operateEveryMs } = this.#profile;
    const registers = {
      timeline: this.#timeline,
      keys,
      firstKey: () => this.#firstKey,
      pauseMs: clientPauseMs,
      pickManager: () => this.#pickManager(),
      freshValue: () => ++this.#values,
      readsStale: this.#bug === "staleRead",
    };
    for (let id = 1; id <= clients; id++) {
      const client = new RegisterClient(id, registers, this.#random.fork(`client ${id}`));
      this.#clients.push(client);
      client.start();
    }
    const victims: SwarmVictims = {
      timeline: this.#timeline,
      random: this.#random.fork("faults"),
      profile: this.#profile,
      network: this.#network,
      hosts: this.#hosts,
      isChaos: () => this.#isChaos,
      leader: () => this.#leader(),
      say: (who, line) => this.#say(who, line),
      majorityLost: (survivor) => this.#majorityLost(survivor),
      drain: (host) => this.#drain(host),
    };
    repeat(victims, operateEveryMs, () => this.#operate());
    unleash(victims);
    sendRequests({
      timeline: this.#timeline,
      random: this.#random.fork("requests"),
      network: this.#network,
      hosts: this.#hosts,
      law: this.#court.traffic,
      isJudged: () => !this.#court.hasForgotten,
      judged: (check) => this.#court.judged(check),
    });
    this.#look();
  }

  /** At any manager, knowing what that one knows. */
  #operate(): void {
    const host = this.#random.pick(this.#hosts.filter(({ manager }) => manager !== undefined));
    const desk = host?.desk();
    const view = host?.manager?.state.view();
    if (desk === undefined || view === undefined || view.count("cluster") === 0) return;
    void this.#operator.act(desk, view, (line) => this.#say("op", line));
  }

  #drain({ nodeId }: Host): void {
    const view = this.#leader()?.state.view();
    const desk = this.#deskOfLeader();
    if (view === undefined || desk === undefined) return;
    void this.#operator.drain(desk, view, nodeId, (line) => this.#say("op", line));
  }

  /** Nodes whose machines were taken away go as soon as managers see that they are down. */
  #removeRetired(leader: RaftNode): void {
    if (this.#timeline.now < this.#removesAtMs) return;
    this.#removesAtMs = this.#timeline.now + REMOVE_EVERY_MS;
    const desk = this.#deskOfLeader();
    for (const { nodeId, isRetired } of this.#hosts) {
      if (!isRetired || desk === undefined) continue;
      if (leader.state.view().get("node", nodeId) === undefined) continue;
      void this.#operator.removeNode(desk, nodeId, (line) => this.#say("op", line));
    }
  }

  /** Machines that were not taken away. */
  #present(): readonly Host[] {
    return this.#hosts.filter(({ isRetired }) => !isRetired);
  }

  #deskOfLeader(): Desk | undefined {
    const leader = this.#leader();
    return leader && this.#hosts.find(({ manager }) => manager === leader)?.desk();
  }

  /** Nothing that was seen so far binds what comes. */
  #majorityLost(survivor: Host): void {
    this.#court.majorityLost(survivor);
    this.#checkHistory();
    for (const client of this.#clients) client.forget();
    this.#firstKey += KEYS_APART;
    survivor.goAlone();
  }

  /** The survivor leads: from here on everything counts again. */
  #beginAgain(leader: RaftNode): void {
    const view = leader.state.view();
    this.#court.beginAgain(view);
    for (const key of this.#operator.acknowledged) {
      if (!isThere(view, key)) this.#operator.acknowledged.delete(key);
    }
  }

  #heal(): void {
    this.#isChaos = false;
    this.#say("", () => "the world is healed");
    this.#network.calm(CALM);
    for (const host of this.#present()) {
      host.machine.failure = 0;
      host.disk.calm({ syncMs: CALM_SYNC_MS });
      this.#showTheWay(host);
      host.start();
    }
    this.#healedAtMs = this.#timeline.now;
    this.#answeredAtHeal = this.#clients.map(({ answered }) => answered);
  }

  /** Who was cut off until all the managers it had heard of were none any more must be told. */
  #showTheWay(host: Host): boolean {
    const voters = this.#leader()?.status().voters ?? [];
    const manager = this.#hosts.find(({ nodeId }) => nodeId === voters[0]);
    if (manager === undefined || host.knowsOneOf(voters)) return false;
    host.kill();
    host.tellOf(manager);
    return true;
  }

  /** Managers may have changed once more while a node came back to the last one that it knew. */
  #reconnect(): void {
    for (const host of this.#present()) {
      if (!this.#showTheWay(host)) continue;
      this.#say("op", () => `reconnects ${host.nodeId}`);
      host.start();
    }
  }

  /** Looks at the swarm now and then, and lets the operator help it to rest after the healing. */
  #look(): void {
    this.#timeline.after(LOOK_EVERY_MS, () => {
      const leader = this.#leader();
      this.#court.look(leader);
      if (this.#court.isSuspended && leader !== undefined) {
        this.#court.judged(() => this.#beginAgain(leader));
      }
      if (leader !== undefined && !this.#court.isSuspended) this.#removeRetired(leader);
      if (!this.#isChaos) this.#judge();
      this.#look();
    });
  }

  #judge(): void {
    const leader = this.#leader();
    if (leader === undefined) {
      this.#reason = "nobody leads";
      return;
    }
    const view = leader.state.view();
    const desk = this.#deskOfLeader();
    if (desk !== undefined) {
      void this.#operator.calm(desk, view, (line) => this.#say("op", line));
    }
    if (this.#timeline.now > this.#healedAtMs + LOST_AFTER_MS) this.#reconnect();
    this.#reason =
      this.#clientsWait() ??
      unsettledServices(view, this.#present()) ??
      unsettledManagers(view, this.#present(), leader) ??
      misplacedPayloads(view, this.#present()) ??
      this.#court.leaked() ??
      misplacedTables(view, this.#present()) ??
      "";
    if (this.#reason === "") this.#court.judged(() => this.#court.checkSame(leader));
    this.#isSettled = this.#reason === "";
  }

  #clientsWait(): string | undefined {
    const fresh = this.#clients.map(
      ({ answered }, at) => answered - (this.#answeredAtHeal[at] ?? 0),
    );
    const least = Math.min(...fresh);
    return least < FRESH_ANSWERS ? `a client had ${least} answers` : undefined;
  }

  #leader(): RaftNode | undefined {
    let newest: RaftNode | undefined;
    for (const { manager } of this.#hosts) {
      if (manager === undefined || !manager.state.isLeader()) continue;
      if (manager.status().term > (newest?.status().term ?? 0)) newest = manager;
    }
    return newest;
  }

  #pickManager(): RaftNode | undefined {
    const managers = this.#hosts.flatMap(({ manager }) => manager ?? []);
    const leaders = this.#random.chance(0.6)
      ? managers.filter(({ state }) => state.isLeader())
      : [];
    return this.#random.pick(leaders) ?? this.#random.pick(managers);
  }

  #fail({ nodeId }: Host, error: unknown): void {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    this.#say(nodeId, () => `FAILS: ${text}`);
    const message = error instanceof Error ? error.message : String(error);
    this.#court.fail(new Violation("invariant", `${nodeId}: ${message}`));
  }

  #checkHistory(): void {
    const history = this.#clients.flatMap(({ history: own, pending }) =>
      pending === undefined ? own : [...own, pending],
    );
    const fault = linearizabilityFault(history);
    this.#isUndecided = fault === UNDECIDED;
    if (typeof fault === "string") throw new Violation("linearizability", fault);
  }

  #checkAcknowledged(): void {
    const view = this.#leader()?.state.view();
    for (const key of this.#operator.acknowledged) {
      if (view === undefined || isThere(view, key)) continue;
      throw new Violation("durability", `${key} was acknowledged and is gone`);
    }
  }

  #describeUnsettled(): string {
    const states = this.#hosts.map(({ nodeId, manager }) => {
      if (manager === undefined) return `${nodeId} has no manager`;
      const { term, voters, applied } = manager.status();
      const role = manager.state.isLeader() ? "leads" : "follows";
      return `${nodeId} ${role} in term ${term}, applied ${applied}, voters ${voters.join()}`;
    });
    return `not at rest ${RECOVERY_MS}ms after the last fault: ${this.#reason}; ${states.join("; ")}`;
  }

  /** Where the tasks of all services stood when a law was broken. */
  #showTasks(): void {
    for (const service of this.#court.ledger.all("service")) {
      this.#say("", () => describeService(service));
      for (const task of this.#court.ledger.all("task")) {
        if (task.serviceId === service.id) this.#say("", () => describeTask(task));
      }
    }
  }

  #say(who: string, line: () => string): void {
    this.#trace.add(this.#timeline.now, who, line);
  }

  #outcome(broken: Law | undefined, message: string): SwarmOutcome {
    return {
      seed: this.#seed,
      profile: this.#profile,
      broken,
      message,
      endedAtMs: this.#timeline.now,
      counts: this.#court.counts(),
      answers: this.#clients.reduce((sum, { answered }) => sum + answered, 0),
      isUndecided: this.#isUndecided,
      trace: this.#trace,
    };
  }
}

/** Whether there is an object of that "kind/id". */
function isThere(view: ReadView, key: string): boolean {
  const [kind, id = ""] = key.split("/");
  return view.get(kind as Kind, id) !== undefined;
}
