/**
 * What becomes of a service when it is given another spec, or its old one again: which spec is kept
 * for a rollback, and how the change is to be rolled out. One entry of the log holds both, so that
 * no planner ever sees a new spec without knowing that it is only on trial.
 */

import { create, equals } from "@bufbuild/protobuf";
import { updateRulesOf } from "#model/defaults.ts";
import { isSetAside, isTrial, rolloutRulesOf, versionOf } from "#model/rollout.ts";
import { isHeldBack } from "#model/start-order.ts";
import { isWanted, stateOf } from "#model/task.ts";
import { timestampOf } from "#model/time.ts";
import {
  Rollout_Phase as Phase,
  type Rollout,
  RolloutSchema,
  type Service,
  Rollout_Strategy as Strategy,
  type Task,
} from "#wire/gen/swarmkit/objects_pb.js";
import { type ServiceSpec, ServiceSpecSchema } from "#wire/gen/swarmkit/specs_pb.js";
import {
  TaskState,
  UpdateConfig_UpdateOrder as UpdateOrder,
  UpdateStatus_UpdateState as UpdateState,
  UpdateStatusSchema,
  type Version,
} from "#wire/gen/swarmkit/types_pb.js";

/** The tasks that a service has, of all versions. */
type Tasks = Iterable<Task>;

export function isUpdating({ updateStatus }: Service): boolean {
  const state = updateStatus?.state;
  return state === UpdateState.UPDATING || state === UpdateState.ROLLBACK_STARTED;
}

export function isRollback({ updateStatus }: Service): boolean {
  return updateStatus?.state === UpdateState.ROLLBACK_STARTED;
}

/** Whether a new task is to run before the old one of its slot is stopped. */
export function isStartFirst(service: Service): boolean {
  return updateRulesOf(service.spec, isRollback(service)).order === UpdateOrder.START_FIRST;
}

export function isPaused({ updateStatus }: Service): boolean {
  const state = updateStatus?.state;
  return state === UpdateState.PAUSED || state === UpdateState.ROLLBACK_PAUSED;
}

/** Its update was stopped because the new version did not do well. */
function hasFailed({ updateStatus }: Service): boolean {
  return updateStatus?.state === UpdateState.PAUSED;
}

/** The service with a new spec. */
export function respecified(
  service: Service,
  spec: ServiceSpec,
  version: Version,
  tasks: Tasks,
  nowMs: number,
): Service {
  const { rollout, previousSpec } = service;
  const undecided = rollout !== undefined && rollout.phase !== Phase.SPREAD && !isPaused(service);
  if (undecided && sameTasks(service.spec, spec)) {
    // Scaled or relabelled while a version is on trial, or the old set is kept: that goes on.
    const kept = previousSpec === undefined ? undefined : { ...previousSpec, mode: spec.mode };
    return { ...service, spec, previousSpec: kept };
  }
  const changed = !sameTasks(service.spec, spec);
  // What was only on trial, never started, or failed half way is nothing to go back to.
  const isUnproven = isTrial(service) || hasFailed(service);
  const back = isHeldBack(service) || (isUnproven && previousSpec !== undefined);
  return {
    ...service,
    previousSpec: back ? previousSpec : service.spec,
    previousSpecVersion: back ? service.previousSpecVersion : service.specVersion,
    spec,
    specVersion: version,
    updateStatus: undefined,
    rollout: changed ? rolloutTo(service, spec, version, tasks, nowMs) : rollout,
  };
}

function rolloutTo(
  service: Service,
  spec: ServiceSpec,
  version: Version,
  tasks: Tasks,
  nowMs: number,
): Rollout | undefined {
  const { strategy, canaryShare } = rolloutRulesOf(spec);
  const aside = new Set([...(service.rollout?.setAside ?? []), ...abandoned(service, tasks)]);
  if (strategy === Strategy.BLUE_GREEN) aside.add(version.index);
  if (strategy === Strategy.ROLLING && aside.size === 0) return undefined;
  return create(RolloutSchema, {
    strategy,
    phase: strategy === Strategy.ROLLING ? Phase.SPREAD : Phase.TRIAL,
    since: timestampOf(nowMs),
    setAside: [...aside],
    canaryShare: strategy === Strategy.CANARY ? canaryShare : 0,
  });
}

