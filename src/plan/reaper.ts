/**
 * The reaper deletes tasks that nobody needs any more: those that shall be removed and have stopped,
 * those whose node and service are gone, and of each slot all but the newest few. How many are kept
 * bounds what a crash loop can leave in the store.
 *
 * It never takes what the restart supervisor still reads: the newest task of a slot, and before one
 * that waits for its start also its predecessor.
 */

import { restartRulesOf, TASK_HISTORY_LIMIT } from "#model/defaults.ts";
import { hasLetGo, isJob, slotKeyOf, stateOf } from "#model/task.ts";
import type { Change, Tx } from "#store/types.ts";
import type { Task } from "#wire/gen/swarmkit/objects_pb.js";
import { TaskState } from "#wire/gen/swarmkit/types_pb.js";
import { historyOf } from "./orchestrator/slot.ts";
import type { PlanContext, Planner } from "./planner.ts";

export class Reaper implements Planner {
  readonly name = "reaper";
  /** Slots to look at, by the key under which the store files their tasks. */
  readonly #slots = new Set<string>();
  /** Tasks without a service to look at. */
  readonly #single = new Set<string>();

  start(context: PlanContext): void {
    const seen = new Set<string>();
    for (const task of context.tx.all("task")) {
      const key = `${task.serviceId}/${slotKeyOf(task)}`;
      if (seen.has(key) || isRemovable(task)) this.#note(task);
      seen.add(key);
    }
    for (const task of context.tx.all("task")) {
      if (context.tx.get("service", task.serviceId) === undefined) this.#note(task);
    }
    this.#work(context);
  }

  step(context: PlanContext, changes: readonly Change[]): void {
    for (const change of changes) {
      if (change.kind === "task" && change.action !== "delete") this.#note(change.object);
      if (change.kind === "cluster") {
        for (const task of context.tx.all("task")) this.#note(task);
      }
    }
    this.#work(context);
  }

  #note(task: Task): void {
    if (task.serviceId === "") this.#single.add(task.id);
    else this.#slots.add(`${task.serviceId}/${slotKeyOf(task)}`);
  }

  #work(context: PlanContext): void {
    const { tx } = context;
    for (const id of this.#single) {
      if (!context.hasRoom()) return;
      this.#single.delete(id);
      const task = tx.get("task", id);
      // No history is kept of what no service made.
      if (task !== undefined && (hasLetGo(task) || isRemovable(task))) tx.delete("task", id);
    }
    for (const key of this.#slots) {
      if (!context.hasRoom()) return;
      this.#slots.delete(key);
      this.#reap(tx, [...tx.find("task", "slot", key)]);
    }
  }

  #reap(tx: Tx, tasks: readonly Task[]): void {
    const [sample] = tasks;
    if (sample === undefined) return;
    const service = tx.get("service", sample.serviceId);
    const kept: Task[] = [];
    for (const task of tasks) {
      const orphan = service === undefined && stateOf(task) === TaskState.ORPHANED;
      if (orphan || isRemovable(task)) tx.delete("task", task.id);
      else kept.push(task);
    }
    if (service === undefined || isJob(service) || kept.length < 2) return;
    const limit = limitOf(tx, kept);
    if (kept.length <= limit) return;
    const history = historyOf({
      key: "",
      number: sample.slot,
      nodeId: sample.nodeId,
      tasks: new Map(kept.map((task) => [task.id, task])),
    });
    const newest = history.at(-1);
    const needed = newest?.desiredState === TaskState.READY ? 2 : 1;
    let surplus = kept.length - Math.max(limit, needed);
    for (const task of history.slice(0, history.length - needed)) {
      if (surplus <= 0) return;
      if (!isOver(task)) continue;
      tx.delete("task", task.id);
      surplus -= 1;
    }
  }
}

/** How many tasks of a slot are kept. */
function limitOf(tx: Tx, tasks: readonly Task[]): number {
  const { maxAttempts } = restartRulesOf(tasks.at(-1)?.spec);
  if (maxAttempts > 0) return maxAttempts + 1;
  const [cluster] = tx.all("cluster");
  const limit = cluster?.spec?.orchestration?.taskHistoryRetentionLimit;
  if (limit === undefined) return TASK_HISTORY_LIMIT;
  return limit < 0n ? Number.POSITIVE_INFINITY : Number(limit);
}

/** To be removed, and nothing of it is left on any node. */
function isRemovable(task: Task): boolean {
  if (task.desiredState !== TaskState.REMOVE) return false;
  return stateOf(task) < TaskState.ASSIGNED || hasLetGo(task);
}

function isOver(task: Task): boolean {
  const neverRan = stateOf(task) < TaskState.ASSIGNED && task.desiredState > TaskState.COMPLETE;
  return hasLetGo(task) || neverRan;
}
