/**
 * The scheduler chooses nodes for tasks: PENDING to ASSIGNED. It keeps a picture of the nodes and
 * what their tasks take, and counts along with every change of a task; the picture is exact because
 * the changes of an object reach it as a chain without gaps.
 *
 * A task that finds no node, or whose service waits for others, stays PENDING and says why. Tasks that
 * are bound to a node (global services, attachments) are only checked against it.
 */

import { create } from "@bufbuild/protobuf";
import { isTaskHeldBack, waitText } from "#model/start-order.ts";
import { holdsNode, isTerminal, isWanted, stateOf } from "#model/task.ts";
import { timestampOf } from "#model/time.ts";
import type { Change, Tx } from "#store/types.ts";
import type { Node, Service, Task } from "#wire/gen/swarmkit/objects_pb.js";
import { TaskState, type TaskStatus, TaskStatusSchema } from "#wire/gen/swarmkit/types_pb.js";
import { type Delta, deltaOf } from "../delta.ts";
import type { PlanContext, Planner } from "../planner.ts";
import { WakeQueue } from "../wake-queue.ts";
import { type Demand, demandOf, Refusals, refusalOf } from "./filters.ts";
import { type Group, Groups, groupKeyOf, Improvements } from "./groups.ts";
import { LoadOrder } from "./load-order.ts";
import { NodeInfo } from "./node-info.ts";
import { spreadOverLabels } from "./spread.ts";

const ASSIGNED_MESSAGE = "scheduler assigned task to node";
const CONFIRMED_MESSAGE = "scheduler confirmed task can run on preassigned node";
/** The reason on waiting tasks is renewed no more often than this. */
const EXPLAIN_INTERVAL_MS = 5_000;

export class Scheduler implements Planner {
  readonly name = "scheduler";
  readonly #nodes = new Map<string, NodeInfo>();
  readonly #order = new LoadOrder();
  readonly #groups = new Groups();
  readonly #improvements = new Improvements();
  /** Tasks waiting for the node that they are bound to, by node. */
  readonly #bound = new Map<string, Set<string>>();
  readonly #boundReady = new Set<string>();
  /** Tasks of versions that are not to be started yet, by service. */
  readonly #heldBack = new Map<string, Set<string>>();
  readonly #toRecheck = new Set<string>();
  /** Tasks that stopped being wanted before any node had them. */
  readonly #unwanted = new Set<string>();
  /** Blocked groups whose reason may no longer be true. */
  readonly #stale = new WakeQueue<Group>();
  /** Own assignments, counted when they were made, whose change is still to come. */
  readonly #counted = new Set<string>();

  #shared = { status: create(TaskStatusSchema), nowMs: 0 };

  start(context: PlanContext): void {
    for (const after of context.tx.all("node")) this.#onNode({ before: undefined, after });
    for (const after of context.tx.all("task")) {
      this.#onTask({ before: undefined, after }, context);
    }
    this.#work(context);
  }

  step(context: PlanContext, changes: readonly Change[]): void {
    for (const change of changes) {
      if (change.kind === "task") this.#onTask(deltaOf(change), context);
      else if (change.kind === "service") this.#onService(deltaOf(change));
      else if (change.kind === "node") this.#onNode(deltaOf(change));
    }
    this.#work(context);
  }

