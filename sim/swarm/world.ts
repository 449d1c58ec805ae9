/**
 * One run of a whole swarm: the real managers and agents, as they are in the daemon, on virtual
 * clocks, network and disks. Operators and clients work while machines fail; then the faults end,
 * and the swarm must come to what it was asked for.
 */

import type { DescMethod } from "@bufbuild/protobuf";
import { isErrorCode } from "#base/error.ts";
import { InvariantError } from "#base/invariant.ts";
import type { RaftNode } from "#manager/raft/node.ts";
import { slotKeyOf, stateOf } from "#model/task.ts";
import type { Kind, ReadView } from "#store/types.ts";
import {
  AssignmentChange_AssignmentAction as AssignmentAction,
  type AssignmentsMessage,
} from "#wire/gen/swarmkit/dispatcher_pb.js";
import type { Service, Task } from "#wire/gen/swarmkit/objects_pb.js";
import { TaskState, UpdateStatus_UpdateState as UpdateState } from "#wire/gen/swarmkit/types_pb.js";
import { type Law, Violation } from "../checker.ts";
import { linearizabilityFault, UNDECIDED } from "../linearizability.ts";
import { SeededRandom } from "../random.ts";
import { Timeline } from "../timeline.ts";
import { Trace } from "../trace.ts";
import { type SwarmBug, withBrokenSwarm } from "./bugs.ts";
import { RegisterClient } from "./clients.ts";
import type { MachineEvents } from "./containers.ts";
import { repeat, type SwarmVictims, unleash } from "./faults.ts";
import { addrOf, Host, type HostWorld } from "./host.ts";
import { AddressesInUse, NothingGivenTwice } from "./laws/allocation.ts";
import { JobsKeepTheirLimits } from "./laws/jobs.ts";
import { RemovedNodesStayAway } from "./laws/nodes.ts";
import { StartsInOrder } from "./laws/order.ts";
import { OnlyWhoNeedsIt, type Payload } from "./laws/payloads.ts";
import { misplacedPayloads, unsettledManagers, unsettledServices } from "./laws/rest.ts";
import { digestOfView, OneLeader, SameObjects } from "./laws/sameness.ts";
import { UpdatesKeepTheirWord } from "./laws/updates.ts";
import { Ledger } from "./ledger.ts";
import { type Desk, Operator } from "./operator.ts";
import { PhasesOfFaults } from "./phases.ts";
import { drawSwarm, type SwarmProfile } from "./profile.ts";
import { RpcNetwork } from "./rpc.ts";
import { imageOf } from "./specs.ts";

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
  readonly removals: number;
  /** Leader changes and deaths of hosts by the phase of the updates that they struck. */
  readonly phases: Readonly<Record<string, number>>;
  readonly answers: number;
  readonly isUndecided: boolean;
  readonly trace: Trace;
}

