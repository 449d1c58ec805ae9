/**
 * One run: a group of nodes under clients and faults for a while, then healed. Safety is checked at
 * every step; after the healing the group must be at work again within `RECOVERY_MS`.
 */

import { InvariantError } from "#base/invariant.ts";
import {
  EMPTY_CONF_STATE,
  EMPTY_SNAPSHOT,
  type Message,
  type NodeId,
  type Snapshot,
  type Status,
} from "#raft/index.ts";
import { type Bug, withBrokenCore } from "./bugs.ts";
import { Checker, type Law, Violation } from "./checker.ts";
import { Client, type ClientWorld } from "./client.ts";
import { CONTROLS } from "./controls.ts";
import { repeat, unleashFaults, type Victims } from "./faults.ts";
import { linearizabilityFault, type Operation, UNDECIDED } from "./linearizability.ts";
import { leaveJoint, planChange } from "./membership.ts";
import { Network } from "./network.ts";
import { SimNode, type Surroundings } from "./node.ts";
import { drawProfile, type Profile } from "./profile.ts";
import { SeededRandom } from "./random.ts";
import { Registers } from "./state-machine.ts";
import { Timeline } from "./timeline.ts";
import { Trace } from "./trace.ts";

/** Virtual time to be at work again after the last fault. */
const RECOVERY_MS = 60_000;
const SETTLE_CHECK_MS = 250;
/** After the healing the load leaves room to catch up. */
const CALM_CLIENT_EVERY_MS = 100;
/** Operations of each client that must be answered after the healing. */
const FRESH_ANSWERS = 2;

export interface RunOptions {
  readonly trace: boolean;
  readonly bug: Bug | undefined;
  /** The conditions under which this bug does harm, without the bug itself. */
  readonly conditionsOf: Bug | undefined;
}

export interface Outcome {
  readonly seed: number;
  readonly profile: Profile;
  /** The law that was broken, or undefined if the run was clean. */
  readonly broken: Law | undefined;
  readonly message: string;
  readonly endedAtMs: number;
  readonly terms: number;
  readonly applied: number;
  readonly writesAcked: number;
  readonly readsAnswered: number;
  /** The history was too tangled to tell whether it is linearizable. */
  readonly isUndecided: boolean;
  readonly trace: Trace;
}

export function runSeed(seed: number, options: Partial<RunOptions> = {}): Outcome {
  const { trace = false, bug, conditionsOf = bug } = options;
  return withBrokenCore(bug, () => new World(seed, { trace, bug, conditionsOf }).run());
}

class World {
  readonly #seed: number;
  readonly #profile: Profile;
  readonly #random: SeededRandom;
  readonly #timeline = new Timeline();
  readonly #checker = new Checker();
  readonly #trace: Trace;
  readonly #network: Network;
  readonly #nodes = new Map<NodeId, SimNode>();
  readonly #surroundings: Surroundings;
  readonly #bug: Bug | undefined;
  readonly #looksAtHistory: boolean;
  #isChaos = true;
  #isSettled = false;
  readonly #clients: Client[] = [];
  readonly #history: Operation[] = [];
  #isUndecided = false;
  #values = 0;
  /** What each client had been answered when the world was healed. */
  #answeredAtHeal: readonly number[] = [];

