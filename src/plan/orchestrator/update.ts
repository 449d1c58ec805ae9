/**
 * Rolling updates: slot by slot from what was to what the spec asks for now, no more slots at a time
 * than the update's parallelism. Everything that matters is in the store (the spec, the tasks, the
 * update status); a newer spec simply makes other tasks outdated, and nothing is left half done.
 *
 * Stop-first: the new task gets ready (image, volumes) while the old one still works; only then is
 * the old one stopped and the new one started. If the new one never gets ready, the old one goes on.
 * Start-first: the old one is stopped when the new one runs. If the new task finds no node only
 * because the old one is in its way (a host port, the replicas of a node, resources), the old one
 * makes room.
 */

import { create } from "@bufbuild/protobuf";
import { type UpdateRules, updateRulesOf } from "#model/defaults.ts";
import { endedByItself, isTerminal, isWanted, stateOf } from "#model/task.ts";
import { msOfTimestamp, timestampOf } from "#model/time.ts";
import type { Service, Task } from "#wire/gen/swarmkit/objects_pb.js";
import {
  UpdateConfig_FailureAction as FailureAction,
  TaskState,
  UpdateConfig_UpdateOrder as UpdateOrder,
  UpdateStatus_UpdateState as UpdateState,
  UpdateStatusSchema,
} from "#wire/gen/swarmkit/types_pb.js";
import type { Desk } from "./desk.ts";
import { endDuplicates, furthestFirst, isPaused } from "./restart.ts";
import { createdMs, historyOf, isHeld, type Slot, statusMs } from "./slot.ts";

/**
 * A task without a health check that runs may still crash at once: the next slot waits this long, or
 * the update's monitor time if that is shorter.
 */
const SETTLE_MS = 2_000;
/** What a scheduler says when the old task may be what is in the way. */
const IN_THE_WAY = /host-mode port already in use|max replicas per node|insufficient resources/;

const FOREVER = Number.POSITIVE_INFINITY;

export function isUpdating({ updateStatus }: Service): boolean {
  const state = updateStatus?.state;
  return state === UpdateState.UPDATING || state === UpdateState.ROLLBACK_STARTED;
}

function isRollback({ updateStatus }: Service): boolean {
  return updateStatus?.state === UpdateState.ROLLBACK_STARTED;
}

/** Notes how far the update of one slot is, and takes the next step within the slot. */
export function updateSlot(desk: Desk, service: Service, key: string): void {
  const { progress, slots, dirtiness } = desk.entry;
  const slot = slots.get(key);
  progress.todo.delete(key);
  progress.busy.delete(key);
  if (slot === undefined || dirtiness === undefined) return;
  const outdated = (task: Task) => dirtiness.isDirty(task, desk.nodeOf(task.nodeId));
  const history = historyOf(slot);
  const wanted = history.filter(isWanted);
  const old = wanted.filter(outdated);
  const fresh = wanted.filter((task) => !old.includes(task)).sort(furthestFirst);
  const newest = history.at(-1);
  if (isUpdating(service)) noteFailures(desk, service, history);
  const [current] = fresh;
  if (current === undefined) {
    const held = old.length === 0 && newest !== undefined && isHeld(slot);
    if (old.length > 0 || (held && outdated(newest))) progress.todo.add(key);
    return;
  }
  endDuplicates(desk, slot, fresh);
  if (old.length > 0 && !isPaused(service)) passOver(desk, current, old);
  noteProgress(desk, service, key, current);
}

/** The old tasks go when the new one can do without them. */
function passOver(desk: Desk, current: Task, old: readonly Task[]): void {
  const startsFirst = current.desiredState !== TaskState.READY;
  const state = stateOf(current);
  const ready = startsFirst ? state === TaskState.RUNNING : state >= TaskState.READY;
  const blocked = state === TaskState.PENDING && IN_THE_WAY.test(current.status?.err ?? "");
  if (isTerminal(current) || !(ready || blocked)) return;
  for (const task of old) desk.want("updater", task, TaskState.SHUTDOWN);
}

function noteProgress(desk: Desk, service: Service, key: string, current: Task): void {
  if (!isUpdating(service) || createdMs(current) < startedMs(service)) return;
  const { progress } = desk.entry;
  const state = stateOf(current);
  if (state >= TaskState.RUNNING && !progress.doneMs.has(key)) {
    progress.doneMs.set(key, statusMs(current));
  }
  const doneMs = progress.doneMs.get(key);
  if (doneMs === undefined) {
    progress.busy.set(key, FOREVER);
    return;
  }
  const rules = rulesOf(service);
  const untilMs = doneMs + settleMs(service, rules) + rules.delayMs;
  if (untilMs > desk.nowMs) progress.busy.set(key, untilMs);
}

function settleMs(service: Service, rules: UpdateRules): number {
  if (rules.failureAction === FailureAction.CONTINUE) return 0;
  const runtime = service.spec?.task?.runtime;
  const checked = runtime?.case === "container" && runtime.value.healthcheck !== undefined;
  return checked ? 0 : Math.min(rules.monitorMs, SETTLE_MS);
}

/** New tasks that ended by themselves before they had run for the monitor time. */
function noteFailures(desk: Desk, service: Service, history: readonly Task[]): void {
  const { progress } = desk.entry;
  const sinceMs = startedMs(service);
  const { monitorMs } = rulesOf(service);
  for (const task of history) {
    if (createdMs(task) < sinceMs || task.specVersion === undefined) continue;
    if (task.specVersion.index !== service.specVersion?.index) continue;
    if (stateOf(task) === TaskState.RUNNING && !progress.ranMs.has(task.id)) {
      progress.ranMs.set(task.id, statusMs(task));
    }
    const ranMs = progress.ranMs.get(task.id);
    const tooEarly = ranMs === undefined || statusMs(task) - ranMs <= monitorMs;
    if (endedByItself(task) && tooEarly) progress.failures.add(task.id);
  }
}

