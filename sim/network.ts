/**
 * A network that loses, doubles, delays and reorders messages, and cuts links in one direction or
 * both. Messages are never changed: corruption is the transport's to detect.
 */

import type { Message, NodeId } from "#raft/index.ts";
import type { Profile } from "./profile.ts";
import type { SeededRandom } from "./random.ts";
import type { Timeline } from "./timeline.ts";

const LATE_MS = [200, 4_000] as const;
const CALM_MS = [1, 10] as const;

/** What became of a message; the sender may learn it. */
export type Fate = "delivered" | "lost";

export class Network {
  readonly #timeline: Timeline;
  readonly #random: SeededRandom;
  readonly #profile: Profile;
  readonly #deliver: (m: Message) => void;
  /** Links that are down, as "from>to". */
  readonly #cuts = new Set<string>();
  /** When the last message of an ordered link arrives. */
  readonly #lastArrival = new Map<string, number>();
  #isCalm = false;

  constructor(
    timeline: Timeline,
    random: SeededRandom,
    profile: Profile,
    deliver: (m: Message) => void,
  ) {
    this.#timeline = timeline;
    this.#random = random;
    this.#profile = profile;
    this.#deliver = deliver;
  }

  /** Sends; the fate is that of the first copy, whether or not a second one follows. */
  send(m: Message): Fate {
    const { loss, duplication } = this.#profile;
    if (!this.#isCalm && this.#random.chance(duplication)) this.#fly(m);
    if (this.#cuts.has(`${m.from}>${m.to}`)) return "lost";
    if (!this.#isCalm && this.#random.chance(loss)) return "lost";
    this.#fly(m);
    return "delivered";
  }

  cut(from: NodeId, to: NodeId): void {
    this.#cuts.add(`${from}>${to}`);
  }

  mend(): void {
    this.#cuts.clear();
  }

  /** No more faults from now on; what is in flight still arrives. */
  calm(): void {
    this.#isCalm = true;
    this.mend();
  }

  #fly(m: Message): void {
    this.#timeline.after(this.#delayOf(m), () => {
      // A cut also stops what is under way.
      if (!this.#cuts.has(`${m.from}>${m.to}`)) this.#deliver(m);
    });
  }

  #delayOf(m: Message): number {
    const { latencyMs, lateness, isOrdered } = this.#profile;
    if (!this.#isCalm && this.#random.chance(lateness)) return this.#random.between(...LATE_MS);
    const delay = this.#random.between(...(this.#isCalm ? CALM_MS : latencyMs));
    if (!isOrdered && !this.#isCalm) return delay;
    // As on one connection: not before what was sent earlier on the same link.
    const link = `${m.from}>${m.to}`;
    const { now } = this.#timeline;
    const arrival = Math.max(now + delay, this.#lastArrival.get(link) ?? 0);
    this.#lastArrival.set(link, arrival);
    return arrival - now;
  }
}