  constructor(seed: number, { trace, bug, conditionsOf }: RunOptions) {
    this.#seed = seed;
    this.#bug = bug;
    // The search is long where a bug tangles the history, and not what is to catch most of them.
    this.#looksAtHistory =
      conditionsOf === undefined || CONTROLS[conditionsOf].laws.includes("linearizability");
    const random = new SeededRandom(seed);
    const drawn = drawProfile(random.fork("profile"));
    this.#profile = conditionsOf === undefined ? drawn : CONTROLS[conditionsOf].bend(drawn);
    this.#random = random.fork("world");
    this.#trace = new Trace(trace);
    this.#network = new Network(this.#timeline, random.fork("network"), this.#profile, (m) =>
      this.#deliver(m),
    );
    this.#surroundings = {
      timeline: this.#timeline,
      random: random.fork("nodes"),
      profile: this.#profile,
      checker: this.#checker,
      trace: this.#trace,
      bug,
      send: (m) => this.#network.send(m),
    };
  }

  run(): Outcome {
    try {
      this.#begin();
      this.#timeline.runUntil(this.#profile.chaosMs, () => false);
      this.#heal();
      const end = this.#timeline.now + RECOVERY_MS;
      this.#timeline.runUntil(end, () => this.#isSettled);
      if (this.#looksAtHistory) this.#checkHistory();
      if (!this.#isSettled) throw new Violation("liveness", this.#describeUnsettled());
      return this.#outcome(undefined, "");
    } catch (error) {
      if (error instanceof Violation) return this.#outcome(error.law, error.message);
      if (error instanceof InvariantError) return this.#outcome("invariant", error.message);
      throw error;
    }
  }

  #checkHistory(): void {
    const fault = linearizabilityFault([...this.#history, ...this.#pendingOperations()]);
    this.#isUndecided = fault === UNDECIDED;
    if (typeof fault === "string") throw new Violation("linearizability", fault);
  }

  #begin(): void {
    const voters = Array.from({ length: this.#profile.nodes }, (_, position) => position + 1);
    const confState = { ...EMPTY_CONF_STATE, voters };
    const initial = { data: new Registers().encode(), metadata: { confState, index: 1, term: 1 } };
    this.#checker.startFrom(1);
    for (const id of voters) this.#addNode(id, initial);
    const victims: Victims = {
      timeline: this.#timeline,
      random: this.#random.fork("faults"),
      profile: this.#profile,
      network: this.#network,
      trace: this.#trace,
      nodes: () => [...this.#nodes.values()],
      leaders: () => this.#leaders(),
      isChaos: () => this.#isChaos,
    };
    unleashFaults(victims);
    repeat(victims, this.#profile.membershipEveryMs, () => this.#changeMembers());
    this.#addClients();
  }

  #addNode(id: NodeId, initial: Snapshot): void {
    const node = new SimNode(id, this.#surroundings, initial);
    this.#nodes.set(id, node);
    node.start();
  }

  #deliver(m: Message): void {
    this.#nodes.get(m.to)?.receive(m);
  }

  #leaders(): readonly SimNode[] {
    return [...this.#nodes.values()].filter(
      (node) => node.basicStatus()?.softState.raftState === "leader",
    );
  }

  #addClients(): void {
    const { clients, keys, clientEveryMs } = this.#profile;
    const world: ClientWorld = {
      timeline: this.#timeline,
      keys,
      pauseMs: () => {
        const everyMs = this.#isChaos
          ? clientEveryMs
          : Math.max(clientEveryMs, CALM_CLIENT_EVERY_MS);
        return clients * everyMs;
      },
      pickNode: () => {
        const leaders = this.#random.chance(0.6) ? this.#leaders() : [];
        return this.#random.pick(leaders) ?? this.#random.pick([...this.#nodes.values()]);
      },
      record: (operation) => this.#history.push(operation),
      freshValue: () => ++this.#values,
    };
    for (let id = 1; id <= clients; id++) {
      const client = new Client(id, world, this.#random.fork(`client ${id}`));
      this.#clients.push(client);
      client.start();
    }
  }

  #changeMembers(): void {
    const leader = this.#random.pick(this.#leaders());
    const status = leader?.status();
    if (leader === undefined || status === undefined) return;
    const plan = planChange(
      this.#random,
      status,
      this.#nodes.size + 1,
      this.#profile.changesAtOnce,
    );
    if (plan === undefined) return;
    for (const id of plan.newcomers) this.#addNode(id, EMPTY_SNAPSHOT);
    leader.proposeChange(plan.change, plan.text);
  }

  #heal(): void {
    this.#isChaos = this.#bug === "neverHeals";
    this.#trace.add(this.#timeline.now, "", () => "the world is healed");
    if (this.#bug !== "neverHeals") this.#network.calm();
    for (const node of this.#nodes.values()) node.start();
    this.#answeredAtHeal = this.#clients.map(({ answered }) => answered);
    this.#checkSettled();
  }

  #checkSettled(): void {
    const leading = this.#newestLeader();
    if (leading !== undefined) {
      const { node, status } = leading;
      const { voters, autoLeave } = status.config;
      if (voters.isJoint && !autoLeave) {
        node.proposeChange(leaveJoint().change, leaveJoint().text);
      }
      this.#isSettled = this.#isAtWork(status);
    }
    this.#timeline.after(SETTLE_CHECK_MS, () => this.#checkSettled());
  }

  #newestLeader(): { readonly node: SimNode; readonly status: Status } | undefined {
    let newest: { readonly node: SimNode; readonly status: Status } | undefined;
    for (const node of this.#leaders()) {
      const status = node.status();
      if (status === undefined) continue;
      if (status.hardState.term > (newest?.status.hardState.term ?? 0)) newest = { node, status };
    }
    return newest;
  }

  /** New writes go through, nothing acknowledged is missing, and every member has nearly everything. */
  #isAtWork({ config, hardState }: Status): boolean {
    if (config.voters.isJoint) return false;
    if (this.#freshAnswers() < FRESH_ANSWERS) return false;
    if (hardState.commit < this.#checker.lastAcked) return false;
    const members = [...config.voters.ids, ...config.learners.ids];
    // With clients at work the last entries are always on their way.
    const wanted = this.#appliedAtLastCheck;
    this.#appliedAtLastCheck = hardState.commit;
    const hasCaughtUp = (node: SimNode | undefined) =>
      node?.isLost === true || (node?.applied ?? 0) >= wanted;
    return wanted > 0 && members.every((id) => hasCaughtUp(this.#nodes.get(id)));
  }
  #appliedAtLastCheck = 0;

  #describeUnsettled(): string {
    const states = [...this.#nodes.values()].map((node) => {
      const status = node.basicStatus();
      if (status === undefined) return `n${node.id} down`;
      const { softState, hardState } = status;
      return `n${node.id} ${softState.raftState} term ${hardState.term} commit ${hardState.commit} applied ${node.applied}`;
    });
    return `not at work ${RECOVERY_MS}ms after the last fault; some client had ${this.#freshAnswers()} answers since; ${states.join("; ")}`;
  }

  #pendingOperations(): readonly Operation[] {
    return this.#clients.flatMap(({ pending }) => pending ?? []);
  }

  /** Answers since the healing of the client that had fewest. */
  #freshAnswers(): number {
    const fresh = this.#clients.map(
      ({ answered }, at) => answered - (this.#answeredAtHeal[at] ?? 0),
    );
    return Math.min(...fresh);
  }

  #outcome(broken: Law | undefined, message: string): Outcome {
    const { terms, lastApplied, writesAcked, readsAnswered } = this.#checker;
    return {
      seed: this.#seed,
      profile: this.#profile,
      broken,
      message,
      endedAtMs: this.#timeline.now,
      terms,
      applied: lastApplied,
      writesAcked,
      readsAnswered,
      isUndecided: this.#isUndecided,
      trace: this.#trace,
    };
  }
}
