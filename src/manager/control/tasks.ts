/** Tasks are made by the orchestrators; here they are read, and removed by hand in emergencies. */

import { create } from "@bufbuild/protobuf";
import type { ReadView } from "#store/types.ts";
import {
  type GetTaskRequest,
  type GetTaskResponse,
  GetTaskResponseSchema,
  type ListTasksRequest,
  type ListTasksRequest_Filters,
  type ListTasksResponse,
  ListTasksResponseSchema,
  type RemoveTaskRequest,
  type RemoveTaskResponse,
  RemoveTaskResponseSchema,
} from "#wire/gen/swarmkit/control_pb.js";
import type { Task } from "#wire/gen/swarmkit/objects_pb.js";
import { type ControlContext, read, write } from "./context.ts";
import { hasLabels, hasOnePrefix, oneOf } from "./filters.ts";
import { notFound, requiredId } from "./refusal.ts";
import { runtimeName } from "./services.ts";

export async function getTask(
  context: ControlContext,
  request: GetTaskRequest,
): Promise<GetTaskResponse> {
  const id = requiredId(request.taskId);
  const task = (await read(context)).get("task", id);
  if (task === undefined) throw notFound(`task ${id} not found`);
  return create(GetTaskResponseSchema, { task });
}

export async function listTasks(
  context: ControlContext,
  request: ListTasksRequest,
): Promise<ListTasksResponse> {
  const view = await read(context);
  const { filters } = request;
  const tasks: Task[] = [];
  for (const task of candidates(view, filters)) {
    if (filters === undefined || matches(context, view, task, filters)) tasks.push(task);
  }
  return create(ListTasksResponseSchema, { tasks });
}

export async function removeTask(
  context: ControlContext,
  request: RemoveTaskRequest,
): Promise<RemoveTaskResponse> {
  const id = requiredId(request.taskId);
  return write(context, (tx) => {
    if (tx.get("task", id) === undefined) throw notFound(`task ${id} not found`);
    tx.delete("task", id);
    return create(RemoveTaskResponseSchema);
  });
}

/** What the orchestrator named it, else `<service>.<slot or node>.<task id>`. */
export function taskName(task: Task): string {
  const given = task.annotations?.name ?? "";
  if (given !== "") return given;
  const slot = task.slot === 0n ? task.nodeId : String(task.slot);
  return `${task.serviceAnnotations?.name ?? ""}.${slot}.${task.id}`;
}

/** The smallest set that an index gives; `matches` decides. */
function* candidates(
  view: ReadView,
  filters: ListTasksRequest_Filters | undefined,
): Iterable<Task> {
  if (filters === undefined) return yield* view.all("task");
  if (filters.serviceIds.length > 0) {
    for (const id of new Set(filters.serviceIds)) yield* view.find("task", "service", id);
  } else if (filters.nodeIds.length > 0) {
    for (const id of new Set(filters.nodeIds)) yield* view.find("task", "node", id);
  } else if (filters.idPrefixes.length === 1) {
    yield* view.byIdPrefix("task", filters.idPrefixes[0] ?? "");
  } else {
    yield* view.all("task");
  }
}

function matches(
  context: ControlContext,
  view: ReadView,
  task: Task,
  filters: ListTasksRequest_Filters,
): boolean {
  const name = taskName(task);
  return (
    oneOf(name, filters.names) &&
    hasOnePrefix(name, filters.namePrefixes) &&
    hasOnePrefix(task.id, filters.idPrefixes) &&
    hasLabels(task.serviceAnnotations?.labels, filters.labels) &&
    oneOf(task.serviceId, filters.serviceIds) &&
    oneOf(task.nodeId, filters.nodeIds) &&
    oneOf(runtimeName(task.spec), filters.runtimes) &&
    oneOf(task.desiredState, filters.desiredStates) &&
    (!filters.upToDate || isUpToDate(context, view, task))
  );
}

function isUpToDate(context: ControlContext, view: ReadView, task: Task): boolean {
  const service = view.get("service", task.serviceId);
  if (service === undefined) return false;
  return !context.isTaskDirty(service, task, view.get("node", task.nodeId));
}
