/**
 * The restart supervisor: ends wanted tasks that do their work no more, puts successors in their
 * place as far as the restart policy allows, and starts those when their time has come. A successor
 * gets ready at once, whatever the delay, so that an image is there when it is needed. New tasks
 * that fail beside old ones are the update's.
 */

import { losesTasks } from "#model/node.ts";
import { hasTwoSets, isTrial } from "#model/rollout.ts";
import { isHeldBack } from "#model/start-order.ts";
import { isTerminal, isWanted, stateOf } from "#model/task.ts";
import type { Service, Task } from "#wire/gen/swarmkit/objects_pb.js";
import { TaskState } from "#wire/gen/swarmkit/types_pb.js";
import type { Desk } from "./desk.ts";
import { isPaused, isStartFirst } from "./respec.ts";
import {
  isBroken,
  mayRestart,
  quickFailuresAfter,
  retryMs,
  type Slot,
  startMs,
  wantedOf,
} from "./slot.ts";

/** Replaces what is broken in a slot of a service that is no job. */
export function replaceBroken(desk: Desk, service: Service, slot: Slot): void {
  for (const part of partsOf(desk, service, slot)) replaceIn(desk, service, part);
}

/** Each of two sets is looked after by itself: neither makes up for what the other lacks. */
function partsOf(desk: Desk, service: Service, slot: Slot): readonly Slot[] {
  if (!hasTwoSets(service)) return [slot];
  const [old, fresh]: [Map<string, Task>, Map<string, Task>] = [new Map(), new Map()];
  for (const [id, task] of slot.tasks) (isOutdated(desk, task) ? old : fresh).set(id, task);
  return [
    { ...slot, tasks: old },
    { ...slot, tasks: fresh },
  ];
}

function replaceIn(desk: Desk, service: Service, slot: Slot): void {
  const wanted = wantedOf(slot);
  const broken = wanted.filter((task) => isBroken(task, desk.nodeOf));
  const sound = wanted.filter((task) => !broken.includes(task));
  for (const task of broken) {
    if (isForUpdate(desk, service, task, sound)) continue;
    const successor = broken.indexOf(task) === 0 && needsSuccessor(desk, task, sound);
    if (!replace(desk, slot, task, successor ? specFor(desk, service, task) : undefined)) return;
  }
}

/**
 * Ends a task, and with a service makes its successor if the policy allows. False if it is too
 * early: a successor that failed while it waited for its delay is not tried again before that.
 */
export function replace(
  desk: Desk,
  slot: Slot,
  task: Task,
  service: Service | undefined,
  isJob = false,
): boolean {
  const again = service !== undefined && mayRestart(slot, task, isJob);
  if (again && task.desiredState === TaskState.READY && isTerminal(task)) {
    const atMs = retryMs(slot, task, desk.nodeOf);
    if (atMs > desk.nowMs) {
      desk.wake(slot.key, atMs);
      return false;
    }
  }
  desk.want("restart", task, TaskState.SHUTDOWN);
  if (again) {
    const isSame = task.specVersion?.index === service.specVersion?.index;
    const failures = isSame ? quickFailuresAfter(task) : 0;
    desk.spawn("restart", service, slot, TaskState.READY, failures);
  }
  return true;
}

/**
 * Starts the tasks of a slot that were only to get ready, or comes back when they may: when the slot is
 * theirs alone, or where updates start first, beside the task that they replace.
 */
export function startReady(desk: Desk, service: Service, slot: Slot, goal: TaskState): void {
  const isBeside = isStartFirst(service);
  for (const part of partsOf(desk, service, slot)) startIn(desk, part, goal, isBeside);
}

function startIn(desk: Desk, slot: Slot, goal: TaskState, isBeside: boolean): void {
  for (const task of slot.tasks.values()) {
    if (task.desiredState !== TaskState.READY || isTerminal(task)) continue;
    const atMs = startMs(slot, task, desk.nodeOf, isBeside);
    if (atMs <= desk.nowMs) desk.want("restart", task, goal);
    else desk.wake(slot.key, atMs);
  }
}

function needsSuccessor(desk: Desk, task: Task, sound: readonly Task[]): boolean {
  return sound.length === 0 && !slotNodeIsLost(desk, task);
}

/**
 * A new task failed beside the old one that it was to replace, which goes on: when it is tried again,
 * as one more task of the service, is the update's to say, and until then it stays as it is.
 */
function isForUpdate(desk: Desk, service: Service, task: Task, sound: readonly Task[]): boolean {
  if (isPaused(service) || !isTerminal(task) || sound.length === 0) return false;
  return !isOutdated(desk, task) && sound.every((one) => isOutdated(desk, one));
}

/** A task that is bound to its node has nowhere else to go. */
function slotNodeIsLost(desk: Desk, task: Task): boolean {
  return task.slot === 0n && losesTasks(desk.nodeOf(task.nodeId));
}

/** While an update is paused, on trial or waits, tasks of the old version are replaced by their like. */
function specFor(desk: Desk, service: Service, task: Task): Service {
  const holds = isPaused(service) || isTrial(service) || hasTwoSets(service) || isHeldBack(service);
  return holds && isOutdated(desk, task) ? likeOf(service, task) : service;
}

/** The service as the spec of a new slot: what is only on trial, or waits, gets no more slots than it has. */
export function specForNewSlot(desk: Desk, service: Service): Service {
  if (!isTrial(service) && !isHeldBack(service)) return service;
  for (const slot of desk.entry.slots.values()) {
    for (const task of slot.tasks.values()) {
      if (isWanted(task) && isOutdated(desk, task)) return likeOf(service, task);
    }
  }
  return service;
}

function likeOf(service: Service, task: Task): Service {
  if (service.spec === undefined) return service;
  const spec = { ...service.spec, task: task.spec, endpoint: task.endpoint?.spec };
  return { ...service, spec, specVersion: task.specVersion };
}

function isOutdated(desk: Desk, task: Task): boolean {
  return desk.entry.dirtiness?.isDirty(task, desk.nodeOf(task.nodeId)) === true;
}

/** Of several tasks that all are what the service asks for, all but the furthest are ended. */
export function endDuplicates(desk: Desk, slot: Slot, tasks: readonly Task[]): void {
  if (tasks.length < 2) return;
  const [, ...rest] = [...tasks].filter(isWanted).sort(furthestFirst);
  for (const task of rest) desk.want("restart", task, TaskState.SHUTDOWN);
  desk.entry.dirtySlots.add(slot.key);
}

/** What is over comes last. */
export function furthestFirst(a: Task, b: Task): number {
  const rank = (task: Task) => (isTerminal(task) ? -1 : stateOf(task));
  return rank(b) - rank(a) || b.desiredState - a.desiredState;
}
