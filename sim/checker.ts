/**
 * The laws of Raft, checked while the simulation runs. It sees every entry that a node stores or
 * applies, every leader, and every acknowledgement to a client, and remembers one truth: what was
 * applied at each index by whoever came first.
 *
 *   election safety         one leader per term
 *   log matching            same index and term: same entry, and same entry before it
 *   leader completeness     a new leader has everything that was committed in earlier terms
 *   state-machine safety    all apply the same entry at the same index, without gaps
 *   durability              an acknowledged write is never lost
 *   linearizability         a read sees every write that was acknowledged before it began
 *   liveness                once faults end, the group works again (checked by `world.ts`)
 */

import type { Entry, NodeId, Snapshot } from "#raft/index.ts";

export type Law =
  | "election safety"
  | "log matching"
  | "leader completeness"
  | "state-machine safety"
  | "durability"
  | "linearizability"
  | "liveness"
  | "allocation"
  | "availability"
  | "surge"
  | "traffic"
  | "jobs"
  | "order"
  | "placement"
  | "secrecy"
  | "invariant";

/** Thrown to end a run at the first breach. */
export class Violation extends Error {
  override readonly name = "Violation";
  readonly law: Law;

  constructor(law: Law, message: string) {
    super(`${law}: ${message}`);
    this.law = law;
  }
}

interface Seen {
  readonly digest: string;
  readonly previousTerm: number;
}

interface Applied {
  readonly term: number;
  /** Of the state after the entry: equal states mean equal histories. */
  readonly state: number;
  /** A term in or before which the entry was surely committed. */
  readonly committedIn: number;
}

export class Checker {
  readonly #leaders = new Map<number, NodeId>();
  readonly #entries = new Map<string, Seen>();
  /** By index. */
  readonly #truth = new Map<number, Applied>();
  #firstIndex = 1;
  #lastIndex = 0;
  #lastAcked = 0;
  writesAcked = 0;
  readsAnswered = 0;

  /** The state that all nodes start from covers everything up to `index`. */
  startFrom(index: number): void {
    this.#firstIndex = index + 1;
    this.#lastIndex = index;
  }

  /** Highest index that a client was told is safe. */
  get lastAcked(): number {
    return this.#lastAcked;
  }

  get lastApplied(): number {
    return this.#lastIndex;
  }

  get terms(): number {
    return this.#leaders.size;
  }

  leads(id: NodeId, term: number, log: LogView): void {
    const known = this.#leaders.get(term);
    if (known === id) return;
    if (known !== undefined) {
      throw new Violation("election safety", `n${known} and n${id} both lead term ${term}`);
    }
    this.#leaders.set(term, id);
    for (
      let index = Math.max(log.firstIndex, this.#firstIndex);
      index <= this.#lastIndex;
      index++
    ) {
      const committed = this.#truth.get(index);
      if (committed === undefined || committed.committedIn >= term) continue;
      const own = log.termAt(index);
      if (own === committed.term) continue;
      throw new Violation(
        "leader completeness",
        `n${id} leads term ${term} without committed entry ${committed.term}/${index} (has term ${own ?? "none"} there)`,
      );
    }
  }

  /** A node stores `entry` behind an entry of `previousTerm`. */
  stores(id: NodeId, entry: Entry, previousTerm: number): void {
    const key = `${entry.term}/${entry.index}`;
    const digest = digestOf(entry);
    const seen = this.#entries.get(key);
    if (seen === undefined) {
      this.#entries.set(key, { digest, previousTerm });
    } else if (seen.digest !== digest) {
      throw new Violation("log matching", `n${id} stores another entry as ${key}`);
    } else if (seen.previousTerm !== previousTerm) {
      throw new Violation(
        "log matching",
        `n${id} stores ${key} after term ${previousTerm}, others after ${seen.previousTerm}`,
      );
    }
  }

  /** `state` is the node's after the entry, `nodeTerm` its current term. */
  applies(id: NodeId, entry: Entry, previous: number, state: number, nodeTerm: number): void {
    const { index, term } = entry;
    if (index !== previous + 1) {
      throw new Violation("state-machine safety", `n${id} applies ${index} after ${previous}`);
    }
    const known = this.#truth.get(index);
    if (known === undefined) {
      this.#truth.set(index, { term, state, committedIn: nodeTerm });
      this.#lastIndex = Math.max(this.#lastIndex, index);
    } else if (known.term !== term || known.state !== state) {
      throw new Violation(
        "state-machine safety",
        `n${id} applies ${term}/${index}, others applied ${known.term}/${index} there`,
      );
    }
  }

  /** A node takes over a state from another one. */
  restores(id: NodeId, { metadata: { index, term } }: Snapshot, state: number): void {
    const known = this.#truth.get(index);
    if (known === undefined || (known.term === term && known.state === state)) return;
    throw new Violation(
      "state-machine safety",
      `n${id} restores a snapshot at ${term}/${index}, others applied ${known.term}/${index}`,
    );
  }

  acks(index: number): void {
    this.writesAcked++;
    this.#lastAcked = Math.max(this.#lastAcked, index);
  }

  /** A read that began when `floor` was acknowledged was answered from the state at `index`. */
  answersRead(id: NodeId, index: number, floor: number): void {
    this.readsAnswered++;
    if (index < floor) {
      throw new Violation(
        "linearizability",
        `n${id} answers a read from index ${index}, but ${floor} was acknowledged before it began`,
      );
    }
  }
}

/** A node's log as far as it is not compacted. */
export interface LogView {
  readonly firstIndex: number;
  termAt(index: number): number | undefined;
}

function digestOf({ type, data }: Entry): string {
  let hash = data.length;
  for (const byte of data) hash = (Math.imul(hash, 31) + byte) | 0;
  return `${type}:${hash}`;
}
