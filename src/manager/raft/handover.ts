/** How a leader gives its leadership to another member, and waits until that has it. */

import { EngineError } from "#base/error.ts";
import type { Clock } from "#base/ports.ts";
import type { Driver } from "./driver.ts";
import { notLeading } from "./proposals.ts";

export interface HandoverOptions {
  /** Undefined until the member has its place in the group. */
  readonly driver: () => Driver | undefined;
  /** How long the other may take. */
  readonly timeoutMs: number;
  /** Ends every wait. */
  readonly closing: AbortSignal;
  readonly clock: Clock;
}

export class Handover {
  readonly #options: HandoverOptions;
  /** Callbacks of those who wait for another role or leader. */
  readonly #waiters = new Set<() => void>();

  constructor(options: HandoverOptions) {
    this.#options = options;
  }

  /** Leadership, the leader or the term may have changed. */
  roleChanged(): void {
    for (const wake of this.#waiters) wake();
  }

  /** Hands leadership to the voter that is furthest and was heard of lately. */
  async transfer(): Promise<void> {
    const driver = this.#options.driver();
    if (driver === undefined || !driver.leads) throw notLeading();
    const { progress, id: self } = driver.status();
    const candidates = [...progress]
      .filter(([id, state]) => id !== self && !state.isLearner && state.recentActive)
      .toSorted(([, a], [, b]) => b.match - a.match);
    const target = candidates[0]?.[0];
    if (target === undefined) {
      throw new EngineError("failed-precondition", "no other manager can take the leadership");
    }
    driver.transferTo(target);
    await this.#until(() => !driver.leads);
    if (driver.leads) {
      throw new EngineError("unavailable", "the other manager did not take the leadership in time");
    }
  }

  /** Resolves when the condition holds after a change of role, or when time is up. */
  async #until(condition: () => boolean): Promise<void> {
    if (condition()) return;
    const { clock, timeoutMs, closing } = this.#options;
    await new Promise<void>((resolve) => {
      const end = () => {
        this.#waiters.delete(look);
        timer.cancel();
        closing.removeEventListener("abort", end);
        resolve();
      };
      const look = () => {
        if (condition()) end();
      };
      const timer = clock.setTimer(timeoutMs, end);
      this.#waiters.add(look);
      closing.addEventListener("abort", end, { once: true });
    });
  }
}
