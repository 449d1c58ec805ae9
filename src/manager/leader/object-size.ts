/**
 * About how many bytes an object takes in a log entry. Tasks share their spec and their networks by
 * reference, so that the expensive parts are measured once; the estimate is on the high side.
 */

import { type DescMessage, type Message } from "@bufbuild/protobuf";
import { KIND_RULES } from "#store/kinds.ts";
import type { Kind, ObjectTypes } from "#store/types.ts";
import { encodeMessage } from "#wire/encode.ts";
import { NetworkSchema, type Task } from "#wire/gen/swarmkit/objects_pb.js";
import { TaskSpecSchema } from "#wire/gen/swarmkit/specs_pb.js";
import { AnnotationsSchema } from "#wire/gen/swarmkit/types_pb.js";

/** Ids, states, times and messages of a task, without its spec and networks. */
const TASK_BYTES = 600;
const ATTACHMENT_BYTES = 100;

const SIZES = new WeakMap<Message, number>();

export function estimateBytes<K extends Kind>(kind: K, object: ObjectTypes[K]): number {
  // The kind says which of the types the object has.
  if (kind === "task") return taskBytes(object as Task);
  return measured(KIND_RULES[kind].schema, object);
}

function taskBytes(task: Task): number {
  let bytes = TASK_BYTES + (task.status?.err.length ?? 0);
  bytes += measured(TaskSpecSchema, task.spec);
  bytes += measured(AnnotationsSchema, task.serviceAnnotations);
  for (const port of task.endpoint?.ports ?? []) bytes += 24 + port.name.length;
  for (const { network, aliases } of task.networks) {
    bytes += ATTACHMENT_BYTES + aliases.join().length + measured(NetworkSchema, network);
  }
  return bytes;
}

function measured(schema: DescMessage, message: Message | undefined): number {
  if (message === undefined) return 0;
  let size = SIZES.get(message);
  if (size === undefined) {
    size = encodeMessage(schema, message).length;
    SIZES.set(message, size);
  }
  return size;
}
