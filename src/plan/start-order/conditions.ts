/**
 * Conditions for the start of a service's newest version: which are to be met after a change, and
 * what one of them still lacks.
 */

import { create } from "@bufbuild/protobuf";
import { replicasOf } from "#model/defaults.ts";
import { takesTasks } from "#model/node.ts";
import { isHeldBack, readStartRules, waitText } from "#model/start-order.ts";
import { isJob, isTerminal, isWanted, slotKeyOf, stateOf } from "#model/task.ts";
import type { ReadView } from "#store/types.ts";
import {
  StartCondition_Kind as Kind,
  type Service,
  type StartCondition,
  StartConditionSchema,
  type Task,
} from "#wire/gen/swarmkit/objects_pb.js";
import { TaskState } from "#wire/gen/swarmkit/types_pb.js";
import { isTaskDirty } from "../orchestrator/dirtiness.ts";
import { mayHaveTask } from "../orchestrator/global.ts";
import { isPaused, isUpdating, sameTasks } from "../orchestrator/respec.ts";

/** A service that is made or was changed, with what it has to wait for. */
export function startingInOrder(
  view: ReadView,
  before: Service | undefined,
  after: Service,
): Service {
  const startAfter = conditionsFor(view, before, after);
  const version = after.specVersion?.index ?? 0n;
  const waited = before !== undefined && isHeldBack(before);
  return { ...after, startAfter, heldFrom: waited ? before.heldFrom : version };
}

/**
 * What a service that is made or was changed has to wait for. Nothing where its tasks stay as they are
 * (it was scaled or relabelled), unless they were waiting before.
 */
function conditionsFor(
  view: ReadView,
  before: Service | undefined,
  after: Service,
): StartCondition[] {
  const { spec } = after;
  const rules = readStartRules(spec);
  if (spec === undefined || !rules.ok || rules.value.length === 0) return [];
  if (before !== undefined && !isJob(after)) {
    const waits = isHeldBack(before);
    if (!waits && sameTasks(before.spec, spec)) return [];
    // Back to what runs, from what was never started.
    if (waits && before.previousSpec !== undefined && sameTasks(before.previousSpec, spec)) {
      return [];
    }
  }
  return withVersions(
    view,
    rules.value.map((rule) => create(StartConditionSchema, { ...rule })),
  );
}

/** The same conditions, about the services as they are asked for now. */
export function withVersions(
  view: ReadView,
  conditions: readonly StartCondition[],
): StartCondition[] {
  return conditions.map((condition) => {
    const other = view.byName("service", condition.service);
    return {
      ...condition,
      serviceId: other?.id ?? "",
      specVersion: other?.specVersion?.index ?? 0n,
    };
  });
}

/** What a condition still lacks, in words; undefined when it is met. */
export function unmet(view: ReadView, condition: StartCondition): string | undefined {
  const other = view.byName("service", condition.service);
  if (other === undefined) return "there is no such service";
  const isSame = other.id === condition.serviceId;
  if (isSame && (other.specVersion?.index ?? 0n) < condition.specVersion) {
    return `it was rolled back: ${other.updateStatus?.message ?? "by request"}`;
  }
  if (isHeldBack(other)) return `it ${waitText(other)} itself`;
  if (isJob(other)) return incompleteJob(view, other);
  if (condition.kind === Kind.COMPLETED) return incompleteService(view, other);
  return unhealthy(view, other);
}

function unhealthy(view: ReadView, service: Service): string | undefined {
  if (isPaused(service)) return service.updateStatus?.message ?? "its update is paused";
  const up = new Set<string>();
  for (const task of view.find("task", "service", service.id)) {
    if (isUp(view, service, task)) up.add(slotKeyOf(task));
  }
  const missing = lacking(view, service, up, "run");
  return missing ?? (isUpdating(service) ? "its update is under way" : undefined);
}

/** A service whose tasks end: each slot has had one that ended well. */
function incompleteService(view: ReadView, service: Service): string | undefined {
  const done = new Set<string>();
  for (const task of view.find("task", "service", service.id)) {
    const fresh = !isTaskDirty(service, task, view.get("node", task.nodeId));
    if (fresh && stateOf(task) === TaskState.COMPLETE) done.add(slotKeyOf(task));
  }
  return lacking(view, service, done, "have ended with success");
}

function incompleteJob(view: ReadView, service: Service): string | undefined {
  const iteration = service.jobStatus?.jobIteration?.index ?? 0n;
  const done = new Set<string>();
  let complete = 0;
  let failed = "";
  for (const task of view.find("task", "service", service.id)) {
    if ((task.jobIteration?.index ?? 0n) !== iteration) continue;
    if (stateOf(task) === TaskState.COMPLETE) {
      complete += 1;
      done.add(slotKeyOf(task));
    } else if (isTerminal(task)) failed = task.status?.err ?? "";
  }
  const { spec } = service;
  const lack =
    spec?.mode.case === "replicatedJob"
      ? ofAll(complete, Number(spec.mode.value.totalCompletions), "are complete")
      : lacking(view, service, done, "are complete");
  return lack === undefined || failed === "" ? lack : `${lack}; one has failed: ${failed}`;
}

/** Which of the service's places are not among those that do what they should. */
function lacking(
  view: ReadView,
  service: Service,
  slots: ReadonlySet<string>,
  what: string,
): string | undefined {
  if (service.spec?.mode.case === "replicated") {
    return ofAll(slots.size, replicasOf(service.spec), what);
  }
  let all = 0;
  let good = 0;
  for (const node of view.all("node")) {
    if (!mayHaveTask(service, node) || !takesTasks(node)) continue;
    all += 1;
    if (slots.has(`@${node.id}`)) good += 1;
  }
  return all === 0 ? "no node may have a task of it" : ofAll(good, all, what);
}

function ofAll(some: number, all: number, what: string): string | undefined {
  return some >= all ? undefined : `${some} of ${all} tasks ${what}`;
}

function isUp(view: ReadView, service: Service, task: Task): boolean {
  if (!isWanted(task) || stateOf(task) !== TaskState.RUNNING) return false;
  return !isTaskDirty(service, task, view.get("node", task.nodeId));
}
