/**
 * The enforcer ends tasks on nodes that no longer may have them: because a constraint of their
 * service does not hold there any more, because the node has less than is reserved on it, or because
 * the node is no more. Nodes that are paused or drained are none of its business.
 */

import { create } from "@bufbuild/protobuf";
import { nodeMatches } from "#model/constraint.ts";
import { isHeldBack } from "#model/start-order.ts";
import { hasLetGo, holdsNode, isTerminal, isWanted } from "#model/task.ts";
import { timestampOf } from "#model/time.ts";
import type { Change, Tx } from "#store/types.ts";
import type { Node, Task } from "#wire/gen/swarmkit/objects_pb.js";
import { NodeSpec_Availability as Availability } from "#wire/gen/swarmkit/specs_pb.js";
import { TaskState, TaskStatusSchema } from "#wire/gen/swarmkit/types_pb.js";
import type { PlanContext, Planner } from "./planner.ts";
import { needsOf } from "./scheduler/needs.ts";
import { NodeInfo } from "./scheduler/node-info.ts";

const REJECTED_MESSAGE = "task rejected by constraint enforcer";
const REJECTED_ERROR = "assigned node no longer meets constraints";
const ORPHANED_MESSAGE = "node of the task was removed";

export class Enforcer implements Planner {
  readonly name = "enforcer";
  readonly #nodeIds = new Set<string>();

  start(context: PlanContext): void {
    for (const node of context.tx.all("node")) this.#nodeIds.add(node.id);
    for (const task of context.tx.all("task")) {
      if (holdsNode(task)) this.#nodeIds.add(task.nodeId);
    }
    this.#work(context);
  }

  step(context: PlanContext, changes: readonly Change[]): void {
    for (const change of changes) {
      if (change.kind !== "node") continue;
      if (change.action === "update" && sameForRules(change.old, change.object)) continue;
      this.#nodeIds.add(change.object.id);
    }
    this.#work(context);
  }

  #work(context: PlanContext): void {
    const { tx, nowMs } = context;
    for (const id of this.#nodeIds) {
      if (!context.hasRoom()) return;
      this.#nodeIds.delete(id);
      const node = tx.get("node", id);
      const all = [...tx.find("task", "node", id)];
      const tasks = all.filter(holdsNode);
      if (node === undefined) {
        for (const task of all) {
          if (!holdsNode(task) && (hasLetGo(task) || !isTerminal(task))) continue;
          move(tx, task, TaskState.ORPHANED, ORPHANED_MESSAGE, "", nowMs);
        }
      } else if ((node.spec?.availability ?? Availability.ACTIVE) === Availability.ACTIVE) {
        reject(tx, node, tasks, nowMs);
      }
    }
  }
}

function reject(tx: Tx, node: Node, tasks: readonly Task[], nowMs: number): void {
  const info = new NodeInfo(node);
  for (const task of tasks) {
    if (!isWanted(task)) continue;
    const service = tx.get("service", task.serviceId);
    // What the service asks for now counts: its tasks follow by update, but a place is a place. What
    // is yet to be started counts for nothing.
    const asked = service === undefined || isHeldBack(service) ? undefined : service.spec?.task;
    const { constraints } = needsOf(asked ?? task.spec);
    const needs = needsOf(task.spec);
    if (nodeMatches(constraints, node) && info.fits(needs)) info.count(task, 1);
    else move(tx, task, TaskState.REJECTED, REJECTED_MESSAGE, REJECTED_ERROR, nowMs);
  }
}

function move(
  tx: Tx,
  task: Task,
  state: TaskState,
  message: string,
  err: string,
  nowMs: number,
): void {
  const before = task.status ?? create(TaskStatusSchema);
  const timestamp = timestampOf(nowMs);
  // Not the node's own word: until it has heard of it, the task holds what it has there.
  const applied = { appliedBy: "", appliedAt: undefined };
  tx.update("task", { ...task, status: { ...before, ...applied, state, message, err, timestamp } });
}

function sameForRules(before: Node, after: Node): boolean {
  return (
    before.spec === after.spec &&
    before.description === after.description &&
    before.role === after.role &&
    before.status?.addr === after.status?.addr
  );
}
