/**
 * The wall clock as the swarm keeps it: what the leader stamps objects with and plans by. It never
 * runs behind what the store holds, so that it does not go back when a leader takes over whose clock
 * is late, or when the clock of a leader is set back. Planners wait for delays from stamps that may
 * be those of an earlier leader, and tell by them which task of a slot came first.
 *
 * The price: a leader whose clock is ahead takes the swarm's clock along, for good. It is used for
 * nothing else: certificates and tokens go by the machine's own clock.
 */

import type { Clock } from "#base/ports.ts";

export class SwarmClock {
  readonly #clock: Pick<Clock, "nowMs">;
  readonly #newestMs: () => number;
  #aheadMs = 0;

  /** `newestMs` tells the newest stamp in the store. */
  constructor(clock: Pick<Clock, "nowMs">, newestMs: () => number) {
    this.#clock = clock;
    this.#newestMs = newestMs;
  }

  nowMs(): number {
    const ownMs = this.#clock.nowMs();
    this.#aheadMs = Math.max(this.#aheadMs, this.#newestMs() - ownMs);
    return ownMs + this.#aheadMs;
  }
}
