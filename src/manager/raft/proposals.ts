/**
 * Who waits for which entry. A leader knows the index of an entry when it proposes it, and a
 * committed entry of the same index and term is that very entry; with another term it is somebody
 * else's, which means that this one, and all that were proposed after it, are lost.
 *
 * A leader that is replaced still sees what the next one commits: its proposals are orphans then, and
 * what became of them is told when it is seen.
 */

import { EngineError } from "#base/error.ts";
import { invariant } from "#base/invariant.ts";
import { type Deferred, deferred } from "#platform/async.ts";
import { NotMade } from "../state.ts";

interface Waiting {
  readonly index: number;
  readonly term: number;
  readonly outcome: Deferred<void>;
}

export class Proposals {
  #waiting: Waiting[] = [];
  #orphaned = false;

  get size(): number {
    return this.#waiting.length;
  }

  /** Whether those that wait are of a reign that has ended. */
  get orphaned(): boolean {
    return this.#orphaned && this.#waiting.length > 0;
  }

  /** Their reign is over; they wait on. */
  orphan(): void {
    this.#orphaned = true;
  }

  /** Resolves when the entry is committed and applied here; rejects when that is not certain. */
  add(index: number, term: number): Promise<void> {
    invariant(index > (this.#waiting.at(-1)?.index ?? 0), "proposals come in order");
    invariant(!this.orphaned, "a reign begins without those of another");
    this.#orphaned = false;
    const outcome = deferred();
    this.#waiting.push({ index, term, outcome });
    // Whoever looks at it through `drained` only may come too late.
    outcome.promise.catch(() => undefined);
    return outcome.promise;
  }

  /** Resolves with the newest proposal; at once if none is under way. */
  drained(): Promise<void> {
    return this.#waiting.at(-1)?.outcome.promise ?? Promise.resolve();
  }

  /** Whether the entry is the oldest proposal, or `overwritten` if it took that one's place. */
  match(index: number, term: number): "mine" | "overwritten" | "foreign" {
    const oldest = this.#waiting[0];
    if (oldest === undefined || oldest.index > index) return "foreign";
    return oldest.index === index && oldest.term === term ? "mine" : "overwritten";
  }

  /** The oldest proposal is applied. */
  resolveOldest(): void {
    this.#waiting.shift()?.outcome.resolve();
  }

  /** The entry of the oldest proposal is committed as nothing. */
  rejectOldest(error: EngineError): void {
    this.#waiting.shift()?.outcome.reject(error);
  }

  /** Gives up the newest ones. */
  failNewest(count: number, error: EngineError): void {
    for (const { outcome } of this.#waiting.splice(this.#waiting.length - count, count)) {
      outcome.reject(error);
    }
  }

  /** Gives up the proposals from `index` on. */
  fail(error: EngineError, index = 0): void {
    const lost = this.#waiting.filter((one) => one.index >= index);
    this.#waiting = this.#waiting.filter((one) => one.index < index);
    for (const { outcome } of lost) outcome.reject(error);
  }
}

export function notLeading(): NotMade {
  return new NotMade("this manager is not the leader of the swarm");
}

export function outcomeUnknown(
  reason = "leadership was lost while the change was on its way",
): EngineError {
  return new EngineError("unavailable", `${reason}; it may or may not have taken effect`);
}

export function notProposed(why: string): NotMade {
  return new NotMade(`the change was not made: ${why}; try again`);
}
