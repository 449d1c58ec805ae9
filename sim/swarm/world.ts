/**
 * One run of a whole swarm: the real managers and agents, as they are in the daemon, on virtual
 * clocks, network and disks. Operators and clients work while machines fail; then the faults end,
 * and the swarm must come to what it was asked for.
 */

import { InvariantError } from "#base/invariant.ts";
import type { RaftNode } from "#manager/raft/node.ts";
import { type Law, Violation } from "../checker.ts";
import { linearizabilityFault, UNDECIDED } from "../linearizability.ts";
import { SeededRandom } from "../random.ts";
import { Timeline } from "../timeline.ts";
import { Trace } from "../trace.ts";
import { RegisterClient } from "./clients.ts";
import { addrOf, Host, type HostWorld } from "./host.ts";
import { digestOfView, OneLeader, SameObjects, unsettled, unsettledManagers } from "./laws.ts";
import { Operator } from "./operator.ts";
import { drawSwarm, type SwarmProfile } from "./profile.ts";
import { RpcNetwork } from "./rpc.ts";

/** Virtual time to come to rest after the last fault: dead nodes are given time to come back. */
const RECOVERY_MS = 150_000;
const LOOK_EVERY_MS = 500;
const FRESH_ANSWERS = 2;
const VOTERS_TO_ROT_MIN = 3;
const CALM = { latencyMs: [1, 10], breakage: 0 } as const;
const CALM_SYNC_MS = [0, 5] as const;

export type SwarmBug = "staleRead";

export interface SwarmOptions {
  readonly trace: boolean;
  readonly bug: SwarmBug | undefined;
}

export interface SwarmOutcome {
  readonly seed: number;
  readonly profile: SwarmProfile;
  readonly broken: Law | undefined;
  readonly message: string;
  readonly endedAtMs: number;
  readonly terms: number;
  /** Changes of objects that managers applied, all together. */
  readonly changes: number;
  readonly answers: number;
  readonly isUndecided: boolean;
  readonly trace: Trace;
}

