/**
 * When two versions of a task mean the same to the node that runs it. Status and bookkeeping
 * (version, timestamps) are left out: the node is where the status comes from, so sending it back
 * would echo every report.
 */

import { equals } from "@bufbuild/protobuf";
import { type Task, TaskSchema } from "#wire/gen/swarmkit/objects_pb.js";

/** True when nothing differs that a node would act on. */
export function sameAssignment(a: Task, b: Task): boolean {
  if (a === b) return true;
  // A status update keeps every other field by reference, so that this is nearly always the answer.
  if (sharesFields(a, b)) return true;
  return equals(TaskSchema, stable(a), stable(b));
}

function sharesFields(a: Task, b: Task): boolean {
  for (const key of Object.keys(a) as (keyof Task)[]) {
    if (key !== "status" && key !== "meta" && a[key] !== b[key]) return false;
  }
  return Object.keys(a).length === Object.keys(b).length;
}

function stable(task: Task): Task {
  return { ...task, status: undefined, meta: undefined };
}
