/** A bell for "something changed": waits for a condition to come true without polling for it. */

import type { Clock } from "#base/ports.ts";

export class Changes {
  readonly #waiting = new Set<() => void>();

  notify(): void {
    for (const check of this.#waiting) check();
  }

  /**
   * Resolves to true when the condition holds, false when the signal was aborted before. The
   * condition is looked at now and after each `notify`.
   */
  until(condition: () => boolean, signal: AbortSignal): Promise<boolean> {
    return new Promise((resolve) => {
      const finish = (value: boolean) => {
        this.#waiting.delete(check);
        signal.removeEventListener("abort", stop);
        resolve(value);
      };
      const check = () => {
        if (condition()) finish(true);
      };
      const stop = () => finish(false);
      if (signal.aborted) return resolve(false);
      if (condition()) return resolve(true);
      this.#waiting.add(check);
      signal.addEventListener("abort", stop, { once: true });
    });
  }

  /** As `until`, for `timeoutMs` at most. */
  async within(
    timeoutMs: number,
    condition: () => boolean,
    clock: Clock,
    signal: AbortSignal,
  ): Promise<boolean> {
    const giveUp = new AbortController();
    const stop = () => giveUp.abort();
    signal.addEventListener("abort", stop, { once: true });
    if (signal.aborted) stop();
    const timer = clock.setTimer(timeoutMs, stop);
    try {
      return await this.until(condition, giveUp.signal);
    } finally {
      timer.cancel();
      signal.removeEventListener("abort", stop);
    }
  }
}
