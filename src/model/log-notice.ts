/**
 * A line in a stream of service logs that no task has written: what is missing, said where it is
 * missing. It is marked by an attribute, so that nobody takes its time for that of a line.
 */

import { create } from "@bufbuild/protobuf";
import { type LogMessage, LogMessageSchema, LogStream } from "#wire/gen/swarmkit/logbroker_pb.js";
import type { Task } from "#wire/gen/swarmkit/objects_pb.js";
import { timestampOf } from "./time.ts";

const NOTICE = "skep.notice";

/** In the name of a task, as docker's command line shows lines of tasks that it finds, and no others. */
export function logNotice(task: Task, text: string, nowMs: number): LogMessage {
  return create(LogMessageSchema, {
    context: { serviceId: task.serviceId, nodeId: task.nodeId, taskId: task.id },
    timestamp: timestampOf(nowMs),
    stream: LogStream.STDERR,
    attrs: [{ key: NOTICE, value: "1" }],
    data: new TextEncoder().encode(`${text}\n`),
  });
}

export function isLogNotice({ attrs }: LogMessage): boolean {
  return attrs.some(({ key }) => key === NOTICE);
}

/** The line without its mark, which is for engines. */
export function plainNotice(message: LogMessage): LogMessage {
  return { ...message, attrs: message.attrs.filter(({ key }) => key !== NOTICE) };
}
