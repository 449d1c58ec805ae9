/**
 * Canary and blue/green: a version is on trial until it has done well for the analysis time (and, if
 * the service asks for it, until somebody promotes it). Then a canary spreads as any rolling update
 * does; a blue/green set takes all of the traffic in one entry, and the old set is kept for a while,
 * so that going back is one entry too.
 */

import { create } from "@bufbuild/protobuf";
import type { UpdateRules } from "#model/defaults.ts";
import {
  canaryCount,
  isSetAside,
  type RolloutRules,
  rolloutRulesOf,
  versionOf,
} from "#model/rollout.ts";
import { isWanted, stateOf } from "#model/task.ts";
import { msOfTimestamp, timestampOf } from "#model/time.ts";
import {
  Rollout_Phase as Phase,
  RolloutSchema,
  type Service,
  Rollout_Strategy as Strategy,
  type Task,
} from "#wire/gen/swarmkit/objects_pb.js";
import {
  TaskState,
  UpdateStatus_UpdateState as UpdateState,
  UpdateStatusSchema,
} from "#wire/gen/swarmkit/types_pb.js";
import type { Desk } from "./desk.ts";
import { isRollback } from "./respec.ts";
import { renewSlots } from "./update-slot.ts";

/** The next step of a version on trial. */
export function advanceTrial(desk: Desk, service: Service, update: UpdateRules): void {
  const rules = rolloutRulesOf(service.spec);
  const { progress, occupied } = desk.entry;
  const all = occupied.size;
  const canary = service.rollout?.strategy === Strategy.CANARY;
  const wanted = canary ? canaryCount(rules, all) : all;
  const missing = wanted - progress.fresh.size;
  if (missing > 0) {
    const atWork = Number.POSITIVE_INFINITY;
    renewSlots(desk, service, update, { count: missing, atWork });
  }
  if (!desk.context.hasRoom() || progress.fresh.size < wanted || !allRun(desk)) return;
  const passedMs = passedAtMs(desk, service, update, rules);
  const promoted = service.rollout?.promoted === true;
  if (!promoted && passedMs > desk.nowMs) {
    desk.wake("", passedMs);
    return;
  }
  if (rules.manual && !promoted) {
    waitForPromotion(desk, service, `${progress.fresh.size} of ${all} tasks run the new version`);
    return;
  }
  if (canary) spread(desk, service);
  else switchOver(desk, service, rules);
}

/** Every slot of the new version has a task that runs, and is healthy by that. */
function allRun(desk: Desk): boolean {
  for (const key of desk.entry.progress.fresh) {
    const tasks = [...(desk.entry.slots.get(key)?.tasks.values() ?? [])];
    if (!tasks.some((task) => isRunning(task) && !isOutdated(desk, task))) return false;
  }
  return true;
}

/** When the trial is over if nothing fails; a set that ran before needs no second trial. */
function passedAtMs(
  desk: Desk,
  service: Service,
  update: UpdateRules,
  rules: RolloutRules,
): number {
  const { doneMs } = desk.entry.progress;
  if (doneMs.size === 0) return 0;
  const analysisMs = isRollback(service) ? update.monitorMs : rules.analysisMs;
  return Math.max(...doneMs.values()) + (analysisMs ?? update.monitorMs);
}

function waitForPromotion(desk: Desk, service: Service, what: string): void {
  const name = service.spec?.annotations?.name ?? service.id;
  const message = `update waits for promotion: ${what} (skep service promote ${name})`;
  const before = service.updateStatus ?? create(UpdateStatusSchema);
  if (before.message === message) return;
  desk.saveService({ ...service, updateStatus: { ...before, message } });
}

function spread(desk: Desk, service: Service): void {
  const before = service.rollout ?? create(RolloutSchema);
  const since = timestampOf(desk.nowMs);
  const updateStatus = service.updateStatus && {
    ...service.updateStatus,
    message: "update in progress",
  };
  const rollout = { ...before, phase: Phase.SPREAD, since, canaryShare: 0 };
  desk.saveService({ ...service, updateStatus, rollout });
  desk.entry.touchAll();
}

/** All of the traffic moves to the new set, with this one entry. */
function switchOver(desk: Desk, service: Service, rules: RolloutRules): void {
  const old = tasksThat(desk, (task) => isOutdated(desk, task));
  // Tasks of one version may differ in where they are: what others serve with is not set aside.
  const serving = new Set(tasksThat(desk, (task) => !isOutdated(desk, task)).map(versionOf));
  const rollback = isRollback(service);
  const keeps = old.length > 0 && rules.keepMs > 0;
  desk.saveService({
    ...service,
    updateStatus: {
      ...(service.updateStatus ?? create(UpdateStatusSchema)),
      state: rollback ? UpdateState.ROLLBACK_COMPLETED : UpdateState.COMPLETED,
      message: rollback ? "rollback completed" : "update completed",
      completedAt: timestampOf(desk.nowMs),
    },
    rollout: create(RolloutSchema, {
      strategy: Strategy.BLUE_GREEN,
      phase: keeps ? Phase.KEPT : Phase.SPREAD,
      since: timestampOf(desk.nowMs),
      setAside: [...new Set(old.map(versionOf))].filter((version) => !serving.has(version)),
    }),
  });
  desk.entry.touchAll();
}

/** The old set waits for its time to be over. */
export function advanceKept(desk: Desk, service: Service): void {
  const { rollout } = service;
  if (rollout === undefined) return;
  const untilMs = (msOfTimestamp(rollout.since) ?? 0) + rolloutRulesOf(service.spec).keepMs;
  if (untilMs > desk.nowMs) {
    desk.wake("", untilMs);
    return;
  }
  desk.saveService({ ...service, rollout: { ...rollout, phase: Phase.SPREAD } });
  desk.entry.touchAll();
}

/** Forgets a rollout of which nothing is left. */
export function tidyRollout(desk: Desk, service: Service): void {
  const { rollout } = service;
  if (rollout === undefined) return;
  for (const slot of desk.entry.slots.values()) {
    for (const task of slot.tasks.values()) {
      if (isWanted(task) && isSetAside(rollout, task)) return;
    }
  }
  desk.saveService({ ...service, rollout: undefined });
}

export function hasOutdated(desk: Desk): boolean {
  return tasksThat(desk, (task) => isOutdated(desk, task)).length > 0;
}

function tasksThat(desk: Desk, is: (task: Task) => boolean): Task[] {
  return [...desk.entry.slots.values()].flatMap((slot) =>
    [...slot.tasks.values()].filter((task) => isWanted(task) && is(task)),
  );
}

function isOutdated(desk: Desk, task: Task): boolean {
  return desk.entry.dirtiness?.isDirty(task, desk.nodeOf(task.nodeId)) === true;
}

function isRunning(task: Task): boolean {
  return isWanted(task) && stateOf(task) === TaskState.RUNNING && task.status?.withdrawn !== true;
}
