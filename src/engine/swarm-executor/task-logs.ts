/**
 * A container's log lines as the log broker carries them. Reading is held to a rate, so that a task
 * that floods its log cannot flood the control plane.
 */

import { create } from "@bufbuild/protobuf";
import { type Timestamp, timestampFromMs } from "@bufbuild/protobuf/wkt";
import { EngineError, isErrorCode } from "#base/error.ts";
import type { Clock } from "#base/ports.ts";
import { sleep } from "#platform/async.ts";
import {
  type LogMessage,
  LogMessageSchema,
  LogStream,
  type LogSubscriptionOptions,
} from "#wire/gen/swarmkit/logbroker_pb.js";
import type { Task } from "#wire/gen/swarmkit/objects_pb.js";
import type { ContainerService, LogOptions } from "../ports.ts";

export interface LogPorts {
  readonly containers: Pick<ContainerService, "inspect" | "logs">;
  readonly clock: Clock;
}

const BYTES_PER_SECOND = 10 * 1024 * 1024;
/** How often to look whether a container that is followed has started. */
const START_POLL_MS = 250;

export async function* taskLogs(
  { containers, clock }: LogPorts,
  task: Task,
  container: string,
  options: LogSubscriptionOptions,
  signal: AbortSignal,
): AsyncGenerator<LogMessage> {
  if (options.follow) await untilStarted({ containers, clock }, container, signal);
  const context = { serviceId: task.serviceId, nodeId: task.nodeId, taskId: task.id };
  const rate = new Rate(clock);
  for await (const entry of containers.logs(container, logOptions(options, signal))) {
    await rate.spend(entry.line.length, signal);
    yield create(LogMessageSchema, {
      context,
      timestamp: timestampOf(entry.time),
      stream: entry.stream === "stdout" ? LogStream.STDOUT : LogStream.STDERR,
      data: entry.line,
    });
  }
}

function logOptions(options: LogSubscriptionOptions, signal: AbortSignal): LogOptions {
  const { streams, follow, since, tail } = options;
  if (tail > 0n) {
    throw new EngineError("invalid-argument", "tail relative to start of logs not supported");
  }
  return {
    stdout: streams.length === 0 || streams.includes(LogStream.STDOUT),
    stderr: streams.length === 0 || streams.includes(LogStream.STDERR),
    follow,
    signal,
    // On the wire -1 is no line, -2 the last one, and 0 all of them.
    ...(tail === 0n ? {} : { tail: Number(-tail - 1n) }),
    ...(since === undefined ? {} : { since: since.seconds * 1_000_000_000n + BigInt(since.nanos) }),
  };
}

async function untilStarted(ports: LogPorts, container: string, signal: AbortSignal) {
  for (;;) {
    try {
      const { State } = await ports.containers.inspect(container);
      if (State.Status !== "created") return;
    } catch (error) {
      if (!isErrorCode(error, "not-found")) throw error;
    }
    await sleep(ports.clock, START_POLL_MS, signal);
  }
}

/** RFC 3339 with up to nine digits of a second. */
export function timestampOf(time: string): Timestamp {
  const match = /^(.*?)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)$/.exec(time);
  const ms = Date.parse(match === null ? time : `${match[1]}${match[3]}`);
  const timestamp = timestampFromMs(Number.isNaN(ms) ? 0 : ms);
  const nanos = Number((match?.[2] ?? "").padEnd(9, "0"));
  return { ...timestamp, nanos };
}

/** A bucket that holds what may be read in a second, and fills at that rate. */
class Rate {
  readonly #clock: Clock;
  #bytes = BYTES_PER_SECOND;
  #filledMs: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#filledMs = clock.monotonicMs();
  }

  async spend(bytes: number, signal: AbortSignal): Promise<void> {
    const nowMs = this.#clock.monotonicMs();
    const gained = ((nowMs - this.#filledMs) / 1_000) * BYTES_PER_SECOND;
    this.#bytes = Math.min(BYTES_PER_SECOND, this.#bytes + gained) - bytes;
    this.#filledMs = nowMs;
    if (this.#bytes >= 0) return;
    await sleep(this.#clock, (-this.#bytes / BYTES_PER_SECOND) * 1_000, signal);
  }
}
