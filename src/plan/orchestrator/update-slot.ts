/**
 * The update of one slot.
 *
 * Stop-first: the new task gets ready (image, volumes) while the old one still works; only then is
 * the old one stopped and the new one started. If the new one never gets ready, the old one goes on.
 * Start-first: the old one is stopped when the new one runs. If the new task finds no node only
 * because the old one is in its way (a host port, the replicas of a node, resources, addresses), the
 * old one makes room.
 * Blue/green: the old one goes on, whatever the new one does.
 *
 * A new task that fails beside the old one is tried again when the slots that have not had their
 * turn have had it, and as one of those at work: else a version that never runs would either hold
 * up the others or, bit by bit, stand beside all of them.
 */

import { type UpdateRules, updateRulesOf } from "#model/defaults.ts";
import { isDown } from "#model/node.ts";
import { hasTwoSets, isKept, isSetAside, isTrial } from "#model/rollout.ts";
import { isHeldBack } from "#model/start-order.ts";
import { endedByItself, holdsNode, isActive, isTerminal, isWanted, stateOf } from "#model/task.ts";
import { msOfTimestamp } from "#model/time.ts";
import type { Service, Task } from "#wire/gen/swarmkit/objects_pb.js";
import {
  UpdateConfig_FailureAction as FailureAction,
  TaskState,
  UpdateConfig_UpdateOrder as UpdateOrder,
} from "#wire/gen/swarmkit/types_pb.js";
import type { Desk } from "./desk.ts";
import { makesRoom } from "./make-room.ts";
import { isPaused, isRollback, isStartFirst, isUpdating } from "./respec.ts";
import { endDuplicates, furthestFirst, replace } from "./restart.ts";
import {
  createdMs,
  historyOf,
  isHeld,
  mayRestart,
  type Slot,
  STOP_WAIT_MS,
  statusMs,
  toldMs,
  wantedOf,
} from "./slot.ts";

const FOREVER = Number.POSITIVE_INFINITY;

/** Notes how far the update of one slot is, and takes the next step within the slot. */
export function updateSlot(desk: Desk, service: Service, key: string): void {
  const { progress, slots, dirtiness } = desk.entry;
  const slot = slots.get(key);
  forgetSlot(desk, key);
  if (slot === undefined || dirtiness === undefined) return;
  const outdated = (task: Task) => dirtiness.isDirty(task, desk.nodeOf(task.nodeId));
  const history = historyOf(slot);
  const wanted = history.filter(
    (task) => isWanted(task) && !gaveUp(desk, service, task, outdated(task)),
  );
  const fresh = wanted.filter((task) => !outdated(task)).sort(furthestFirst);
  const old = wanted.filter(outdated);
  const newest = history.at(-1);
  if (isUpdating(service) || isKept(service)) noteFailures(desk, service, history);
  const [current] = fresh;
  if (current === undefined) {
    const held = old.length === 0 && newest !== undefined && isHeld(slot);
    if (old.length === 0 && !(held && outdated(newest))) return;
    progress.todo.add(key);
    if (!old.some((task) => stateOf(task) === TaskState.RUNNING)) progress.down.add(key);
    if (isUpdating(service) || isHeldBack(service)) supersede(desk, slot, old);
    return;
  }
  progress.fresh.add(key);
  endDuplicates(desk, slot, fresh);
  if (old.length > 0 && !isPaused(service) && !hasTwoSets(service)) {
    if (isTerminal(current)) progress.retries.add(key);
    else passOver(desk, service, slot, current, old);
  }
  noteProgress(desk, service, slot, current);
}

/** Of an update that was overtaken one task a slot is left, which does most. */
function supersede(desk: Desk, slot: Slot, old: readonly Task[]): void {
  const [, ...rest] = [...old].sort(furthestFirst);
  for (const task of rest) desk.want("updater", task, TaskState.SHUTDOWN);
  const untilMs = leftMs(desk, slot);
  if (untilMs > desk.nowMs) desk.entry.progress.busy.set(slot.key, untilMs);
}

export function forgetSlot({ entry: { progress } }: Desk, key: string): void {
  progress.todo.delete(key);
  progress.down.delete(key);
  progress.busy.delete(key);
  progress.passing.delete(key);
  progress.retries.delete(key);
  progress.fresh.delete(key);
}

