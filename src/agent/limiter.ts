/**
 * At most `limit` holders at once; the rest wait in order. A waiter whose signal is aborted leaves
 * the queue at once, so that a task told to stop never waits for pulls of others to finish.
 */

import { invariant } from "#base/invariant.ts";
import { type Deferred, deferred } from "#platform/async.ts";

export class Limiter {
  #free: number;
  readonly #queue: Deferred<void>[] = [];

  constructor(limit: number) {
    invariant(limit >= 1, "a limiter needs room for one");
    this.#free = limit;
  }

  async run<T>(signal: AbortSignal, section: () => Promise<T>): Promise<T> {
    await this.#acquire(signal);
    try {
      return await section();
    } finally {
      this.#release();
    }
  }

  async #acquire(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.#free > 0) {
      this.#free -= 1;
      return;
    }
    const turn = deferred();
    const leave = () => {
      const at = this.#queue.indexOf(turn);
      if (at < 0) return;
      this.#queue.splice(at, 1);
      turn.reject(signal.reason);
    };
    this.#queue.push(turn);
    signal.addEventListener("abort", leave, { once: true });
    try {
      await turn.promise;
    } finally {
      signal.removeEventListener("abort", leave);
    }
  }

  #release(): void {
    const next = this.#queue.shift();
    if (next === undefined) this.#free += 1;
    else next.resolve();
  }
}
