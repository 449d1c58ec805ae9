/**
 * Holds a swarm against its laws: what managers commit, what machines run, read and are sent, where
 * requests go. The first breach is kept, and ends the run.
 */

import type { DescMethod } from "@bufbuild/protobuf";
import { isErrorCode } from "#base/error.ts";
import type { RaftNode } from "#manager/raft/node.ts";
import type { ReadView } from "#store/types.ts";
import {
  AssignmentChange_AssignmentAction as AssignmentAction,
  type AssignmentsMessage,
} from "#wire/gen/swarmkit/dispatcher_pb.js";
import type { Task } from "#wire/gen/swarmkit/objects_pb.js";
import { TaskState } from "#wire/gen/swarmkit/types_pb.js";
import { Violation } from "../checker.ts";
import type { MachineEvents } from "./containers.ts";
import type { Host } from "./host.ts";
import { AddressesInUse, NothingGivenTwice } from "./laws/allocation.ts";
import { JobsKeepTheirLimits } from "./laws/jobs.ts";
import { RemovedNodesStayAway } from "./laws/nodes.ts";
import { StartsInOrder } from "./laws/order.ts";
import { OnlyWhoNeedsIt, type Payload } from "./laws/payloads.ts";
import { digestOfView, OneLeader, SameObjects } from "./laws/sameness.ts";
import { EnoughToServe } from "./laws/serving.ts";
import { NoTrafficToWhatStops } from "./laws/traffic.ts";
import { UpdatesKeepTheirWord } from "./laws/updates.ts";
import { Ledger } from "./ledger.ts";
import { PhasesOfFaults } from "./phases.ts";

export interface CourtWorld {
  now(): number;
  hosts(): readonly Host[];
}

export class Court {
  readonly #world: CourtWorld;
  readonly #objects = new SameObjects();
  readonly #leaders = new OneLeader();
  readonly #given = new NothingGivenTwice();
  readonly #payloads = new OnlyWhoNeedsIt();
  readonly #nodes = new RemovedNodesStayAway();
  readonly #phases = new PhasesOfFaults();
  readonly #serving = new EnoughToServe();
  readonly traffic: NoTrafficToWhatStops;
  readonly ledger: Ledger;
  /** Undefined once nodes may run what the store has forgotten. */
  #addresses: AddressesInUse | undefined = new AddressesInUse();
  /** Index that the survivor of a lost majority had; undefined when none is awaited. */
  #survivedAt: number | undefined;
  /** Secrets and configs that leaders have sent, and what those leaders knew by then. */
  #deliveries: { readonly index: number; readonly to: string; readonly payload: Payload }[] = [];
  #failure: unknown;

  constructor(world: CourtWorld) {
    this.#world = world;
    this.traffic = new NoTrafficToWhatStops(() => world.now());
    this.ledger = new Ledger([
      this.#given,
      new UpdatesKeepTheirWord(),
      this.#payloads,
      this.#nodes,
      new JobsKeepTheirLimits(),
      new StartsInOrder(),
      this.#serving,
      this.traffic,
    ]);
  }

  /** What broke first. */
  get failure(): unknown {
    return this.#failure;
  }

  /** The swarm's majority is lost, and nobody leads yet who counts. */
  get isSuspended(): boolean {
    return this.#survivedAt !== undefined;
  }

  /** Whether nodes may know what the store has forgotten, now or earlier in the run. */
  get hasForgotten(): boolean {
    return this.#addresses === undefined;
  }

  /** How much there was to judge. */
  counts() {
    const excused = [...this.traffic.excused].map(
      ([why, count]) => [`requests lost: ${why}`, count] as const,
    );
    return {
      terms: this.#leaders.terms,
      changes: this.#objects.changes,
      removals: this.#nodes.count,
      requests: this.traffic.answered,
      "tables checked": this.#serving.checks,
      ...Object.fromEntries(excused),
      ...this.#phases.counts(),
    };
  }

  /** Notes a breach that was found in the middle of something else, without disturbing that. */
  judged(check: () => void): void {
    try {
      check();
    } catch (error) {
      this.fail(error);
    }
  }

  fail(error: unknown): void {
    this.#failure ??= error;
  }

