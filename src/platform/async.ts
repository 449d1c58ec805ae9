/** Small pieces for asynchronous drivers: a deferred promise, a bounded queue, a lock per key. */

import { EngineError } from "#base/error.ts";
import type { Clock } from "#base/ports.ts";

export interface Deferred<T> {
  readonly promise: Promise<T>;
  resolve(value: T): void;
  reject(reason: unknown): void;
}

export function deferred<T = void>(): Deferred<T> {
  let resolve!: (value: T) => void;
  let reject!: (reason: unknown) => void;
  const promise = new Promise<T>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
}

/** Resolves after `delayMs`; rejects with the signal's reason when that is aborted first. */
export function sleep(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason as Error);
    const timer = clock.setTimer(delayMs, () => {
      signal?.removeEventListener("abort", stop);
      resolve();
    });
    const stop = () => {
      timer.cancel();
      reject(signal?.reason as Error);
    };
    signal?.addEventListener("abort", stop, { once: true });
  });
}

/** Node's timers hold 31 bits. */
const TIMER_MAX_MS = 2 ** 31 - 1;

/** Whether the event comes within so many milliseconds; what it fails with before is thrown. */
export async function within(
  clock: Clock,
  event: Promise<unknown>,
  timeoutMs: number,
): Promise<boolean> {
  const stop = new AbortController();
  const late = sleep(clock, Math.min(timeoutMs, TIMER_MAX_MS), stop.signal).then(
    () => false,
    () => false,
  );
  try {
    return await Promise.race([event.then(() => true), late]);
  } finally {
    stop.abort();
  }
}

/** A single-consumer queue: `push` never blocks, iteration waits, and more than `max` is refused. */
export class AsyncQueue<T> implements AsyncIterable<T> {
  readonly #items: T[] = [];
  readonly #max: number;
  #waiting: Deferred<void> | undefined;
  #ended = false;
  #error: unknown;

  constructor(max: number) {
    this.#max = max;
  }

  get size(): number {
    return this.#items.length;
  }

  /** False when the queue is full or over; the caller decides what is lost. */
  push(item: T): boolean {
    if (this.#ended || this.#items.length >= this.#max) return false;
    this.#items.push(item);
    this.#wake();
    return true;
  }

  /** No more items; the consumer reads what is left, then ends, or throws `error`. */
  end(error?: unknown): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error;
    this.#wake();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T> {
    try {
      for (;;) {
        while (this.#items.length > 0) yield this.#items.shift() as T;
        if (this.#ended) {
          if (this.#error !== undefined) throw this.#error;
          return;
        }
        this.#waiting = deferred();
        await this.#waiting.promise;
      }
    } finally {
      this.#ended = true;
    }
  }

  #wake(): void {
    this.#waiting?.resolve();
    this.#waiting = undefined;
  }
}

/** Runs critical sections one after another per key; different keys run side by side. */
export class KeyedLock {
  readonly #tails = new Map<string, Promise<void>>();

  async run<T>(key: string, section: () => Promise<T>): Promise<T> {
    const before = this.#tails.get(key) ?? Promise.resolve();
    const mine = deferred();
    const tail = before.then(() => mine.promise);
    this.#tails.set(key, tail);
    await before;
    try {
      return await section();
    } finally {
      mine.resolve();
      if (this.#tails.get(key) === tail) this.#tails.delete(key);
    }
  }
}

/** Runs at most `limit` sections at once; the rest wait in order. */
export class Semaphore {
  #limit: number;
  /** Negative after a limit was lowered below what runs. */
  #free: number;
  readonly #queue: Deferred<void>[] = [];

  constructor(limit: number) {
    if (limit < 1) throw new EngineError("internal", "a semaphore needs room for one");
    this.#limit = limit;
    this.#free = limit;
  }

  /** From now on; what runs is not touched. */
  setLimit(limit: number): void {
    if (limit < 1) throw new EngineError("internal", "a semaphore needs room for one");
    this.#free += limit - this.#limit;
    this.#limit = limit;
    this.#admit();
  }

  async run<T>(section: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free -= 1;
    else {
      const turn = deferred();
      this.#queue.push(turn);
      await turn.promise;
    }
    try {
      return await section();
    } finally {
      this.#free += 1;
      this.#admit();
    }
  }

  #admit(): void {
    while (this.#free > 0) {
      const next = this.#queue.shift();
      if (next === undefined) return;
      this.#free -= 1;
      next.resolve();
    }
  }
}