/** A task that serves nobody and never will is ended: it is of neither of two sets. */
function gaveUp(desk: Desk, service: Service, task: Task, outdated: boolean): boolean {
  if (!isSetAside(service.rollout, task) || isKept(service)) return false;
  if (hasTwoSets(service) && !outdated) return false;
  desk.want("updater", task, TaskState.SHUTDOWN);
  return true;
}

/** The old tasks go when the new one can do without them. */
function passOver(
  desk: Desk,
  service: Service,
  slot: Slot,
  current: Task,
  old: readonly Task[],
): void {
  // One that failed is tried again by way of READY, whatever the order.
  const startsFirst = current.desiredState !== TaskState.READY || isStartFirst(service);
  const state = stateOf(current);
  const ready = startsFirst ? state === TaskState.RUNNING : state >= TaskState.READY;
  if (!ready && !makesRoom(desk, current, old)) return;
  const isLoss = state !== TaskState.RUNNING && old.some(isRunning);
  // Where nothing else runs either must be known before a slot is emptied.
  if (isLoss && isUpdating(service) && !isTrial(service)) desk.entry.progress.passing.add(slot.key);
  else for (const task of old) desk.want("updater", task, TaskState.SHUTDOWN);
}

/**
 * Stops what runs in slots whose new task is ready. One that was begun because nothing ran there, and
 * where something has come to run since, gives its turn back while others stand empty.
 */
export function emptySlots(desk: Desk, { parallelism }: UpdateRules): void {
  const { progress, slots, dirtiness } = desk.entry;
  let atWork = progress.busy.size;
  for (const key of progress.passing) {
    progress.passing.delete(key);
    const goesOn = progress.down.size === 0 || atWork + progress.down.size <= parallelism;
    for (const task of slots.get(key)?.tasks.values() ?? []) {
      const outdated = dirtiness?.isDirty(task, desk.nodeOf(task.nodeId)) === true;
      if (isWanted(task) && outdated === goesOn) desk.want("updater", task, TaskState.SHUTDOWN);
    }
    if (!goesOn) atWork -= 1;
  }
}

function noteProgress(desk: Desk, service: Service, slot: Slot, current: Task): void {
  const { progress } = desk.entry;
  const { key } = slot;
  const isAtWork = takesPlace(desk, slot, current);
  if (!isUpdating(service)) {
    if (isAtWork) progress.busy.set(key, FOREVER);
    return;
  }
  if (createdMs(current) < startedMs(service) && !isLeftOver(desk, slot, current)) return;
  if (stateOf(current) >= TaskState.RUNNING && !progress.doneMs.has(key)) {
    progress.doneMs.set(key, statusMs(current));
  }
  const doneMs = progress.doneMs.get(key);
  if (doneMs === undefined || isAtWork) {
    progress.busy.set(key, FOREVER);
    return;
  }
  const { failureAction, monitorMs, delayMs } = updateRulesOf(service.spec, isRollback(service));
  const watchMs = failureAction === FailureAction.CONTINUE ? 0 : monitorMs;
  const untilMs = Math.max(doneMs + Math.max(watchMs, delayMs), leftMs(desk, slot));
  if (untilMs > desk.nowMs) progress.busy.set(key, untilMs);
}

/** Whether a new task that has yet to run is there beside an old one, or has had it stopped. */
function takesPlace({ entry, nodeOf }: Desk, slot: Slot, current: Task): boolean {
  if (stateOf(current) >= TaskState.RUNNING) return false;
  for (const task of slot.tasks.values()) {
    if (entry.dirtiness?.isDirty(task, nodeOf(task.nodeId)) !== true) continue;
    if (isActive(task) || (!isWanted(task) && toldMs(task) >= createdMs(current))) return true;
  }
  return false;
}

/**
 * A new task of the update before, which asked for the same tasks and was overtaken: it is still to
 * come, or has still to take the place of the old one.
 */
function isLeftOver({ entry, nodeOf }: Desk, slot: Slot, current: Task): boolean {
  const outdated = (task: Task) => entry.dirtiness?.isDirty(task, nodeOf(task.nodeId)) === true;
  const history = historyOf(slot);
  if (history.some((task) => isWanted(task) && outdated(task))) return true;
  const before = history[history.indexOf(current) - 1];
  return stateOf(current) < TaskState.RUNNING && before !== undefined && outdated(before);
}

