/**
 * A container's or exec's streams on this terminal: the raw stream of a TTY, or docker's multiplexed
 * frames (8-byte header: stream, three zeros, length); standard input forwarded with half-close; the
 * terminal in raw mode while attached; the detach keys.
 */

import { spawnSync } from "node:child_process";
import type { Duplex } from "node:stream";
import { EngineError } from "#base/error.ts";
import { DEFAULT_DETACH_KEYS, DetachScanner, parseDetachKeys } from "#wire/detach-keys.ts";
import type { CommandContext } from "../command.ts";
import { readConfigFile } from "../config-file.ts";
import type { Hijacked } from "../http.ts";
import type { FlagSpec } from "../pflag.ts";

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
}

export const DETACH_KEYS_FLAG: FlagSpec = {
  name: "detach-keys",
  kind: "string",
  usage: "Keys that leave the container running: letters, or ctrl- and a letter, with commas",
};

/** What `attach` and `exec` say of a user who left. */
export const DETACHED = "read escape sequence";

/** As the user has set them, on the command line or for all commands; undefined: the engine's own. */
export function detachKeysOf({ env, flags }: CommandContext): string | undefined {
  const keys = flags.string("detach-keys") ?? readConfigFile(env).detachKeys ?? "";
  return keys === "" ? undefined : keys;
}

/** A terminal for a container needs one here. */
export function requireTerminal({ stdin }: CommandContext, options: StreamOptions): void {
  if (!options.tty || !options.stdin || stdin.isTTY === true) return;
  throw new EngineError("failed-precondition", "the input device is not a TTY");
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
      // What was typed before the keys is still to be sent.
      if (outcome === "detached") socket.end(() => socket.destroy());
      else socket.destroy();
      if (outcome instanceof Error) reject(outcome);
      else resolve(outcome);
    };
    if (rawTerminal) makeRaw(context.stdin);
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

/** Node's raw mode still turns line feeds into two characters, which full-screen programs do not mean. */
function makeRaw(stdin: CommandContext["stdin"]): void {
  stdin.setRawMode?.(true);
  // The output is the same terminal. Without a `stty`, it is as good as Node makes it.
  spawnSync("stty", ["-opost"], { stdio: ["inherit", "ignore", "ignore"] });
}

function forwardInput(
  context: CommandContext,
  socket: Duplex,
  watchKeys: boolean,
  finish: (outcome: "detached") => void,
): () => void {
  const scanner = watchKeys ? new DetachScanner(keysToWatch(context)) : undefined;
  const onData = (chunk: Buffer) => {
    const { pass, detached } = scanner?.push(chunk) ?? { pass: chunk, detached: false };
    if (pass.length > 0 && !socket.write(pass)) {
      context.stdin.pause();
      socket.once("drain", () => context.stdin.resume());
    }
    if (detached) finish("detached");
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

/** The engine has refused bad ones by now, if it was told. */
function keysToWatch(context: CommandContext): Uint8Array {
  return parseDetachKeys(detachKeysOf(context) ?? DEFAULT_DETACH_KEYS);
}

/**
 * Tells the engine the terminal's size now and whenever it changes; returns what stops that. With
 * `redraw`, a program that has drawn for that size before is made to draw again, by another size between.
 */
export function followSize(
  context: CommandContext,
  resizePath: string,
  redraw = false,
): () => void {
  let sent: Promise<unknown> = Promise.resolve();
  const send = (more = 0) => {
    const { columns, rows } = context.stdout;
    if (columns === undefined || rows === undefined) return;
    const query = { h: rows + more, w: columns };
    // In their order: the last is what holds.
    sent = sent
      .then(() => context.client.post(resizePath, undefined, { query }))
      .catch(() => undefined);
  };
  const onResize = () => send();
  if (redraw) send(1);
  send();
  context.stdout.on("resize", onResize);
  return () => void context.stdout.off("resize", onResize);
}
