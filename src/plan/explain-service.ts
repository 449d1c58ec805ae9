/** What a service as a whole waits for, and each of its tasks that is not what it shall be. */

import { formatDuration, MILLISECOND } from "#base/duration.ts";
import { replicasOf, updateRulesOf } from "#model/defaults.ts";
import {
  canaryCount,
  hasTwoSets,
  isKept,
  isSetAside,
  isTrial,
  rolloutRulesOf,
} from "#model/rollout.ts";
import { conditionText } from "#model/start-order.ts";
import { isJob, isTerminal, isWanted, slotKeyOf, stateOf, taskName } from "#model/task.ts";
import { msOfTimestamp } from "#model/time.ts";
import type { ReadView } from "#store/types.ts";
import {
  type Service,
  Rollout_Strategy as Strategy,
  type Task,
} from "#wire/gen/swarmkit/objects_pb.js";
import { TaskState, UpdateStatus_UpdateState as UpdateState } from "#wire/gen/swarmkit/types_pb.js";
import { explainTask, type TaskExplanation } from "./explain.ts";
import { readImageRules } from "./image-watch.ts";
import { isTaskDirty } from "./orchestrator/dirtiness.ts";
import { isPaused, isRollback, isUpdating } from "./orchestrator/respec.ts";
import { historyOf, isHeld, type Slot } from "./orchestrator/slot.ts";
import { unmet } from "./start-order/conditions.ts";

export interface ServiceExplanation {
  readonly waits: readonly string[];
  readonly tasks: readonly TaskExplanation[];
}

/** Tasks explained at most; the rest waits for the same. */
const TASKS_MAX = 50;

export function explainService(
  view: ReadView,
  serviceId: string,
  nowMs: number,
): ServiceExplanation | undefined {
  const service = view.get("service", serviceId);
  if (service === undefined) return undefined;
  const tasks = [...view.find("task", "service", serviceId)].filter(isWanted);
  // One that is to be no more than ready for now waits for its start.
  const waiting = tasks.filter(
    (task) =>
      stateOf(task) < task.desiredState ||
      task.desiredState === TaskState.READY ||
      isTerminal(task),
  );
  const fresh = tasks.filter(
    (task) => !isTaskDirty(service, task, view.get("node", task.nodeId)) && isUp(task),
  );
  return {
    waits: [
      ...(service.allocationError === ""
        ? []
        : [`addresses and ports: ${service.allocationError}`]),
      ...startWaits(view, service),
      ...updateWaits(service, tasks, fresh.length, nowMs),
      ...(isUpdating(service) ? [] : heldImage(service)),
      ...givenUp(service, [...view.find("task", "service", serviceId)]),
    ],
    tasks: waiting.slice(0, TASKS_MAX).flatMap(({ id }) => explainTask(view, id, nowMs) ?? []),
  };
}

function startWaits(view: ReadView, service: Service): readonly string[] {
  const name = service.spec?.annotations?.name ?? service.id;
  return service.startAfter.map((condition) => {
    const lacks = unmet(view, condition) ?? "it is";
    return `its newest version waits for ${conditionText(condition)}: ${lacks} (without waiting: skep service promote ${name})`;
  });
}

function isReturned({ updateStatus }: Service): boolean {
  return updateStatus?.state === UpdateState.ROLLBACK_COMPLETED;
}

/** What was rolled out and taken back is in the registry still, and not rolled out again. */
function heldImage({ spec, imageRolled }: Service): readonly string[] {
  const rules = readImageRules(spec);
  const runtime = spec?.task?.runtime;
  if (!rules.ok || rules.value === undefined || runtime?.case !== "container") return [];
  if (imageRolled === "" || imageRolled === runtime.value.image) return [];
  return [
    `${imageRolled} was rolled out and taken back; it is left alone until the registry has another ` +
      "image (or give it by skep service update --image)",
  ];
}

/** What the restart policy does not start again looks as if nothing were wrong: nobody waits for it. */
function givenUp(service: Service, tasks: readonly Task[]): readonly string[] {
  const slots = new Map<string, Slot>();
  for (const task of tasks) {
    const { jobIteration } = service.jobStatus ?? {};
    if (isJob(service) && task.jobIteration?.index !== jobIteration?.index) continue;
    const key = slotKeyOf(task);
    const slot = slots.get(key) ?? {
      key,
      number: task.slot,
      nodeId: task.nodeId,
      tasks: new Map<string, Task>(),
    };
    slot.tasks.set(task.id, task);
    slots.set(key, slot);
  }
  const job = isJob(service);
  const held = [...slots.values()].filter((slot) => isHeld(slot, job));
  const failed = held.flatMap((slot) => historyOf(slot).at(-1) ?? []).filter(isFailed);
  const [example] = failed;
  if (example === undefined) return [];
  const err = example.status?.err ?? "";
  const last = `${taskName(example)}${err === "" ? "" : `: ${err}`}`;
  return [
    `${failed.length} of ${slots.size} tasks failed and are not started again, by the restart policy ` +
      `(the last of ${last}); skep service update --force starts them anew`,
  ];
}

function isFailed(task: Task): boolean {
  return stateOf(task) === TaskState.FAILED || stateOf(task) === TaskState.REJECTED;
}

function updateWaits(
  service: Service,
  tasks: readonly Task[],
  fresh: number,
  nowMs: number,
): readonly string[] {
  const rules = rolloutRulesOf(service.spec);
  const message = service.updateStatus?.message ?? "";
  const sinceMs = msOfTimestamp(service.rollout?.since) ?? nowMs;
  if (isPaused(service)) {
    return [`${message}; it goes on with the next service update, or back with service rollback`];
  }
  if (isKept(service)) {
    const aside = tasks.filter((task) => isSetAside(service.rollout, task)).length;
    const left = duration(Math.max(0, sinceMs + rules.keepMs - nowMs));
    if (service.previousSpec === undefined) {
      return [`the ${aside} tasks of the set that was given up run for another ${left}`];
    }
    const which = isReturned(service) ? "newer" : "old";
    return [
      `the ${aside} tasks of the ${which} set are kept for another ${left}: service rollback`,
    ];
  }
  if (!isUpdating(service)) return [];
  const all = service.spec?.mode.case === "replicated" ? replicasOf(service.spec) : undefined;
  const of = all === undefined ? "" : ` of ${all}`;
  const update = updateRulesOf(service.spec, isRollback(service));
  if (isTrial(service)) {
    const canary = service.rollout?.strategy === Strategy.CANARY;
    const wanted = all === undefined || !canary ? (all ?? 0) : canaryCount(rules, all);
    const what = hasTwoSets(service) ? "the new set is on trial" : "a canary is on trial";
    if (fresh < wanted) return [`${what}: ${fresh} of ${wanted} tasks run the new version`];
    if (message.includes("promotion")) return [`${what}: ${message}`];
    const forMs = rules.analysisMs ?? update.monitorMs;
    return [
      `${what}: ${fresh}${of} tasks run the new version and are watched for ${duration(forMs)}`,
    ];
  }
  const pace = Number.isFinite(update.parallelism)
    ? `${update.parallelism} at a time`
    : "all at once";
  const watch = `each watched for ${duration(Math.max(update.monitorMs, update.delayMs))}`;
  const what = isRollback(service) ? "a rollback" : "an update";
  return [`${what} is under way, ${pace}, ${watch}: ${fresh}${of} tasks run the new version`];
}

function isUp(task: Task): boolean {
  return stateOf(task) === TaskState.RUNNING;
}

function duration(ms: number): string {
  return formatDuration(Math.round(ms / 1000) * 1000 * MILLISECOND);
}