  machineEvents(nodeId: string): MachineEvents {
    return {
      begins: (task) => this.judged(() => this.#addresses?.begins(nodeId, task)),
      ends: (task) => this.#addresses?.ends(task),
      reads: (task, payload, data) =>
        this.judged(() => this.#checkPayload(nodeId, task, payload, data)),
    };
  }

  /** The kernel of a machine follows other tables than before. */
  tablesApplied({ nodeId, dataPath }: Host): void {
    if (this.hasForgotten) return;
    this.judged(() => this.#serving.applied(nodeId, dataPath));
  }

  /** What a leader sends is judged when the ledger knows what that leader knew. */
  streamed(from: string, to: string, { name }: DescMethod, message: unknown): void {
    const state = this.#world.hosts().find(({ nodeId }) => nodeId === from)?.manager?.state;
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

  /** A manager's state can be read: from now on all that it applies is. */
  follow(host: Host, { state }: Pick<RaftNode, "state">): void {
    const { nodeId, process } = host;
    const read = async () => {
      const { signal } = new AbortController();
      const { view, batches } = state.viewAndWatch({ signal });
      if (!this.isSuspended) this.ledger.shows(view);
      let from = view.index;
      for await (const batch of batches) {
        if (process?.isAlive !== true) return;
        this.#objects.sees(nodeId, batch);
        if (!this.isSuspended) this.ledger.takes(from, batch);
        from = batch.index;
      }
    };
    read().catch((error: unknown) => {
      if (process?.isAlive !== true) return;
      if (error instanceof Violation) this.fail(error);
      // A snapshot took the place of what there was to tell.
      else if (isErrorCode(error, "out-of-range")) this.follow(host, { state });
    });
  }

  /** What can be seen of the swarm at this moment. */
  look(leader: RaftNode | undefined): void {
    const hosts = this.#world.hosts();
    for (const { nodeId, manager } of hosts) {
      const status = manager?.status();
      if (status?.leads === true) this.#leaders.leads(nodeId, status.term);
    }
    const up = hosts.filter(({ isUp }) => isUp).map(({ nodeId }) => nodeId);
    this.#phases.look(this.ledger, leader?.status().term ?? 0, new Set(up));
    this.judged(() => this.#checkDeliveries());
    if (!this.hasForgotten) this.judged(() => this.#checkLags(hosts));
  }

  /** Nothing that was seen so far binds what comes; but what the survivor had applied must stay. */
  majorityLost(survivor: Host): void {
    this.#survivedAt = survivor.manager?.state.view().index ?? 0;
    this.#objects.forget();
    this.#leaders.forget();
    this.#addresses = undefined;
    this.#deliveries = [];
  }

  /** The survivor leads: from here on everything counts again. */
  beginAgain(view: ReadView): void {
    if (view.index < (this.#survivedAt ?? 0)) {
      throw new Violation("durability", `the survivor is at ${view.index}, and was further`);
    }
    this.#survivedAt = undefined;
    this.ledger.restart(view);
  }

  /** The allocator counts what objects hold, and nobody waits for what is free. */
  leaked(): string | undefined {
    const usage = this.#world.hosts().flatMap((host) => host.usage() ?? [])[0];
    if (usage === undefined) return "nobody allocates";
    const { addresses, ports } = this.#given.held();
    if (usage.addresses !== addresses) {
      return `${usage.addresses} addresses are counted as held, ${addresses} are`;
    }
    if (usage.ports !== ports) return `${usage.ports} ports are counted as held, ${ports} are`;
    // Nodes wait where a small network has no address left for them.
    const isScarce = [...this.ledger.all("network")].some(({ spec }) => spec?.ipam !== undefined);
    if (usage.waiting === 0 || isScarce) return undefined;
    return `${usage.waiting} wait for addresses or ports`;
  }

  /** Managers that have applied the same have the same. */
  checkSame(leader: RaftNode): void {
    const view = leader.state.view();
    const digest = digestOfView(view);
    for (const { nodeId, manager } of this.#world.hosts()) {
      if (manager === undefined || manager === leader) continue;
      const own = manager.state.view();
      if (own.index !== view.index || digestOfView(own) === digest) continue;
      throw new Violation(
        "state-machine safety",
        `${nodeId} differs from the leader at ${own.index}`,
      );
    }
  }

  /** What a node reads must be what the store has, if the task is still to run. */
  #checkPayload(nodeId: string, task: Task, { kind, id }: Payload, data?: Uint8Array): void {
    const state = this.ledger.get("task", task.id)?.status?.state;
    const stored = this.ledger.get(kind, id)?.spec?.data;
    if (state === undefined || state > TaskState.RUNNING || stored === undefined) return;
    if (this.isSuspended) return;
    if (data === undefined) {
      throw new Violation("secrecy", `${nodeId} was not sent ${kind} ${id} for ${task.id}`);
    }
    if (data.join() !== stored.join()) {
      throw new Violation("secrecy", `${nodeId} has another ${kind} ${id} than the store`);
    }
  }

  #checkDeliveries(): void {
    if (this.isSuspended) return;
    const due = this.#deliveries.filter(({ index }) => index <= this.ledger.index);
    this.#deliveries = this.#deliveries.filter(({ index }) => index > this.ledger.index);
    for (const { to, payload } of due) this.#payloads.delivers(to, payload);
  }

  #checkLags(hosts: readonly Host[]): void {
    for (const { nodeId, dataPath, followedMs } of hosts) {
      this.traffic.lags(nodeId, dataPath, followedMs);
    }
  }
}
