/**
 * A container's or exec's streams on this terminal: the raw stream of a TTY, or docker's multiplexed
 * frames (8-byte header: stream, three zeros, length); standard input forwarded with half-close; the
 * terminal in raw mode while attached; the detach keys (ctrl-p, ctrl-q).
 */

import type { Duplex } from "node:stream";
import { EngineError } from "#base/error.ts";
import type { CommandContext } from "../command.ts";
import type { Hijacked } from "../http.ts";

const HEADER_BYTES = 8;
/** A frame from an engine is at most a log line's buffer; a larger one means we lost the framing. */
const FRAME_MAX_BYTES = 64 * 1024 * 1024;

export interface FrameSink {
  write(stream: "stdout" | "stderr", data: Buffer): void;
}

/** Splits docker's multiplexed stream as it arrives. */
export function createDemultiplexer(sink: FrameSink): (chunk: Buffer) => void {
  let rest: Buffer = Buffer.alloc(0);
  return (chunk) => {
    rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    while (rest.length >= HEADER_BYTES) {
      const length = rest.readUInt32BE(4);
      const kind = rest[0];
      if (kind === undefined || kind > 3 || length > FRAME_MAX_BYTES) {
        throw new EngineError("data-loss", "the engine's stream is not framed as it should be");
      }
      if (rest.length < HEADER_BYTES + length) return;
      const data = rest.subarray(HEADER_BYTES, HEADER_BYTES + length);
      if (kind === 3)
        throw new EngineError("internal", `Error from daemon in stream: ${data.toString()}`);
      sink.write(kind === 2 ? "stderr" : "stdout", data);
      rest = rest.subarray(HEADER_BYTES + length);
    }
  };
}

export interface StreamOptions {
  readonly tty: boolean;
  readonly stdin: boolean;
  /** False: keep the container running without its input when ours ends. */
  readonly detachKeys?: string;
}

/** Copies both ways until the stream ends; "detached" when the detach keys were typed. */
export async function runStreams(
  context: CommandContext,
  stream: Hijacked,
  options: StreamOptions,
): Promise<"ended" | "detached"> {
  const { socket } = stream;
  const rawTerminal = options.tty && options.stdin && context.stdin.isTTY === true;
  const output = outputTo(context, options.tty);
  return new Promise((resolve, reject) => {
    let settled = false;
    const finish = (outcome: "ended" | "detached" | Error) => {
      if (settled) return;
      settled = true;
      stopInput();
      if (rawTerminal) context.stdin.setRawMode?.(false);
      socket.destroy();
      if (outcome instanceof Error) reject(outcome);
      else resolve(outcome);
    };
    if (rawTerminal) context.stdin.setRawMode?.(true);
    const stopInput = options.stdin ? forwardInput(context, socket, rawTerminal, finish) : () => {};
    const onData = (chunk: Buffer) => {
      try {
        output(chunk);
      } catch (error) {
        finish(error as Error);
      }
    };
    if (stream.head.length > 0) onData(stream.head);
    socket.on("data", onData);
    socket.on("end", () => finish("ended"));
    socket.on("close", () => finish("ended"));
    socket.on("error", (error: Error) => finish(error));
  });
}

function outputTo(context: CommandContext, tty: boolean): (chunk: Buffer) => void {
  if (tty) return (chunk) => void context.stdout.write(chunk);
  return createDemultiplexer({
    write: (name, data) => void (name === "stderr" ? context.stderr : context.stdout).write(data),
  });
}

const CTRL_P = 0x10;
const CTRL_Q = 0x11;

function forwardInput(
  context: CommandContext,
  socket: Duplex,
  watchKeys: boolean,
  finish: (outcome: "detached") => void,
): () => void {
  let sawCtrlP = false;
  const onData = (chunk: Buffer) => {
    if (watchKeys) {
      if (sawCtrlP && chunk[0] === CTRL_Q) return finish("detached");
      sawCtrlP = chunk.length === 1 && chunk[0] === CTRL_P;
    }
    if (!socket.write(chunk)) {
      context.stdin.pause();
      socket.once("drain", () => context.stdin.resume());
    }
  };
  const onEnd = () => socket.end();
  context.stdin.on("data", onData);
  context.stdin.on("end", onEnd);
  context.stdin.resume();
  return () => {
    context.stdin.off("data", onData);
    context.stdin.off("end", onEnd);
    context.stdin.pause();
  };
}

/** Tells the engine the terminal's size now and whenever it changes; returns what stops that. */
export function followSize(context: CommandContext, resizePath: string): () => void {
  const send = () => {
    const { columns, rows } = context.stdout;
    if (columns === undefined || rows === undefined) return;
    void context.client
      .post(resizePath, undefined, { query: { h: rows, w: columns } })
      .catch(() => undefined);
  };
  send();
  context.stdout.on("resize", send);
  return () => void context.stdout.off("resize", send);
}
