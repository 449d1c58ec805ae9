/** A clock that stands still until a test moves it; timers fire in order of their time. */

import type { Clock, Timer } from "#base/ports.ts";

interface Waiting {
  readonly atMs: number;
  readonly callback: () => void;
}

export class ManualClock implements Clock {
  #nowMs: number;
  readonly #epochMs: number;
  readonly #timers = new Set<Waiting>();

  constructor(epochMs = Date.parse("2026-01-01T00:00:00Z")) {
    this.#epochMs = epochMs;
    this.#nowMs = 0;
  }

  nowMs(): number {
    return this.#epochMs + this.#nowMs;
  }

  monotonicMs(): number {
    return this.#nowMs;
  }

  setTimer(delayMs: number, callback: () => void): Timer {
    const timer = { atMs: this.#nowMs + Math.max(0, delayMs), callback };
    this.#timers.add(timer);
    return { cancel: () => this.#timers.delete(timer) };
  }

  /** Timers that are set. */
  get pending(): number {
    return this.#timers.size;
  }

  /** Moves on, firing each timer at its time and letting what it starts run in between. */
  async advance(byMs: number): Promise<void> {
    const endMs = this.#nowMs + byMs;
    await turn();
    for (;;) {
      const next = [...this.#timers]
        .filter(({ atMs }) => atMs <= endMs)
        .sort((a, b) => a.atMs - b.atMs)[0];
      if (next === undefined) break;
      this.#nowMs = Math.max(this.#nowMs, next.atMs);
      this.#timers.delete(next);
      next.callback();
      await turn();
    }
    this.#nowMs = endMs;
    await turn();
  }

  /** Time passes at once, as after a suspended process: timers that are late fire late. */
  async leap(byMs: number): Promise<void> {
    this.#nowMs += byMs;
    for (const timer of [...this.#timers].filter(({ atMs }) => atMs <= this.#nowMs)) {
      if (this.#timers.delete(timer)) timer.callback();
    }
    await turn();
  }
}

/** Lets everything that is ready run. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
