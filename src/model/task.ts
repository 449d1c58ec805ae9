/**
 * The words about tasks that every component shares: how one is made, named and classified.
 *
 * A slot is what a task stands in for: the number of a replica, or for global services the node. Of
 * the tasks of a slot at most one is meant to run, two while an update replaces it.
 */

import { create } from "@bufbuild/protobuf";
import {
  type Cluster,
  EndpointSchema,
  type Service,
  type Task,
  TaskSchema,
} from "#wire/gen/swarmkit/objects_pb.js";
import { TaskState, TaskStatusSchema } from "#wire/gen/swarmkit/types_pb.js";
import { timestampOf } from "./time.ts";

export interface NewTask {
  readonly id: string;
  readonly nowMs: number;
  /** The slot number of a replica; 0n with `nodeId` for a task that is bound to a node. */
  readonly slot: bigint;
  readonly nodeId: string;
  readonly desiredState: TaskState;
  /** As the task's field; 0 if not said. */
  readonly quickFailures?: number;
}

/** A task of a service as its spec says now: state NEW, "created". */
export function newTask(cluster: Cluster | undefined, service: Service, fresh: NewTask): Task {
  const spec = service.spec;
  const task = create(TaskSchema);
  task.id = fresh.id;
  task.serviceId = service.id;
  task.slot = fresh.slot;
  task.nodeId = fresh.nodeId;
  task.desiredState = fresh.desiredState;
  task.quickFailures = fresh.quickFailures ?? 0;
  task.status = create(TaskStatusSchema);
  task.status.timestamp = timestampOf(fresh.nowMs);
  task.status.message = "created";
  task.endpoint = create(EndpointSchema);
  // Shared, not copied: messages are values.
  task.endpoint.spec = spec?.endpoint;
  task.spec = spec?.task;
  task.serviceAnnotations = spec?.annotations;
  task.specVersion = service.specVersion;
  task.logDriver = spec?.task?.logDriver ?? cluster?.spec?.taskDefaults?.logDriver;
  if (isJob(service)) task.jobIteration = service.jobStatus?.jobIteration;
  return task;
}

export function stateOf(task: Task): TaskState {
  return task.status?.state ?? TaskState.NEW;
}

/** Meant to run, or to finish if it belongs to a job. */
export function isWanted(task: Task): boolean {
  return task.desiredState <= TaskState.COMPLETE;
}

/** It will never run again. */
export function isTerminal(task: Task): boolean {
  return stateOf(task) > TaskState.RUNNING;
}

/** Wanted and not yet over. */
export function isActive(task: Task): boolean {
  return isWanted(task) && !isTerminal(task);
}

/** It may hold what its node gave it: a container, ports, resources. */
export function holdsNode(task: Task): boolean {
  const state = stateOf(task);
  return state >= TaskState.ASSIGNED && state <= TaskState.RUNNING;
}

/**
 * Nothing of it is left on any node: it never was on one, or the node said so, or the node is given
 * up. A task that a manager rejected without asking its node runs until the node hears of it; such a
 * status was applied by no report.
 */
export function hasLetGo(task: Task): boolean {
  if (!isTerminal(task)) return false;
  const { status } = task;
  if (status?.state !== TaskState.REJECTED || task.nodeId === "") return true;
  return status.appliedAt !== undefined;
}

/** It ended of itself, which says something about its program, not about our wishes. */
export function endedByItself(task: Task): boolean {
  const state = stateOf(task);
  return state === TaskState.COMPLETE || state === TaskState.FAILED || state === TaskState.REJECTED;
}

export function isJob(service: Service): boolean {
  const mode = service.spec?.mode.case;
  return mode === "replicatedJob" || mode === "globalJob";
}

/** Services with one task per node. */
export function isPerNode(service: Service): boolean {
  const mode = service.spec?.mode.case;
  return mode === "global" || mode === "globalJob";
}

/** The slot within its service: "3", or "@" and the node id. */
export function slotKeyOf(task: Pick<Task, "slot" | "nodeId">): string {
  return task.slot === 0n ? `@${task.nodeId}` : task.slot.toString();
}

/** "web.3.<id>" or "agent.<node id>.<id>", the name of its container as well. */
export function taskName(task: Task): string {
  const own = task.annotations?.name ?? "";
  if (own !== "") return own;
  const service = task.serviceAnnotations?.name ?? "";
  const slot = task.slot === 0n ? task.nodeId : task.slot.toString();
  return `${service}.${slot}.${task.id}`;
}