  #onNode({ before, after }: Delta<Node>): void {
    if (after === undefined) {
      const info = this.#nodes.get(before?.id ?? "");
      if (info !== undefined) this.#order.remove(info);
      this.#nodes.delete(before?.id ?? "");
      this.#bound.delete(before?.id ?? "");
      return;
    }
    const known = this.#nodes.get(after.id);
    const info = known ?? new NodeInfo(after);
    info.node = after;
    if (known === undefined) {
      this.#nodes.set(after.id, info);
      this.#order.place(info);
    }
    if (before === undefined || !sameForPlacement(before, after)) this.#improved(info);
  }

  #onService({ before, after }: Delta<Service>): void {
    const id = (after ?? before)?.id ?? "";
    if (this.#heldBack.has(id)) this.#toRecheck.add(id);
  }

  #onTask({ before, after }: Delta<Task>, { tx, nowMs }: PlanContext): void {
    this.#recount(before, after);
    const waited = before !== undefined && isPending(before);
    const waits = after !== undefined && isPending(after);
    if (waited && !waits) this.#unqueue(before);
    if (waits && !waited) this.#queue(after, tx.get("service", after.serviceId));
    if (after === undefined) {
      this.#unwanted.delete(before?.id ?? "");
      return;
    }
    const early = stateOf(after) < TaskState.ASSIGNED;
    if (early && after.desiredState === TaskState.SHUTDOWN) this.#unwanted.add(after.id);
    if (before !== undefined && !isTerminal(before) && failed(after)) {
      this.#nodes.get(after.nodeId)?.noteFailure(groupKeyOf(after), nowMs);
    }
  }

  /** Moves what a task takes from where it was to where it is. */
  #recount(before: Task | undefined, after: Task | undefined): void {
    const took = before !== undefined && holdsNode(before);
    const takes = after !== undefined && holdsNode(after);
    const same = took && takes && before.nodeId === after.nodeId;
    if (same && isWanted(before) === isWanted(after)) return;
    if (takes && !took && this.#counted.delete(after.id)) return;
    if (took) {
      const info = this.#nodes.get(before.nodeId);
      info?.count(before, -1);
      if (info !== undefined) this.#moved(info);
      if (info !== undefined) this.#improved(info);
    }
    if (takes) {
      const info = this.#nodes.get(after.nodeId);
      info?.count(after, 1);
      if (info !== undefined) this.#moved(info);
    }
  }

  #moved(info: NodeInfo): void {
    this.#order.place(info);
  }

  #improved(info: NodeInfo): void {
    this.#improvements.note(info, this.#nodes.size);
    this.#groups.wakeBlocked();
    if (this.#bound.has(info.node.id)) this.#boundReady.add(info.node.id);
  }

  #queue(task: Task, service: Service | undefined): void {
    if (isTaskHeldBack(service, task)) {
      const tasks = this.#heldBack.get(task.serviceId) ?? new Set();
      tasks.add(task.id);
      this.#heldBack.set(task.serviceId, tasks);
      this.#toRecheck.add(task.serviceId);
      return;
    }
    if (task.nodeId === "") {
      this.#groups.add(task);
      return;
    }
    const tasks = this.#bound.get(task.nodeId) ?? new Set();
    tasks.add(task.id);
    this.#bound.set(task.nodeId, tasks);
    this.#boundReady.add(task.nodeId);
  }

  #unqueue(task: Task): void {
    const heldBack = this.#heldBack.get(task.serviceId);
    heldBack?.delete(task.id);
    if (heldBack?.size === 0) this.#heldBack.delete(task.serviceId);
    this.#groups.remove(task);
    const tasks = this.#bound.get(task.nodeId);
    tasks?.delete(task.id);
    if (tasks?.size === 0) this.#bound.delete(task.nodeId);
  }

  #work(context: PlanContext): void {
    this.#stopUnwanted(context);
    this.#recheckHeldBack(context);
    for (;;) {
      const group = this.#stale.take(context.nowMs);
      if (group === undefined) break;
      if (group.taskIds.size > 0) this.#groups.ready.add(group);
    }
    for (const nodeId of this.#boundReady) {
      if (!context.hasRoom()) return;
      this.#boundReady.delete(nodeId);
      this.#confirm(context, nodeId);
    }
    for (const group of this.#groups.ready) {
      if (!context.hasRoom()) return;
      this.#groups.ready.delete(group);
      this.#place(context, group);
    }
  }

  #stopUnwanted(context: PlanContext): void {
    const { tx, nowMs } = context;
    for (const id of this.#unwanted) {
      if (!context.hasRoom()) return;
      this.#unwanted.delete(id);
      const task = tx.get("task", id);
      if (task === undefined || stateOf(task) >= TaskState.ASSIGNED) continue;
      if (task.desiredState !== TaskState.SHUTDOWN) continue;
      const status = this.#statusOf(TaskState.SHUTDOWN, "shutdown", nowMs);
      tx.update("task", { ...task, status });
    }
  }

  /** Tasks of services that waited: they say what for, or are to be placed now. */
  #recheckHeldBack(context: PlanContext): void {
    const { tx } = context;
    for (const serviceId of this.#toRecheck) {
      const service = tx.get("service", serviceId);
      for (const id of this.#heldBack.get(serviceId) ?? []) {
        if (!context.hasRoom()) return;
        const task = tx.get("task", id);
        if (task === undefined || !isPending(task)) continue;
        if (service !== undefined && isTaskHeldBack(service, task)) {
          noteError(tx, task, waitText(service));
        } else {
          this.#heldBack.get(serviceId)?.delete(id);
          this.#queue(task, service);
        }
      }
      if (this.#heldBack.get(serviceId)?.size === 0) this.#heldBack.delete(serviceId);
      this.#toRecheck.delete(serviceId);
    }
  }

  /** Checks the tasks that are bound to a node. */
  #confirm(context: PlanContext, nodeId: string): void {
    const { tx, nowMs } = context;
    const info = this.#nodes.get(nodeId);
    for (const id of this.#bound.get(nodeId) ?? []) {
      if (!context.hasRoom()) {
        this.#boundReady.add(nodeId);
        return;
      }
      const task = tx.get("task", id);
      if (task === undefined || !isPending(task)) continue;
      const demand = demandOf(task);
      const refusals = new Refusals();
      const refusal = info === undefined ? 0 : refusalOf(info, demand);
      if (info !== undefined && refusal < 0) {
        this.#assign(tx, nowMs, task, info, demand);
        continue;
      }
      if (info !== undefined) refusals.add(info, refusal);
      noteError(tx, task, refusals.text());
    }
  }

  #place(context: PlanContext, group: Group): void {
    const { tx, nowMs } = context;
    const [first] = group.taskIds;
    const sample = first === undefined ? undefined : tx.get("task", first);
    if (sample === undefined) return;
    const demand = demandOf(sample);
    const wasBlocked = group.triedAt !== undefined;
    const nodes = wasBlocked ? this.#improvements.since(group.triedAt ?? 0) : this.#order;
    const refusals = new Refusals();
    const queue = [...group.taskIds];
    let next = 0;
    let outOfRoom = false;
    spreadOverLabels(
      {
        demand,
        refusals,
        penalty: (info) => info.penalty(group.key, nowMs),
        assign: (info) => {
          outOfRoom ||= !context.hasRoom();
          // Out of room the rest is only passed over; it is all looked at again in the next turn.
          const task = outOfRoom ? undefined : tx.get("task", queue[next++] ?? "");
          if (task !== undefined) this.#assign(tx, nowMs, task, info, demand);
        },
      },
      queue.length,
      nodes,
      demand.needs.spreadOver,
    );
    if (outOfRoom) {
      group.triedAt = undefined;
      this.#groups.ready.add(group);
    } else if (next < queue.length) {
      this.#wait(context, group, demand, queue.slice(next), wasBlocked ? undefined : refusals);
    }
  }

  #assign(tx: Tx, nowMs: number, task: Task, info: NodeInfo, demand: Demand): void {
    const message = task.nodeId === "" ? ASSIGNED_MESSAGE : CONFIRMED_MESSAGE;
    const status = this.#statusOf(TaskState.ASSIGNED, message, nowMs);
    const generic = demand.needs.generic.length > 0 ? info.claim(demand.needs) : [];
    const assigned = {
      ...task,
      nodeId: info.node.id,
      status,
      assignedGenericResources: generic,
    };
    tx.update("task", assigned);
    this.#counted.add(task.id);
    info.count(assigned, 1);
    this.#moved(info);
  }

  /** Messages are values: the tasks of one turn share their new status. */
  #statusOf(state: TaskState, message: string, nowMs: number): TaskStatus {
    const { status: shared, nowMs: sharedMs } = this.#shared;
    if (shared.message === message && sharedMs === nowMs) return shared;
    const status = create(TaskStatusSchema);
    status.state = state;
    status.message = message;
    status.timestamp = timestampOf(nowMs);
    this.#shared = { status, nowMs };
    return status;
  }

  /** No node for these: they say why, and wait for a node to become better. */
  #wait(
    context: PlanContext,
    group: Group,
    demand: Demand,
    taskIds: readonly string[],
    complete: Refusals | undefined,
  ): void {
    const { tx, nowMs } = context;
    this.#groups.block(group, this.#improvements.now);
    let refusals = complete;
    if (refusals === undefined && nowMs >= group.explainAtMs) {
      refusals = new Refusals();
      for (const info of this.#nodes.values()) {
        const refusal = refusalOf(info, demand);
        if (refusal >= 0) refusals.add(info, refusal);
      }
    }
    if (refusals === undefined) {
      this.#stale.set(group, group.explainAtMs);
      context.wakeAt(group.explainAtMs);
    } else {
      group.reason = refusals.text();
      group.explainAtMs = nowMs + EXPLAIN_INTERVAL_MS;
    }
    for (const id of taskIds) {
      const task = tx.get("task", id);
      if (task !== undefined) noteError(tx, task, group.reason);
    }
  }
}

function isPending(task: Task): boolean {
  return stateOf(task) === TaskState.PENDING && isWanted(task);
}

function failed(task: Task): boolean {
  return stateOf(task) === TaskState.FAILED || stateOf(task) === TaskState.REJECTED;
}

/** Whether nothing changed that could let a node take a task that it refused before. */
function sameForPlacement(before: Node, after: Node): boolean {
  return (
    before.spec === after.spec &&
    before.description === after.description &&
    before.role === after.role &&
    before.status?.state === after.status?.state &&
    before.status?.addr === after.status?.addr
  );
}

function noteError(tx: Tx, task: Task, err: string): void {
  if (task.status === undefined || task.status.err === err) return;
  tx.update("task", { ...task, status: { ...task.status, err } });
}
