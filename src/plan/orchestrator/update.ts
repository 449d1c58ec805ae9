/**
 * Rolling updates: slot by slot from what was to what the spec asks for now, no more slots at a time
 * than the update's parallelism, the next one when the last has done well for the monitor time.
 * Everything that matters is in the store (the spec, the tasks, the update status, the rollout); a
 * newer spec simply makes other tasks outdated, and nothing is left half done.
 */

import { create } from "@bufbuild/protobuf";
import { formatDuration, MILLISECOND } from "#base/duration.ts";
import { type UpdateRules, updateRulesOf } from "#model/defaults.ts";
import { canaryCount, isKept, isTrial, rolloutRulesOf } from "#model/rollout.ts";
import { isHeldBack } from "#model/start-order.ts";
import { isActive } from "#model/task.ts";
import { msOfTimestamp, timestampOf } from "#model/time.ts";
import { type Service, Rollout_Strategy as Strategy } from "#wire/gen/swarmkit/objects_pb.js";
import {
  UpdateConfig_FailureAction as FailureAction,
  UpdateStatus_UpdateState as UpdateState,
  UpdateStatusSchema,
} from "#wire/gen/swarmkit/types_pb.js";
import type { Desk } from "./desk.ts";
import { isPaused, isRollback, isUpdating, returned } from "./respec.ts";
import { advanceKept, advanceTrial, hasOutdated, tidyRollout } from "./rollout.ts";
import { createdMs, statusMs } from "./slot.ts";
import { emptySlots, renewSlots, retrySlots } from "./update-slot.ts";

const FOREVER = Number.POSITIVE_INFINITY;

/** Begins, goes on with, pauses, rolls back or ends the update of a service. */
export function advanceUpdate(desk: Desk, service: Service): void {
  if (isPaused(service) || isHeldBack(service)) return;
  const { progress } = desk.entry;
  if (isKept(service)) {
    if (keptFails(desk, service)) goBack(desk, service, causeOf(desk));
    else advanceKept(desk, service);
    return;
  }
  if (!isUpdating(service)) {
    // What a trial asks for may be there already: a set that is still kept.
    if (progress.todo.size > 0 || (isTrial(service) && hasOutdated(desk))) begin(desk, service);
    else {
      retrySlots(desk, service, rulesOf(service).parallelism);
      tidyRollout(desk, service);
    }
    return;
  }
  const rules = rulesOf(service);
  if (tooManyFailed(desk, service, rules)) {
    fail(desk, service, rules, causeOf(desk));
    return;
  }
  const stuck = standstill(desk, service, rules);
  if (stuck !== undefined) {
    fail(desk, service, rules, stuck);
    return;
  }
  for (const [key, untilMs] of progress.busy) {
    if (untilMs <= desk.nowMs) progress.busy.delete(key);
    else desk.wake("", untilMs);
  }
  if (isTrial(service)) {
    advanceTrial(desk, service, rules);
    retrySlots(desk, service, FOREVER);
    return;
  }
  emptySlots(desk, rules);
  if (progress.todo.size > 0) {
    renewSlots(desk, service, rules, { count: FOREVER, atWork: rules.parallelism });
    return;
  }
  maybeComplete(desk, service, rules);
  retrySlots(desk, desk.entry.service ?? service, rules.parallelism);
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

function tooManyFailed(desk: Desk, service: Service, rules: UpdateRules): boolean {
  if (rules.failureAction === FailureAction.CONTINUE) return false;
  const { occupied, progress } = desk.entry;
  const all = Math.max(occupied.size, 1);
  const canary = isTrial(service) && service.rollout?.strategy === Strategy.CANARY;
  // A canary is judged by itself: that the others are well says nothing of it.
  const slots = canary ? Math.max(canaryCount(rolloutRulesOf(service.spec), all), 1) : all;
  const failures = progress.failures.size;
  return failures > 0 && failures / slots > rules.maxFailureRatio;
}

/** The new set failed just after it took the traffic, and the old one is still there. */
function keptFails(desk: Desk, service: Service): boolean {
  if (service.updateStatus?.state !== UpdateState.COMPLETED) return false;
  if (service.previousSpec === undefined) return false;
  const rules = rulesOf(service);
  const sinceMs = msOfTimestamp(service.rollout?.since) ?? 0;
  return desk.nowMs <= sinceMs + rules.monitorMs && tooManyFailed(desk, service, rules);
}

function causeOf(desk: Desk): string {
  const [taskId = ""] = desk.entry.progress.failures;
  return `due to failure or early termination of task ${taskId}`;
}

/** Why the update has failed, if nothing moved for the whole of its deadline. */
function standstill(desk: Desk, service: Service, rules: UpdateRules): string | undefined {
  const { deadlineMs } = rolloutRulesOf(service.spec);
  if (!Number.isFinite(deadlineMs) || rules.failureAction === FailureAction.CONTINUE) {
    return undefined;
  }
  let lastMs = startedMs(service);
  let reason = "";
  for (const [key, untilMs] of desk.entry.progress.busy) {
    if (untilMs !== FOREVER) return undefined;
    for (const task of desk.entry.slots.get(key)?.tasks.values() ?? []) {
      lastMs = Math.max(lastMs, createdMs(task), statusMs(task));
      const err = task.status?.err ?? "";
      if (isActive(task) && err !== "") reason = `: task ${task.id}: ${err}`;
    }
  }
  if (desk.entry.progress.busy.size === 0) return undefined;
  const atMs = lastMs + deadlineMs;
  if (atMs > desk.nowMs) {
    desk.wake("", atMs);
    return undefined;
  }
  return `due to no progress for ${formatDuration(deadlineMs * MILLISECOND)}${reason}`;
}

function fail(desk: Desk, service: Service, rules: UpdateRules, cause: string): void {
  // A version on trial that fails has failed; there is nothing to think about.
  const back = rules.failureAction === FailureAction.ROLLBACK || isTrial(service);
  if (isRollback(service)) {
    setState(desk, service, UpdateState.ROLLBACK_PAUSED, `rollback paused ${cause}`);
  } else if (!back) {
    setState(desk, service, UpdateState.PAUSED, `update paused ${cause}`);
  } else if (service.previousSpec === undefined) {
    const message = "cannot roll back service because no previous spec is available";
    setState(desk, service, UpdateState.PAUSED, message);
  } else {
    goBack(desk, service, cause);
  }
}

function goBack(desk: Desk, service: Service, cause: string): void {
  const message = `update rolled back ${cause}`;
  const tasks = [...desk.entry.slots.values()].flatMap((slot) => [...slot.tasks.values()]);
  desk.saveService(returned(service, tasks, desk.nowMs, { message, forgetsNext: true }));
  desk.entry.touchAll();
}

/** After the last slot the update is watched for the monitor time. */
function maybeComplete(desk: Desk, service: Service, rules: UpdateRules): void {
  const { busy, doneMs } = desk.entry.progress;
  // A slot that was just filled anew has not been looked at.
  if (desk.entry.dirtySlots.size > 0) return;
  // A slot in which a task failed has had its turn: what is tried there again may fail for ever.
  for (const [key, untilMs] of busy) if (untilMs === FOREVER && !doneMs.has(key)) return;
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
