/**
 * Logs of services and tasks: what the log broker collects from the nodes, in docker's stream
 * format. Everything that can be refused is refused before the first byte; what goes wrong later is
 * told in the stream.
 */

import { once } from "node:events";
import type { Writable } from "node:stream";
import { create } from "@bufbuild/protobuf";
import { type Timestamp, TimestampSchema } from "@bufbuild/protobuf/wkt";
import { EngineError, isErrorCode, messageOf } from "#base/error.ts";
import { isLogNotice, plainNotice } from "#model/log-notice.ts";
import { sleep } from "#platform/async.ts";
import { realClock } from "#platform/real-ports.ts";
import { type LogMessage, LogStream } from "#wire/gen/swarmkit/logbroker_pb.js";
import type { TaskSpec } from "#wire/gen/swarmkit/specs_pb.js";
import type { ClusterPort } from "./cluster-port.ts";
import { fixedWidthTime } from "./convert/time-text.ts";
import type { ApiRequest, ApiResponse } from "./route.ts";
import { encodeFrame, STDERR, STDOUT, type StreamType, SYSTEM_ERROR } from "./stdcopy.ts";
import { findService, findTask } from "./swarm-lookup.ts";

const RAW_TYPE = "application/vnd.docker.raw-stream";
const FRAMED_TYPE = "application/vnd.docker.multiplexed-stream";
/** How long a stream that is followed waits for a leader to go on. */
const RESUME_MS = 30_000;
const RESUME_PAUSE_MS = 250;
/** Tasks of which is kept how far they were; those that were silent longest are forgotten. */
const SEEN_MAX = 4_096;
const CONTEXT_PREFIX = "com.docker.swarm";

interface Selector {
  readonly serviceIds?: string[];
  readonly taskIds?: string[];
}

interface LogOptions {
  readonly streams: LogStream[];
  readonly follow: boolean;
  readonly timestamps: boolean;
  readonly details: boolean;
  /** As the broker takes it: 0 is all, and -(n+1) the last n lines. */
  readonly tail: bigint;
  readonly since: Timestamp | undefined;
}

export async function streamServiceLogs(
  cluster: ClusterPort,
  request: ApiRequest,
  response: ApiResponse,
): Promise<void> {
  const options = readOptions(request);
  const { id, spec } = await findService(cluster.control(), request.params.id ?? "");
  const tty = hasTerminal(spec?.task);
  await stream(cluster, request, response, { serviceIds: [id] }, options, tty);
}

export async function streamTaskLogs(
  cluster: ClusterPort,
  request: ApiRequest,
  response: ApiResponse,
): Promise<void> {
  const options = readOptions(request);
  const { id, spec } = await findTask(cluster.control(), request.params.id ?? "");
  await stream(cluster, request, response, { taskIds: [id] }, options, hasTerminal(spec));
}

function hasTerminal(spec: TaskSpec | undefined): boolean {
  if (spec?.runtime.case !== "container") {
    throw invalid("error making log selector: logs only supported on container tasks");
  }
  return spec.runtime.value.tty;
}

async function stream(
  cluster: ClusterPort,
  request: ApiRequest,
  response: ApiResponse,
  selector: Selector,
  options: LogOptions,
  tty: boolean,
): Promise<void> {
  const contentType = !tty && request.atLeast(42) ? FRAMED_TYPE : RAW_TYPE;
  const output = response.stream(200, contentType);
  const send = (type: StreamType, bytes: Uint8Array) =>
    write(output, tty ? bytes : encodeFrame(type, bytes), request.signal);
  try {
    for await (const message of messagesOf(cluster, selector, options, request.signal)) {
      const type = message.stream === LogStream.STDERR ? STDERR : STDOUT;
      await send(type, lineOf(message, options));
    }
  } catch (error) {
    if (!request.signal.aborted) {
      const text = `Error grabbing logs: ${messageOf(error)}\n`;
      await send(SYSTEM_ERROR, new TextEncoder().encode(text));
    }
  } finally {
    output.end();
  }
}

/**
 * The messages, each once. Who follows goes on behind another leader: from where the task that is
 * furthest behind was, without what was seen of the others.
 */
