/** Aborts when something expected does not happen in time, or with its parent. */

import type { Clock } from "#base/ports.ts";

export class Watchdog {
  readonly #clock: Clock;
  readonly #controller = new AbortController();
  readonly #parent: AbortSignal;
  readonly #abort = () => this.#controller.abort();
  #timer: { cancel(): void } | undefined;

  constructor(clock: Clock, parent: AbortSignal) {
    this.#clock = clock;
    this.#parent = parent;
    if (parent.aborted) this.#abort();
    parent.addEventListener("abort", this.#abort, { once: true });
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** What is expected now shall happen within so long. */
  expect(withinMs: number): void {
    this.#timer?.cancel();
    this.#timer = this.#clock.setTimer(withinMs, this.#abort);
  }

  stop(): void {
    this.#timer?.cancel();
    this.#parent.removeEventListener("abort", this.#abort);
  }
}
