/**
 * First packets that were on their way when their backend left the balance. Those that are lost shall
 * find another backend when they are sent again, so the kernel has to forget where they were led. But
 * the kernel forgets a connection whatever has become of it since it was looked at: one that is being
 * answered at that moment would be torn in two, and its client's next packet reset. So they are given
 * time to be answered, which is far less than a second, after which the first is sent again.
 */

import type { Clock, Timer } from "#base/ports.ts";
import type { LostFlow } from "#plan/dataplane/lost-flows.ts";

export const ANSWER_MS = 400;
/** Waiting at once; a burst beyond it is left to the connections' own timeouts. */
const WAITING_MAX = 1_000;

export class HalfOpenCuts {
  readonly #clock: Clock;
  readonly #cut: (flows: readonly LostFlow[]) => Promise<void>;
  readonly #timers = new Set<Timer>();

  /** `cut` does not reject. */
  constructor(clock: Clock, cut: (flows: readonly LostFlow[]) => Promise<void>) {
    this.#clock = clock;
    this.#cut = cut;
  }

  /** Cuts those of the flows that `lost` tells of still when they have had their time. */
  later(flows: readonly LostFlow[], lost: () => readonly LostFlow[]): void {
    if (flows.length === 0 || this.#timers.size >= WAITING_MAX) return;
    const timer = this.#clock.setTimer(ANSWER_MS, () => {
      this.#timers.delete(timer);
      const still = new Set(lost().map(keyOf));
      void this.#cut(flows.filter((flow) => still.has(keyOf(flow))));
    });
    this.#timers.add(timer);
  }

  close(): void {
    for (const timer of this.#timers) timer.cancel();
    this.#timers.clear();
  }
}

function keyOf({ containerId, protocol, virtual, backend }: LostFlow): string {
  return JSON.stringify([containerId, protocol, virtual, backend]);
}
