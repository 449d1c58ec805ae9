/**
 * Where the output of a process goes: into its log, and to everybody who is attached. Who attaches
 * before the start sees everything; who is slow slows the process down, as docker has it, rather
 * than losing output; who goes away is forgotten.
 */

import { deferred } from "#platform/async.ts";
import type { OutputSink, OutputStream } from "./process-io.ts";

export interface Listener extends OutputSink {
  /** The process has ended; nothing more comes. */
  end(): void;
}

export class OutputHub implements OutputSink {
  readonly #listeners = new Set<Listener>();

  get size(): number {
    return this.#listeners.size;
  }

  add(listener: Listener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  write(stream: OutputStream, chunk: Uint8Array): Promise<void> | undefined {
    const behind: Promise<void>[] = [];
    for (const listener of this.#listeners) {
      const wait = listener.write(stream, chunk);
      if (wait !== undefined) behind.push(wait);
    }
    if (behind.length === 0) return undefined;
    return behind.length === 1 ? behind[0] : Promise.all(behind).then(() => undefined);
  }

  /** Tells everybody that it is over, and forgets them. */
  end(): void {
    const listeners = [...this.#listeners];
    this.#listeners.clear();
    for (const listener of listeners) listener.end();
  }
}

/** Writes to both; behind when either is. */
export function tee(first: OutputSink, second: OutputSink): OutputSink {
  return {
    write: (stream, chunk) => {
      const a = first.write(stream, chunk);
      const b = second.write(stream, chunk);
      if (a === undefined) return b;
      return b === undefined ? a : Promise.all([a, b]).then(() => undefined);
    },
  };
}

/** Resolves when a writable stream wants more, or is gone. */
export function drained(stream: NodeJS.WritableStream & { destroyed?: boolean }): Promise<void> {
  if (stream.destroyed) return Promise.resolve();
  const done = deferred();
  const wake = () => {
    stream.removeListener("drain", wake);
    stream.removeListener("close", wake);
    stream.removeListener("error", wake);
    done.resolve();
  };
  stream.once("drain", wake);
  stream.once("close", wake);
  stream.once("error", wake);
  return done.promise;
}