/** Until when tasks that were told to stop still count as running beside the new one. */
function leftMs(desk: Desk, slot: Slot): number {
  let untilMs = 0;
  for (const task of slot.tasks.values()) {
    if (isWanted(task) || !holdsNode(task)) continue;
    const node = desk.nodeOf(task.nodeId);
    if (node === undefined || isDown(node)) continue;
    untilMs = Math.max(untilMs, toldMs(task) + STOP_WAIT_MS);
  }
  return untilMs;
}

/** New tasks that ended by themselves before they had run for the monitor time. */
function noteFailures(desk: Desk, service: Service, history: readonly Task[]): void {
  const { progress } = desk.entry;
  const sinceMs = startedMs(service);
  const { monitorMs } = updateRulesOf(service.spec, isRollback(service));
  for (const task of history) {
    if (createdMs(task) < sinceMs || task.specVersion === undefined) continue;
    if (task.specVersion.index !== service.specVersion?.index) continue;
    if (stateOf(task) === TaskState.RUNNING && !progress.ranMs.has(task.id)) {
      progress.ranMs.set(task.id, statusMs(task));
    }
    const ranMs = progress.ranMs.get(task.id);
    // Of a version on trial every failure counts, however late.
    const tooEarly =
      service.rollout !== undefined || ranMs === undefined || statusMs(task) - ranMs <= monitorMs;
    if (endedByItself(task) && tooEarly) progress.failures.add(task.id);
  }
}

/** Puts new tasks into so many outdated slots, while no more than `atWork` are at work. */
export function renewSlots(
  desk: Desk,
  service: Service,
  rules: UpdateRules,
  { count, atWork }: { readonly count: number; readonly atWork: number },
): void {
  const { progress, slots } = desk.entry;
  let left = count;
  // A slot in which an overtaken task still stops counts as one at work, and has its turn first,
  // unless it runs and others do not.
  const begun = [...progress.busy.keys()].filter(
    (key) => progress.todo.has(key) && (progress.down.size === 0 || progress.down.has(key)),
  );
  let working = progress.busy.size - begun.length;
  for (const keys of [begun, progress.down, progress.todo]) {
    for (const key of keys) {
      if (left === 0 || !desk.context.hasRoom()) return;
      if ((keys === begun ? working : progress.busy.size) >= atWork) return;
      left -= 1;
      working += 1;
      progress.todo.delete(key);
      progress.down.delete(key);
      const slot = slots.get(key);
      if (slot !== undefined) renew(desk, service, slot, rules);
    }
  }
}

/** Tries again what failed beside old tasks, while there is a place for it that nobody else needs. */
export function retrySlots(desk: Desk, service: Service, atWork: number): void {
  const { progress, slots } = desk.entry;
  for (const key of progress.retries) {
    if (!desk.context.hasRoom()) return;
    const others = progress.busy.size - (progress.busy.has(key) ? 1 : 0);
    if (others >= atWork) continue;
    const slot = slots.get(key);
    const failed = slot && wantedOf(slot).find(isTerminal);
    if (slot === undefined || failed === undefined || !mayRestart(slot, failed)) continue;
    if (replace(desk, slot, failed, service)) progress.busy.set(key, FOREVER);
  }
}

function renew(desk: Desk, service: Service, slot: Slot, rules: UpdateRules): void {
  const twoSets = hasTwoSets(service);
  const old = historyOf(slot).filter(isWanted).sort(furthestFirst);
  // What an earlier update left half done goes first, and what does no work has none to lose.
  for (const [at, task] of old.entries()) {
    if (at > 0 || (stateOf(task) < TaskState.STARTING && !twoSets)) {
      desk.want("updater", task, TaskState.SHUTDOWN);
    }
  }
  const startFirst = twoSets || rules.order === UpdateOrder.START_FIRST;
  desk.spawn("updater", service, slot, startFirst ? TaskState.RUNNING : TaskState.READY);
  desk.entry.progress.busy.set(slot.key, FOREVER);
  desk.entry.progress.fresh.add(slot.key);
}

function isRunning(task: Task): boolean {
  return stateOf(task) === TaskState.RUNNING;
}

function startedMs(service: Service): number {
  return msOfTimestamp(service.updateStatus?.startedAt) ?? 0;
}