async function* messagesOf(
  cluster: ClusterPort,
  selector: Selector,
  options: LogOptions,
  signal: AbortSignal,
): AsyncGenerator<LogMessage> {
  const { streams, follow } = options;
  const seen = new Map<string, bigint>();
  let resumed = false;
  let lostMs: number | undefined;
  for (;;) {
    const since = resumed && seen.size > 0 ? earliest(seen) : options.since;
    const tail = resumed && seen.size > 0 ? 0n : options.tail;
    const subscription = { selector, options: { streams, follow, tail, since } };
    const before = new Map(seen);
    try {
      for await (const { messages } of cluster.logs().subscribeLogs(subscription, { signal })) {
        lostMs = undefined;
        for (const message of messages) {
          if (isLogNotice(message)) {
            if (streams.includes(LogStream.STDERR)) yield plainNotice(message);
            continue;
          }
          const taskId = message.context?.taskId ?? "";
          const ns = nanosecondsOf(message.timestamp);
          if (ns <= (before.get(taskId) ?? -1n)) continue;
          seen.delete(taskId);
          seen.set(taskId, ns);
          if (seen.size > SEEN_MAX) seen.delete(seen.keys().next().value ?? "");
          yield message;
        }
      }
      return;
    } catch (error) {
      const broken = isErrorCode(error, "unavailable", "aborted", "cancelled");
      if (!follow || signal.aborted || !broken) throw error;
      lostMs ??= performance.now();
      if (performance.now() - lostMs > RESUME_MS) throw error;
      resumed = true;
      await sleep(realClock, RESUME_PAUSE_MS, signal);
    }
  }
}

function earliest(seen: ReadonlyMap<string, bigint>): Timestamp {
  let first: bigint | undefined;
  for (const ns of seen.values()) if (first === undefined || ns < first) first = ns;
  const ns = first ?? 0n;
  const nanos = Number(ns % 1_000_000_000n);
  return create(TimestampSchema, { seconds: ns / 1_000_000_000n, nanos });
}

function nanosecondsOf(time: Timestamp | undefined): bigint {
  return (time?.seconds ?? 0n) * 1_000_000_000n + BigInt(time?.nanos ?? 0);
}

/** Waits while the client reads slowly; ends at once when it has gone away. */
async function write(output: Writable, bytes: Uint8Array, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  if (output.write(bytes)) return;
  await once(output, "drain", { signal });
}

/** The line as it was written, behind its time and its details where they are asked for. */
function lineOf(message: LogMessage, options: LogOptions): Uint8Array {
  let prefix = "";
  if (options.timestamps) {
    const { seconds = 0n, nanos = 0 } = message.timestamp ?? {};
    prefix += `${fixedWidthTime(seconds, nanos)} `;
  }
  if (options.details) prefix += `${detailsOf(message)} `;
  return prefix === "" ? message.data : Buffer.concat([Buffer.from(prefix), message.data]);
}

/** Where a line is from cannot be claimed by the log's own attributes. */
function detailsOf({ attrs, context }: LogMessage): string {
  const details = new Map(attrs.map(({ key, value }) => [key, value]));
  details.set(`${CONTEXT_PREFIX}.node.id`, context?.nodeId ?? "");
  details.set(`${CONTEXT_PREFIX}.service.id`, context?.serviceId ?? "");
  details.set(`${CONTEXT_PREFIX}.task.id`, context?.taskId ?? "");
  return [...details]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, value]) => `${queryEscape(key)}=${queryEscape(value)}`)
    .join(",");
}

/** Go's `url.QueryEscape`: a space is "+", and of the marks only "-_.~" stay. */
function queryEscape(text: string): string {
  return encodeURIComponent(text)
    .replace(/[!'()*]/g, (mark) => `%${mark.charCodeAt(0).toString(16).toUpperCase()}`)
    .replaceAll("%20", "+");
}

function readOptions(request: ApiRequest): LogOptions {
  const streams = [
    ...(request.flag("stdout") ? [LogStream.STDOUT] : []),
    ...(request.flag("stderr") ? [LogStream.STDERR] : []),
  ];
  if (streams.length === 0) {
    throw invalid("Bad parameters: you must choose at least one stream");
  }
  return {
    streams,
    follow: request.flag("follow"),
    timestamps: request.flag("timestamps"),
    details: request.atLeast(30) && request.flag("details"),
    tail: readTail(request.query.get("tail") ?? ""),
    since: readSince(request.query.get("since") ?? ""),
  };
}

function readTail(text: string): bigint {
  if (text === "" || text === "all") return 0n;
  if (/^-[0-9]+$/.test(text)) throw invalid("negative tail values not supported");
  if (!/^\+?[0-9]+$/.test(text)) throw invalid('tail value must be a positive integer or "all"');
  return -(BigInt(text) + 1n);
}

/** Unix seconds with an optional fraction; "0" is what clients send for "from the beginning". */
function readSince(text: string): Timestamp | undefined {
  if (text === "" || text === "0") return undefined;
  const match = /^(-?[0-9]+)(?:\.([0-9]{1,9}))?$/.exec(text);
  if (match === null) {
    throw invalid(`could not parse since timestamp: invalid value ${JSON.stringify(text)}`);
  }
  const [, seconds = "0", fraction = ""] = match;
  return create(TimestampSchema, {
    seconds: BigInt(seconds),
    nanos: Number(fraction.padEnd(9, "0")),
  });
}

function invalid(message: string): EngineError {
  return new EngineError("invalid-argument", message);
}
