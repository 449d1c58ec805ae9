/**
 * Jobs: tasks that shall end. A replicated job runs until so many have completed, no more than its
 * limit at a time; a global job completes once on every node. Each update of the service is a new
 * iteration that starts from nothing; what is left of earlier ones is removed, if it still runs.
 */

import { takesTasks } from "#model/node.ts";
import { isActive, isTerminal, isWanted, stateOf } from "#model/task.ts";
import type { Service, Task } from "#wire/gen/swarmkit/objects_pb.js";
import { TaskState } from "#wire/gen/swarmkit/types_pb.js";
import type { Desk } from "./desk.ts";
import { mayHaveTask, withdraw } from "./global.ts";
import { replace, startReady } from "./restart.ts";
import { isBroken, mayRestart, type Slot } from "./slot.ts";

/** What the tasks of the present iteration make of a slot. */
type JobSlot = "empty" | "running" | "completed" | "failed";

export function reconcileReplicatedJob(desk: Desk, service: Service): void {
  const mode = service.spec?.mode;
  if (mode?.case !== "replicatedJob") return;
  const { entry, context } = desk;
  const counts = { empty: 0, running: 0, completed: 0, failed: 0 };
  const used = new Set<string>();
  for (const slot of entry.slots.values()) {
    if (!context.hasRoom()) return;
    const state = reconcileSlot(desk, service, slot, true);
    counts[state] += 1;
    if (state !== "empty") used.add(slot.key);
  }
  const total = Number(mode.value.totalCompletions);
  const limit = Number(mode.value.maxConcurrent);
  const left = total - counts.completed - counts.failed - counts.running;
  let missing = Math.min(limit - counts.running, left);
  for (let number = 1; missing > 0; number++) {
    if (!context.hasRoom()) return;
    if (used.has(String(number))) continue;
    const place = { number: BigInt(number), nodeId: "" };
    desk.spawn("orchestrator", service, place, TaskState.COMPLETE);
    missing -= 1;
  }
  entry.dirtySlots.clear();
}

export function reconcileGlobalJob(desk: Desk, service: Service): void {
  const { entry, context } = desk;
  for (const key of entry.dirtySlots) {
    if (!context.hasRoom()) return;
    entry.dirtySlots.delete(key);
    const nodeId = key.slice(1);
    const node = desk.nodeOf(nodeId);
    const slot = entry.slots.get(key);
    if (node === undefined || !mayHaveTask(service, node)) {
      withdraw(desk, slot, node === undefined ? TaskState.REMOVE : TaskState.SHUTDOWN);
      continue;
    }
    const state = slot === undefined ? "empty" : reconcileSlot(desk, service, slot, true);
    if (state !== "empty" || !takesTasks(node)) continue;
    desk.spawn("orchestrator", service, { number: 0n, nodeId }, TaskState.COMPLETE);
  }
}

function reconcileSlot(desk: Desk, service: Service, slot: Slot, isJob: true): JobSlot {
  let state: JobSlot = "empty";
  for (const task of slot.tasks.values()) {
    if (!isOfIteration(service, task)) {
      if (!isTerminal(task)) desk.want("orchestrator", task, TaskState.REMOVE);
      continue;
    }
    if (stateOf(task) === TaskState.COMPLETE) {
      state = "completed";
      continue;
    }
    if (isBroken(task, desk.nodeOf)) replace(desk, slot, task, service, isJob);
  }
  if (state === "completed") {
    // It was to be replaced, and has come to its end all the same: that is enough.
    for (const task of slot.tasks.values()) {
      if (isOfIteration(service, task) && isActive(task)) {
        desk.want("orchestrator", task, TaskState.REMOVE);
      }
    }
    return state;
  }
  startReady(desk, service, slot, TaskState.COMPLETE);
  const tasks = [...slot.tasks.values()].filter((task) => isOfIteration(service, task));
  if (tasks.some(isWanted)) return "running";
  const ended = tasks.find((task) => task.desiredState === TaskState.SHUTDOWN && isTerminal(task));
  return ended !== undefined && !mayRestart(slot, ended, isJob) ? "failed" : "empty";
}

function isOfIteration(service: Service, task: Task): boolean {
  return (task.jobIteration?.index ?? 0n) === (service.jobStatus?.jobIteration?.index ?? 0n);
}
