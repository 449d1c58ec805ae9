/**
 * Connects a client's stream with a process: its input to the process's, until the client closes it
 * or types the detach keys, the process's output to the client, until the process ends. Used by
 * attach and by exec; the framing of the output is the client's.
 */

import type { Readable } from "node:stream";
import { deferred } from "#platform/async.ts";
import { DEFAULT_DETACH_KEYS, DetachScanner, parseDetachKeys } from "#wire/detach-keys.ts";
import type { OutputHub } from "./output-hub.ts";
import type { OutputStream, ProcessIo } from "./process-io.ts";

/** What the API hands over: where output goes, and where input comes from. */
export interface ClientStreams {
  readonly stdin: Readable | undefined;
  readonly stdout: boolean;
  readonly stderr: boolean;
  /** Sends output to the client; a promise while the client is behind. */
  readonly write: (stream: OutputStream, chunk: Uint8Array) => Promise<void> | undefined;
  /** "ctrl-p,ctrl-q"; "" = the default. Looked for on terminals only. */
  readonly detachKeys: string;
  /** Aborted when the client goes away. */
  readonly signal: AbortSignal;
}

export interface AttachTarget {
  readonly hub: OutputHub;
  readonly terminal: boolean;
  /** The end of the client's input is the end of the process's, unless that has a terminal. */
  readonly stdinOnce: boolean;
  /** Resolves when input may be written. */
  readonly ready: () => Promise<unknown>;
  readonly io: () => ProcessIo | undefined;
}

/** Why a session ended. */
export type SessionEnd = "process-ended" | "detached" | "client-gone";

export interface Session {
  readonly ended: Promise<SessionEnd>;
}

/** Listens at once; the input flows from when the process is there. */
export function openSession(target: AttachTarget, client: ClientStreams): Session {
  const end = deferred<SessionEnd>();
  const remove = target.hub.add({
    write: (stream, chunk) => {
      const wanted = stream === "stdout" ? client.stdout : client.stderr;
      return wanted ? client.write(stream, chunk) : undefined;
    },
    end: () => end.resolve("process-ended"),
  });
  const gone = () => end.resolve("client-gone");
  client.signal.addEventListener("abort", gone, { once: true });
  if (client.signal.aborted) gone();
  const { stdin } = client;
  if (stdin !== undefined) {
    void (async () => {
      const outcome = await feed(target, stdin, client.detachKeys);
      if (outcome === "detached") end.resolve("detached");
      // A client that only sends has nothing more to do here, nor has one whose terminal is gone.
      else if (target.terminal || (!client.stdout && !client.stderr)) end.resolve("client-gone");
    })();
  }
  const ended = end.promise.finally(() => {
    remove();
    client.signal.removeEventListener("abort", gone);
  });
  return { ended };
}

async function feed(
  target: AttachTarget,
  stdin: Readable,
  detachKeys: string,
): Promise<"detached" | "ended"> {
  const scanner = target.terminal
    ? new DetachScanner(parseDetachKeys(detachKeys || DEFAULT_DETACH_KEYS))
    : undefined;
  // A terminal has no end: docker's own command knows the detach keys, and just hangs up.
  const ends = target.stdinOnce && !target.terminal;
  const input = new TypedInput(stdin);
  try {
    await target.ready();
    for await (const chunk of input.chunks()) {
      const { pass, detached } = scanner?.push(chunk) ?? { pass: chunk, detached: false };
      if (pass.length > 0) await target.io()?.writeStdin(pass);
      if (detached) return "detached";
    }
  } catch {
    // A process that has gone reads no more, and one that did not start never did.
  } finally {
    input.stop();
  }
  // Also when the client broke off: for the process that is the end of its input, if it had but one.
  const ending = ends ? target.io()?.endStdin() : undefined;
  await ending?.catch(() => undefined);
  return "ended";
}

/** Of a client's input that waits for the process; the client is slowed down beyond. */
const WAITING_MAX_BYTES = 64 * 1024;

/**
 * A client's input, up to its last byte: who types a line and leaves at once has typed the line, though
 * the connection may be gone before the process reads. A stream that is closed forgets what it holds.
 * Leaves the connection open: output is still on its way.
 */
class TypedInput {
  readonly #stdin: Readable;
  readonly #waiting: Uint8Array[] = [];
  #bytes = 0;
  #over = false;
  #wake = (): void => undefined;

  constructor(stdin: Readable) {
    this.#stdin = stdin;
    this.#over = stdin.destroyed || stdin.readableEnded;
    stdin.on("data", this.#onData);
    for (const event of ["end", "close", "error"] as const) stdin.on(event, this.#onOver);
  }

  readonly #onData = (chunk: Uint8Array): void => {
    this.#waiting.push(chunk);
    this.#bytes += chunk.length;
    if (this.#bytes >= WAITING_MAX_BYTES) this.#stdin.pause();
    this.#wake();
  };

  readonly #onOver = (): void => {
    this.#over = true;
    this.#wake();
  };

  async *chunks(): AsyncGenerator<Uint8Array, void, void> {
    for (;;) {
      const chunk = this.#waiting.shift();
      if (chunk !== undefined) {
        this.#bytes -= chunk.length;
        if (this.#stdin.isPaused() && this.#bytes < WAITING_MAX_BYTES) this.#stdin.resume();
        yield chunk;
      } else if (this.#over) return;
      else await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  stop(): void {
    this.#stdin.off("data", this.#onData);
    // An error of the connection, which is told by its end, must find somebody who listens.
    for (const event of ["end", "close"] as const) this.#stdin.off(event, this.#onOver);
    this.#waiting.length = 0;
  }
}