/**
 * The service with its previous spec again. Precondition: it has one. A set that is kept only has to
 * take the traffic again; a version on trial leaves the balance at once, if others can do its work.
 */
export function returned(
  service: Service,
  tasks: Tasks,
  nowMs: number,
  options: { readonly message: string; readonly forgetsNext: boolean },
): Service {
  const { spec, specVersion } = service;
  return {
    ...service,
    spec: service.previousSpec,
    specVersion: service.previousSpecVersion,
    previousSpec: options.forgetsNext ? undefined : spec,
    previousSpecVersion: options.forgetsNext ? undefined : specVersion,
    updateStatus: create(UpdateStatusSchema, {
      state: UpdateState.ROLLBACK_STARTED,
      message: options.message,
      startedAt: timestampOf(nowMs),
    }),
    rollout: rolloutBack(service, tasks, nowMs),
    startAfter: [],
  };
}

function rolloutBack(service: Service, tasks: Tasks, nowMs: number): Rollout | undefined {
  const { rollout, previousSpecVersion } = service;
  const since = timestampOf(nowMs);
  const aside = new Set([...(rollout?.setAside ?? []), ...abandoned(service, tasks)]);
  const version = previousSpecVersion?.index ?? 0n;
  if (bringsUpSet(service, tasks, version)) {
    return create(RolloutSchema, {
      strategy: Strategy.BLUE_GREEN,
      phase: Phase.TRIAL,
      since,
      promoted: true,
      setAside: [...aside.add(version)],
    });
  }
  aside.delete(version);
  if (aside.size === 0) return undefined;
  return create(RolloutSchema, { phase: Phase.SPREAD, since, setAside: [...aside] });
}

/** Whether the way back is a whole set; not if some of the tasks that serve are of it already. */
function bringsUpSet(service: Service, tasks: Tasks, version: bigint): boolean {
  const { rollout, spec, previousSpec } = service;
  const back = [...tasks].filter((task) => isWanted(task) && versionOf(task) === version);
  if (back.some((task) => !isSetAside(rollout, task))) return false;
  // Tasks that are set aside may only come back together.
  if (back.length > 0 || rollout?.phase === Phase.KEPT) return true;
  // During a trial it is not the spec that serves.
  if (previousSpec === undefined || (!isTrial(service) && sameTasks(spec, previousSpec))) {
    return false;
  }
  return rolloutRulesOf(previousSpec).strategy === Strategy.BLUE_GREEN;
}

/** Versions of canaries that are given up; none if too few others would be left to serve. */
function abandoned(service: Service, tasks: Tasks): readonly bigint[] {
  const { rollout, specVersion } = service;
  if (rollout?.strategy !== Strategy.CANARY || rollout.phase !== Phase.TRIAL) return [];
  const version = specVersion?.index ?? 0n;
  let canaries = 0;
  let others = 0;
  for (const task of tasks) {
    if (!isWanted(task) || stateOf(task) !== TaskState.RUNNING || isSetAside(rollout, task))
      continue;
    if (versionOf(task) === version) canaries += 1;
    else others += 1;
  }
  return others > 0 && others >= canaries ? [version] : [];
}

/** The same but for what tasks are not made of: how many there are, labels, how updates go. */
export function sameTasks(a: ServiceSpec | undefined, b: ServiceSpec): boolean {
  if (a === undefined) return false;
  const { task, endpoint, networks } = b;
  const bare = (spec: ServiceSpec, from: ServiceSpec) => ({
    ...create(ServiceSpecSchema),
    task: from.task,
    endpoint: from.endpoint,
    networks: from.networks,
    mode: spec.mode,
  });
  return equals(ServiceSpecSchema, bare(b, a), { ...bare(b, b), task, endpoint, networks });
}