/** Begins, goes on with, pauses, rolls back or ends the update of a service. */
export function advanceUpdate(desk: Desk, service: Service): void {
  if (isPaused(service)) return;
  const { progress } = desk.entry;
  if (!isUpdating(service)) {
    if (progress.todo.size > 0) begin(desk, service);
    return;
  }
  const rules = rulesOf(service);
  if (tooManyFailed(desk, rules)) {
    fail(desk, service, rules);
    return;
  }
  for (const [key, untilMs] of progress.busy) {
    if (untilMs <= desk.nowMs) progress.busy.delete(key);
    else desk.wake("", untilMs);
  }
  if (progress.todo.size === 0) {
    maybeComplete(desk, service, rules);
    return;
  }
  for (const key of progress.todo) {
    if (progress.busy.size >= rules.parallelism || !desk.context.hasRoom()) return;
    progress.todo.delete(key);
    const slot = desk.entry.slots.get(key);
    if (slot !== undefined) renew(desk, service, slot, rules);
  }
}

/** Puts the new task into a slot. */
function renew(desk: Desk, service: Service, slot: Slot, rules: UpdateRules): void {
  const old = historyOf(slot).filter(isWanted).sort(furthestFirst);
  // What an earlier update left half done goes first, and what does no work has none to lose.
  for (const [at, task] of old.entries()) {
    if (at > 0 || stateOf(task) < TaskState.STARTING)
      desk.want("updater", task, TaskState.SHUTDOWN);
  }
  const startFirst = rules.order === UpdateOrder.START_FIRST;
  desk.spawn("updater", service, slot, startFirst ? TaskState.RUNNING : TaskState.READY);
  desk.entry.progress.busy.set(slot.key, FOREVER);
}

function begin(desk: Desk, service: Service): void {
  const updateStatus = create(UpdateStatusSchema, {
    state: UpdateState.UPDATING,
    startedAt: timestampOf(desk.nowMs),
    message: "update in progress",
  });
  desk.saveService({ ...service, updateStatus });
  desk.entry.touchAll();
}

function tooManyFailed(desk: Desk, rules: UpdateRules): boolean {
  if (rules.failureAction === FailureAction.CONTINUE) return false;
  const failures = desk.entry.progress.failures.size;
  const slots = Math.max(desk.entry.occupied.size, 1);
  return failures > 0 && failures / slots > rules.maxFailureRatio;
}

function fail(desk: Desk, service: Service, rules: UpdateRules): void {
  const [taskId = ""] = desk.entry.progress.failures;
  const cause = `due to failure or early termination of task ${taskId}`;
  if (isRollback(service)) {
    setState(desk, service, UpdateState.ROLLBACK_PAUSED, `rollback paused ${cause}`);
  } else if (rules.failureAction !== FailureAction.ROLLBACK) {
    setState(desk, service, UpdateState.PAUSED, `update paused ${cause}`);
  } else if (service.previousSpec === undefined) {
    const message = "cannot roll back service because no previous spec is available";
    setState(desk, service, UpdateState.PAUSED, message);
  } else {
    rollBack(desk, service, `update rolled back ${cause}`);
  }
}

function rollBack(desk: Desk, service: Service, message: string): void {
  const updateStatus = create(UpdateStatusSchema, {
    state: UpdateState.ROLLBACK_STARTED,
    startedAt: timestampOf(desk.nowMs),
    message,
  });
  desk.saveService({
    ...service,
    spec: service.previousSpec,
    specVersion: service.previousSpecVersion,
    previousSpec: undefined,
    previousSpecVersion: undefined,
    updateStatus,
  });
  desk.entry.touchAll();
}

/** After the last slot the update is watched for the monitor time. */
function maybeComplete(desk: Desk, service: Service, rules: UpdateRules): void {
  const { busy, doneMs } = desk.entry.progress;
  for (const untilMs of busy.values()) if (untilMs === FOREVER) return;
  const watched = rules.failureAction !== FailureAction.CONTINUE && doneMs.size > 0;
  const lastMs = Math.max(startedMs(service), ...doneMs.values());
  const doneAtMs = watched ? lastMs + rules.monitorMs : lastMs;
  if (doneAtMs > desk.nowMs) {
    desk.wake("", doneAtMs);
    return;
  }
  const rollback = isRollback(service);
  const state = rollback ? UpdateState.ROLLBACK_COMPLETED : UpdateState.COMPLETED;
  setState(desk, service, state, rollback ? "rollback completed" : "update completed");
}

function setState(desk: Desk, service: Service, state: UpdateState, message: string): void {
  const ended = state === UpdateState.COMPLETED || state === UpdateState.ROLLBACK_COMPLETED;
  const before = service.updateStatus ?? create(UpdateStatusSchema);
  const completedAt = ended ? timestampOf(desk.nowMs) : before.completedAt;
  desk.saveService({ ...service, updateStatus: { ...before, state, message, completedAt } });
}

function rulesOf(service: Service): UpdateRules {
  return updateRulesOf(service.spec, isRollback(service));
}

function startedMs(service: Service): number {
  return msOfTimestamp(service.updateStatus?.startedAt) ?? 0;
}
