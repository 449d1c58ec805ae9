/** `/containers/{id}/…` whose answers go on: attach, logs, stats, wait. */

import type { Writable } from "node:stream";
import { EngineError, messageOf } from "#base/error.ts";
import type { ContainerEngine } from "#engine/containers/service.ts";
import type { LogEntry, LogOptions, WaitResult } from "#engine/ports.ts";
import { FrameBatch } from "./frame-batch.ts";
import { streamType, takeClient, takeWebsocketClient, writable } from "./hijack-streams.ts";
import type { ApiRequest, ApiResponse, Routes } from "./route.ts";
import { encodeFrame, STDERR, STDOUT, SYSTEM_ERROR } from "./stdcopy.ts";

export function streamingContainerRoutes(containers: ContainerEngine): Routes {
  return [
    {
      method: "POST",
      path: "/containers/{id}/attach",
      handler: (request, response) => attach(containers, request, response),
    },
    {
      method: "GET",
      path: "/containers/{id}/attach/ws",
      handler: (request, response) => attach(containers, request, response, takeWebsocketClient),
    },
    {
      method: "GET",
      path: "/containers/{id}/logs",
      handler: (request, response) => logs(containers, request, response),
    },
    {
      method: "GET",
      path: "/containers/{id}/stats",
      handler: (request, response) => stats(containers, request, response),
    },
    {
      method: "POST",
      path: "/containers/{id}/wait",
      handler: (request, response) => wait(containers, request, response),
    },
  ];
}

async function attach(
  containers: ContainerEngine,
  request: ApiRequest,
  response: ApiResponse,
  take = takeClient,
): Promise<void> {
  const reference = request.params["id"] ?? "";
  const { terminal, openStdin } = containers.attachInfo(reference);
  const stdout = request.flag("stdout");
  const stderr = request.flag("stderr");
  const { socket, raw, streams } = take(request, response, {
    terminal,
    stdin: openStdin && request.flag("stdin"),
    stdout,
    stderr,
    detachKeys: request.query.get("detachKeys") ?? "",
  });
  if (request.flag("logs")) {
    const past = { stdout, stderr, follow: false, signal: request.signal };
    await pipeLogs(containers.logs(reference, past), socket, raw, false);
  }
  if (request.flag("stream")) await containers.attach(reference, streams).ended;
  socket.end();
}

async function logs(
  containers: ContainerEngine,
  request: ApiRequest,
  response: ApiResponse,
): Promise<void> {
  const reference = request.params["id"] ?? "";
  const stdout = request.flag("stdout");
  const stderr = request.flag("stderr");
  if (!stdout && !stderr) {
    throw new EngineError(
      "invalid-argument",
      "Bad parameters: you must choose at least one stream",
    );
  }
  const terminal = containers.hasTerminal(reference);
  const options: LogOptions = {
    stdout,
    stderr,
    follow: request.flag("follow"),
    details: request.flag("details"),
    since: parseUnixTime(request.query.get("since")),
    until: parseUnixTime(request.query.get("until")),
    tail: parseTail(request.query.get("tail")),
    signal: request.signal,
  };
  const entries = containers.logs(reference, options)[Symbol.asyncIterator]();
  // Asked for the first line before the status line is sent: a refusal is still one.
  const first = entries.next();
  const ready = await Promise.race([first, soon()]);
  const out = response.stream(200, streamType(request, terminal));
  if (ready !== undefined && ready.done) {
    out.end();
    return;
  }
  const timestamps = request.flag("timestamps");
  try {
    await pipeLogs(resume(first, entries), out, terminal, timestamps);
  } catch (error) {
    if (request.signal.aborted) return;
    const text = Buffer.from(`error from daemon in stream: ${messageOf(error)}\n`);
    out.write(terminal ? text : encodeFrame(SYSTEM_ERROR, text));
  }
  out.end();
}

function soon(): Promise<undefined> {
  return new Promise((resolve) => {
    setImmediate(() => resolve(undefined));
  });
}

async function* resume(
  first: Promise<IteratorResult<LogEntry>>,
  rest: AsyncIterator<LogEntry>,
): AsyncGenerator<LogEntry> {
  try {
    for (let next = await first; !next.done; next = await rest.next()) yield next.value;
  } finally {
    await rest.return?.();
  }
}

async function pipeLogs(
  entries: AsyncIterable<LogEntry>,
  out: Writable,
  terminal: boolean,
  timestamps: boolean,
): Promise<void> {
  const batch = new FrameBatch(out, terminal);
  for await (const { stream, time, line } of entries) {
    if (out.destroyed) return;
    const payload = timestamps ? Buffer.concat([Buffer.from(`${time} `), line]) : line;
    if (!batch.push(stream === "stdout" ? STDOUT : STDERR, payload)) await writable(out);
  }
  batch.flush();
}

async function stats(
  containers: ContainerEngine,
  request: ApiRequest,
  response: ApiResponse,
): Promise<void> {
  const stream = request.query.get("stream") === null || request.flag("stream");
  const samples = containers.stats(request.params["id"] ?? "", {
    stream,
    oneShot: !stream && request.flag("one-shot"),
    signal: request.signal,
  });
  const out = response.stream(200, "application/json");
  for await (const sample of samples) {
    if (!out.write(`${JSON.stringify(sample)}\n`)) await writable(out);
    if (request.signal.aborted) return;
  }
  out.end();
}

const CONDITIONS = ["not-running", "next-exit", "removed"] as const;

async function wait(
  containers: ContainerEngine,
  request: ApiRequest,
  response: ApiResponse,
): Promise<void> {
  const text = request.query.get("condition") || "not-running";
  const condition = CONDITIONS.find((name) => name === text);
  if (condition === undefined) {
    throw new EngineError("invalid-argument", `invalid condition: "${text}"`);
  }
  const reference = request.params["id"] ?? "";
  containers.hasTerminal(reference);
  const ended = containers.wait(reference, condition, request.signal);
  // The headers tell the client that we listen: only then it starts the container.
  const out = response.stream(200, "application/json");
  const result = await ended.catch((error: unknown): WaitResult => {
    if (request.signal.aborted) throw error;
    return { statusCode: -1, error: messageOf(error) };
  });
  const failure = result.error === undefined ? {} : { Error: { Message: result.error } };
  out.end(`${JSON.stringify({ StatusCode: result.statusCode, ...failure })}\n`);
}

/** "1700000000", "1700000000.123456789" → nanoseconds; 0n when absent. */
export function parseUnixTime(text: string | null): bigint {
  if (text === null || text === "" || text === "0") return 0n;
  const match = /^(\d{1,12})(?:\.(\d{1,9})\d*)?$/.exec(text);
  if (match === null) {
    throw new EngineError(
      "invalid-argument",
      `strconv.ParseInt: parsing "${text}": invalid syntax`,
    );
  }
  return BigInt(match[1] ?? "0") * 1_000_000_000n + BigInt((match[2] ?? "").padEnd(9, "0"));
}

/** Undefined for "all" and for what is no number, as docker has it. */
function parseTail(text: string | null): number | undefined {
  return text !== null && /^\d{1,9}$/.test(text) ? Number(text) : undefined;
}