export async function runSwarm(
  seed: number,
  { trace = false, bug }: Partial<SwarmOptions> = {},
): Promise<SwarmOutcome> {
  return await new SwarmWorld(seed, { trace, bug }).run();
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
  readonly #objects = new SameObjects();
  readonly #leaders = new OneLeader();
  readonly #bug: SwarmBug | undefined;
  #values = 0;
  #isChaos = true;
  #isSettled = false;
  #isUndecided = false;
  #answeredAtHeal: readonly number[] = [];
  #reason = "nobody leads";
  #failure: unknown;

  constructor(seed: number, { trace, bug }: SwarmOptions) {
    this.#seed = seed;
    this.#bug = bug;
    const random = new SeededRandom(seed).fork("swarm");
    this.#profile = drawSwarm(random.fork("profile"));
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
      opened: (host, node) => this.#opened(host, node),
    };
    this.#hosts = nodes.map(({ nodeId, isManager }, at) => {
      const own = random.fork(nodeId);
      const drift = (own.int(2_001) / 1_000 - 1) * clockDrift;
      const clock = { rate: 1 + drift, offsetMs: own.int(2 * clockOffsetMs + 1) - clockOffsetMs };
      const host = new Host(nodeId, world, own, { isManager, isFirst: at === 0, clock });
      host.machine.failure = this.#profile.containerFailure;
      return host;
    });
    const nodeIds = nodes.map(({ nodeId }) => nodeId);
    this.#operator = new Operator(random.fork("operator"), nodeIds, this.#profile.changesRoles);
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
      if (this.#failure !== undefined) throw this.#failure;
    }
  }

  #begin(): void {
    for (const host of this.#hosts) host.start();
    const { clients, keys, clientPauseMs, operateEveryMs } = this.#profile;
    const registers = {
      timeline: this.#timeline,
      keys,
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
    this.#repeat(operateEveryMs, () => {
      const leader = this.#leader();
      if (leader !== undefined) void this.#operator.act(leader, (line) => this.#say("op", line));
    });
    this.#unleashFaults();
    this.#look();
  }

  #unleashFaults(): void {
    const {
      killEveryMs,
      powerCutEveryMs,
      partitionEveryMs,
      holdEveryMs,
      stallEveryMs,
      exitEveryMs,
    } = this.#profile;
    this.#repeat(killEveryMs, () => this.#takeDown((host) => host.kill()));
    this.#repeat(powerCutEveryMs, () => this.#takeDown((host) => host.powerCut()));
    this.#repeat(partitionEveryMs, () => this.#partition());
    this.#repeat(holdEveryMs, () => this.#victim()?.hold(this.#random.between(50, 8_000)));
    this.#repeat(stallEveryMs, () => this.#victim()?.disk.stall(this.#random.between(100, 5_000)));
    if (this.#profile.rots) {
      this.#timeline.after(this.#random.between(10_000, this.#profile.chaosMs - 1), () => {
        this.#rotOne();
      });
    }
    this.#repeat(exitEveryMs, () => {
      const host = this.#random.pick(this.#hosts);
      const taskId = host?.machine.exitSome();
      if (taskId !== undefined)
        this.#say(host?.nodeId ?? "", () => `the program of ${taskId} ends`);
    });
  }

  /** Calls `body` again and again while chaos lasts, `meanMs` apart on average. */
  #repeat(meanMs: number, body: () => void): void {
    if (meanMs === 0) return;
    this.#timeline.after(this.#random.between(1, 2 * meanMs), () => {
      if (!this.#isChaos) return;
      body();
      this.#repeat(meanMs, body);
    });
  }

  #takeDown(how: (host: Host) => void): void {
    const many = this.#random.chance(0.1);
    const doomed = many ? this.#hosts.filter(() => this.#random.chance(0.6)) : [this.#victim()];
    for (const host of doomed) {
      if (host === undefined || !host.isUp) continue;
      how(host);
      this.#timeline.after(this.#random.between(...this.#profile.downMs), () => host.start());
    }
  }

  /** One of three voters and more: what the others hold must be enough. */
  #rotOne(): void {
    const voters = this.#leader()?.status().voters ?? [];
    const host = this.#random.pick(this.#hosts.filter(({ nodeId }) => voters.includes(nodeId)));
    if (host === undefined || voters.length < VOTERS_TO_ROT_MIN) return;
    host.rot();
    this.#timeline.after(this.#random.between(...this.#profile.downMs), () => host.start());
  }

  #partition(): void {
    const ids = this.#random.shuffle(this.#hosts.map(({ nodeId }) => nodeId));
    const inside = ids.slice(0, this.#random.between(1, Math.max(1, ids.length - 1)));
    const outside = ids.filter((id) => !inside.includes(id));
    const direction = this.#random.pick(["both", "in", "out"] as const) ?? "both";
    this.#say("net", () => `cuts ${inside.join()} from ${outside.join()} (${direction})`);
    for (const a of inside) {
      for (const b of outside) {
        if (direction !== "in") this.#network.cut(a, b);
        if (direction !== "out") this.#network.cut(b, a);
      }
    }
    this.#timeline.after(this.#random.between(500, 20_000), () => {
      this.#say("net", () => "mends");
      this.#network.mend();
    });
  }

  /** Leaders are hit more often than their number says: their faults teach the most. */
  #victim(): Host | undefined {
    const leaders = this.#hosts.filter(({ manager }) => manager?.state.isLeader() === true);
    const leader = this.#random.chance(0.4) ? this.#random.pick(leaders) : undefined;
    return leader ?? this.#random.pick(this.#hosts);
  }

  #heal(): void {
    this.#isChaos = false;
    this.#say("", () => "the world is healed");
    this.#network.calm(CALM);
    for (const host of this.#hosts) {
      host.machine.failure = 0;
      host.disk.calm({ syncMs: CALM_SYNC_MS });
      host.start();
    }
    this.#answeredAtHeal = this.#clients.map(({ answered }) => answered);
  }

  /** Looks at the swarm now and then, and lets the operator help it to rest after the healing. */
  #look(): void {
    this.#timeline.after(LOOK_EVERY_MS, () => {
      for (const { nodeId, manager } of this.#hosts) {
        if (manager?.state.isLeader() === true) this.#leaders.leads(nodeId, manager.status().term);
      }
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
    void this.#operator.calm(leader).catch(() => undefined);
    const view = leader.state.view();
    this.#reason =
      this.#clientsWait() ??
      unsettled(view, this.#hosts) ??
      unsettledManagers(view, this.#hosts, leader) ??
      this.#differing(leader) ??
      "";
    this.#isSettled = this.#reason === "";
  }

  #clientsWait(): string | undefined {
    const fresh = this.#clients.map(
      ({ answered }, at) => answered - (this.#answeredAtHeal[at] ?? 0),
    );
    const least = Math.min(...fresh);
    return least < FRESH_ANSWERS ? `a client had ${least} answers` : undefined;
  }

  /** Managers that have applied the same have the same. */
  #differing(leader: RaftNode): string | undefined {
    const view = leader.state.view();
    const digest = digestOfView(view);
    for (const { nodeId, manager } of this.#hosts) {
      if (manager === undefined || manager === leader) continue;
      const own = manager.state.view();
      if (own.index !== view.index || digestOfView(own) === digest) continue;
      throw new Violation(
        "state-machine safety",
        `${nodeId} differs from the leader at ${own.index}`,
      );
    }
    return undefined;
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

  #opened({ nodeId, process }: Host, { state }: RaftNode): void {
    const follow = async () => {
      for await (const batch of state.watch({ signal: new AbortController().signal })) {
        if (process?.isAlive !== true) return;
        this.#objects.sees(nodeId, batch);
      }
    };
    follow().catch((error: unknown) => {
      if (process?.isAlive === true && error instanceof Violation) this.#failure ??= error;
    });
  }

  #fail({ nodeId }: Host, error: unknown): void {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    this.#say(nodeId, () => `FAILS: ${text}`);
    const message = error instanceof Error ? error.message : String(error);
    this.#failure ??= new Violation("invariant", `${nodeId}: ${message}`);
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
    for (const id of this.#operator.acknowledged) {
      if (view?.get("service", id) !== undefined) continue;
      throw new Violation("durability", `${id} was acknowledged and is gone`);
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
      terms: this.#leaders.terms,
      changes: this.#objects.changes,
      answers: this.#clients.reduce((sum, { answered }) => sum + answered, 0),
      isUndecided: this.#isUndecided,
      trace: this.#trace,
    };
  }
}