export async function runSwarm(
  seed: number,
  { trace = false, bug }: Partial<SwarmOptions> = {},
): Promise<SwarmOutcome> {
  return await withBrokenSwarm(bug, () => new SwarmWorld(seed, { trace, bug }).run());
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
  readonly #given = new NothingGivenTwice();
  readonly #updates = new UpdatesKeepTheirWord();
  readonly #payloads = new OnlyWhoNeedsIt();
  readonly #nodes = new RemovedNodesStayAway();
  readonly #order = new StartsInOrder();
  readonly #phases = new PhasesOfFaults();
  readonly #ledger = new Ledger([
    this.#given,
    this.#updates,
    this.#payloads,
    this.#nodes,
    new JobsKeepTheirLimits(),
    this.#order,
  ]);
  /** Undefined once nodes may run what the store has forgotten. */
  #addresses: AddressesInUse | undefined = new AddressesInUse();
  /** Index that the survivor of a lost majority had; undefined when none is awaited. */
  #survivedAt: number | undefined;
  #firstKey = 0;
  /** Secrets and configs that leaders have sent, and what those leaders knew by then. */
  #deliveries: { readonly index: number; readonly to: string; readonly payload: Payload }[] = [];
  readonly #bug: SwarmBug | undefined;
  #values = 0;
  #isChaos = true;
  #healedAtMs = 0;
  #removesAtMs = 0;
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
      machineEvents: (nodeId) => this.#machineEvents(nodeId),
    };
    this.#network.onAnswer = (...answer) => this.#answered(...answer);
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
      if (this.#failure !== undefined) throw this.#failure;
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

  #machineEvents(nodeId: string): MachineEvents {
    return {
      begins: (task) => this.#judged(() => this.#addresses?.begins(nodeId, task)),
      ends: (task) => this.#addresses?.ends(task),
      reads: (task, payload, data) =>
        this.#judged(() => this.#checkPayload(nodeId, task, payload, data)),
    };
  }

  /** What a node reads must be what the store has, if the task is still to run. */
  #checkPayload(nodeId: string, task: Task, { kind, id }: Payload, data?: Uint8Array): void {
    const state = this.#ledger.get("task", task.id)?.status?.state;
    const stored = this.#ledger.get(kind, id)?.spec?.data;
    if (state === undefined || state > TaskState.RUNNING || stored === undefined) return;
    if (this.#survivedAt !== undefined) return;
    if (data === undefined) {
      throw new Violation("secrecy", `${nodeId} was not sent ${kind} ${id} for ${task.id}`);
    }
    if (data.join() !== stored.join()) {
      throw new Violation("secrecy", `${nodeId} has another ${kind} ${id} than the store`);
    }
  }

  /** What a leader sends is judged when the ledger knows what that leader knew. */
  #answered(from: string, to: string, { name }: DescMethod, message: unknown): void {
    const state = this.#hosts.find(({ nodeId }) => nodeId === from)?.manager?.state;
    if (name !== "Assignments" || state?.isLeader() !== true) return;
    const { index } = state.view();
    for (const { assignment, action } of (message as AssignmentsMessage).changes) {
      const item = assignment?.item;
      if (action !== AssignmentAction.UPDATE) continue;
      if (item?.case !== "secret" && item?.case !== "config") continue;
      const payload = { kind: item.case, id: item.value.id };
      this.#deliveries.push({ index, to, payload });
    }
  }

  #checkDeliveries(): void {
    if (this.#survivedAt !== undefined) return;
    const due = this.#deliveries.filter(({ index }) => index <= this.#ledger.index);
    this.#deliveries = this.#deliveries.filter(({ index }) => index > this.#ledger.index);
    for (const { to, payload } of due) this.#payloads.delivers(to, payload);
  }

  /** Notes a breach that was found in the middle of a process's work, without disturbing that. */
  #judged(check: () => void): void {
    try {
      check();
    } catch (error) {
      this.#failure ??= error;
    }
  }

  /** Nothing that was seen so far binds what comes; but what the survivor had applied must stay. */
  #majorityLost(survivor: Host): void {
    this.#survivedAt = survivor.manager?.state.view().index ?? 0;
    this.#checkHistory();
    for (const client of this.#clients) client.forget();
    this.#firstKey += KEYS_APART;
    this.#objects.forget();
    this.#leaders.forget();
    this.#addresses = undefined;
    this.#deliveries = [];
    survivor.goAlone();
  }

  /** The survivor leads: from here on everything counts again. */
  #beginAgain(leader: RaftNode): void {
    const view = leader.state.view();
    if (view.index < (this.#survivedAt ?? 0)) {
      throw new Violation("durability", `the survivor is at ${view.index}, and was further`);
    }
    this.#survivedAt = undefined;
    this.#ledger.restart(view);
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
      for (const { nodeId, manager } of this.#hosts) {
        const status = manager?.status();
        if (status?.leads === true) this.#leaders.leads(nodeId, status.term);
      }
      const leader = this.#leader();
      const up = this.#hosts.filter(({ isUp }) => isUp).map(({ nodeId }) => nodeId);
      this.#phases.look(this.#ledger, leader?.status().term ?? 0, new Set(up));
      if (this.#survivedAt !== undefined && leader !== undefined) {
        this.#judged(() => this.#beginAgain(leader));
      }
      this.#judged(() => this.#checkDeliveries());
      if (leader !== undefined && this.#survivedAt === undefined) this.#removeRetired(leader);
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
      this.#leaked() ??
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

  /** The allocator counts what objects hold, and nobody waits for what is free. */
  #leaked(): string | undefined {
    const usage = this.#hosts.flatMap((host) => host.usage() ?? [])[0];
    if (usage === undefined) return "nobody allocates";
    const { addresses, ports } = this.#given.held();
    if (usage.addresses !== addresses) {
      return `${usage.addresses} addresses are counted as held, ${addresses} are`;
    }
    if (usage.ports !== ports) return `${usage.ports} ports are counted as held, ${ports} are`;
    // Nodes wait where a small network has no address left for them.
    const isScarce = [...this.#ledger.all("network")].some(({ spec }) => spec?.ipam !== undefined);
    if (usage.waiting === 0 || isScarce) return undefined;
    return `${usage.waiting} wait for addresses or ports`;
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

  #opened(host: Host, { state }: RaftNode): void {
    const { nodeId, process } = host;
    const follow = async () => {
      const { signal } = new AbortController();
      const { view, batches } = state.viewAndWatch({ signal });
      if (this.#survivedAt === undefined) this.#ledger.shows(view);
      let from = view.index;
      for await (const batch of batches) {
        if (process?.isAlive !== true) return;
        this.#objects.sees(nodeId, batch);
        if (this.#survivedAt === undefined) this.#ledger.takes(from, batch);
        from = batch.index;
      }
    };
    follow().catch((error: unknown) => {
      if (process?.isAlive !== true) return;
      if (error instanceof Violation) this.#failure ??= error;
      // A snapshot took the place of what there was to tell.
      else if (isErrorCode(error, "out-of-range")) this.#opened(host, { state } as RaftNode);
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
    for (const service of this.#ledger.all("service")) {
      this.#say("", () => describeService(service));
      for (const task of this.#ledger.all("task")) {
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
      terms: this.#leaders.terms,
      changes: this.#objects.changes,
      removals: this.#nodes.count,
      phases: this.#phases.counts(),
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

function describeService({ id, spec, updateStatus, allocationError }: Service): string {
  const update = UpdateState[updateStatus?.state ?? UpdateState.UNKNOWN];
  const name = spec?.annotations?.name ?? "";
  return `${name} (${id}) wants ${imageOf(spec?.task)}: ${update} ${allocationError}`;
}

function describeTask(task: Task): string {
  const { id, nodeId, desiredState, status, specVersion } = task;
  const states = `${TaskState[stateOf(task)]}, to be ${TaskState[desiredState]}`;
  const why = `${status?.message ?? ""} ${status?.err ?? ""}`;
  return `  ${slotKeyOf(task)} ${id} on ${nodeId}: ${imageOf(task.spec)} of ${specVersion?.index}: ${states}: ${why}`;
}
