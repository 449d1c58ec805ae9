/** Services and their tasks in words, for whoever looks for what broke a law. */

import { slotKeyOf, stateOf } from "#model/task.ts";
import type { Service, Task } from "#wire/gen/swarmkit/objects_pb.js";
import { TaskState, UpdateStatus_UpdateState as UpdateState } from "#wire/gen/swarmkit/types_pb.js";
import { imageOf } from "./specs.ts";

export function describeService({ id, spec, updateStatus, allocationError }: Service): string {
  const update = UpdateState[updateStatus?.state ?? UpdateState.UNKNOWN];
  const name = spec?.annotations?.name ?? "";
  return `${name} (${id}) wants ${imageOf(spec?.task)}: ${update} ${allocationError}`;
}

export function describeTask(task: Task): string {
  const { id, nodeId, desiredState, status, specVersion } = task;
  const states = `${TaskState[stateOf(task)]}, to be ${TaskState[desiredState]}`;
  const why = `${status?.message ?? ""} ${status?.err ?? ""}`;
  return `  ${slotKeyOf(task)} ${id} on ${nodeId}: ${imageOf(task.spec)} of ${specVersion?.index}: ${states}: ${why}`;
}
