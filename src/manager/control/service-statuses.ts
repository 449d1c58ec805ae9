/** How many tasks of a service run, and how many should, counted where the tasks are. */

import { create } from "@bufbuild/protobuf";
import { isSetAside } from "#model/rollout.ts";
import type { ReadView } from "#store/types.ts";
import {
  type ListServiceStatusesRequest,
  type ListServiceStatusesResponse,
  ListServiceStatusesResponse_ServiceStatusSchema,
  ListServiceStatusesResponseSchema,
} from "#wire/gen/swarmkit/control_pb.js";
import type { Service, Task } from "#wire/gen/swarmkit/objects_pb.js";
import { NodeStatus_State, TaskState } from "#wire/gen/swarmkit/types_pb.js";
import { type ControlContext, read } from "./context.ts";

/** One status per id asked for; a service that is gone may still have tasks that run. */
export async function listServiceStatuses(
  context: ControlContext,
  request: ListServiceStatusesRequest,
): Promise<ListServiceStatusesResponse> {
  const view = await read(context);
  return create(ListServiceStatusesResponseSchema, {
    statuses: request.services.map((id) => statusOf(view, id)),
  });
}

function statusOf(view: ReadView, serviceId: string) {
  const service = view.get("service", serviceId);
  const mode = service?.spec?.mode;
  const wanted = service === undefined ? 0n : statedCount(service);
  let desiredTasks = wanted ?? 0n;
  let runningTasks = 0n;
  let completedTasks = 0n;
  const iteration = service?.jobStatus?.jobIteration?.index ?? 0n;
  for (const task of view.find("task", "service", serviceId)) {
    if (service?.jobStatus !== undefined) {
      if (task.jobIteration?.index !== iteration) continue;
      if (stateOf(task) === TaskState.COMPLETE) completedTasks += 1n;
    }
    // Of two whole sets, the one that serves is counted.
    if (isSetAside(service?.rollout, task)) continue;
    if (stateOf(task) === TaskState.RUNNING && !isLost(view, task)) runningTasks += 1n;
    if (mode !== undefined && wanted === undefined && isWanted(task)) desiredTasks += 1n;
  }
  return create(ListServiceStatusesResponse_ServiceStatusSchema, {
    serviceId,
    desiredTasks,
    runningTasks,
    completedTasks,
  });
}

/** The number that the spec names; undefined where the number follows from the nodes. */
function statedCount(service: Service): bigint | undefined {
  const mode = service.spec?.mode;
  if (mode?.case === "replicated") return mode.value.replicas;
  if (mode?.case === "replicatedJob") return mode.value.maxConcurrent;
  return undefined;
}

/** What was last heard of a task on a node that is down says nothing of today. */
function isLost(view: ReadView, { nodeId }: Task): boolean {
  const node = nodeId === "" ? undefined : view.get("node", nodeId);
  return node?.status?.state === NodeStatus_State.DOWN;
}

function isWanted(task: Task): boolean {
  if (task.desiredState === TaskState.RUNNING) return true;
  return task.desiredState === TaskState.COMPLETE && stateOf(task) !== TaskState.COMPLETE;
}

function stateOf(task: Task): TaskState {
  return task.status?.state ?? TaskState.NEW;
}
