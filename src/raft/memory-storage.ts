/**
 * Storage in memory: what drivers keep in front of their disk, and what tests use alone. Mutations
 * are the driver's; the core only reads.
 *
 * Invariant: `#entries[0]` is not an entry but the place (term, index) of the last compacted one.
 */

import { invariant } from "#base/invariant.ts";
import { isContiguous, takeWithin } from "./entries.ts";
import { EMPTY_BYTES, EMPTY_HARD_STATE, EMPTY_SNAPSHOT } from "./message.ts";
import type { ConfState, Entry, HardState, OutOfLog, Snapshot, Storage } from "./types.ts";

export class MemoryStorage implements Storage {
  #hardState: HardState = EMPTY_HARD_STATE;
  #snapshot: Snapshot = EMPTY_SNAPSHOT;
  #entries: Entry[] = [place(0, 0)];

  initialState(): { readonly hardState: HardState; readonly confState: ConfState } {
    return { hardState: this.#hardState, confState: this.#snapshot.metadata.confState };
  }

  firstIndex(): number {
    return this.#offset() + 1;
  }

  lastIndex(): number {
    return this.#offset() + this.#entries.length - 1;
  }

  term(index: number): number | OutOfLog {
    const offset = this.#offset();
    if (index < offset) return "compacted";
    return this.#entries[index - offset]?.term ?? "unavailable";
  }

  entries(lo: number, hi: number, maxSize: number): readonly Entry[] | OutOfLog {
    const offset = this.#offset();
    if (lo <= offset) return "compacted";
    invariant(hi <= this.lastIndex() + 1, "reads stay within the log");
    if (this.#entries.length === 1) return "unavailable";
    return takeWithin(this.#entries, lo - offset, hi - offset, maxSize);
  }

  snapshot(): Snapshot {
    return this.#snapshot;
  }

  setHardState(state: HardState): void {
    this.#hardState = state;
  }

  /** Replaces everything by a snapshot; false if it is older than the one held. */
  applySnapshot(snapshot: Snapshot): boolean {
    const held = this.#snapshot.metadata.index;
    const { index, term } = snapshot.metadata;
    // A held index of zero is a bootstrap that knows nothing but its members.
    if (held !== 0 && held >= index) return false;
    this.#snapshot = snapshot;
    this.#entries = [place(term, index)];
    return true;
  }

  /** Records a snapshot of the state at `index`; undefined if a newer one is held. */
  createSnapshot(
    index: number,
    confState: ConfState | undefined,
    data: Uint8Array,
  ): Snapshot | undefined {
    if (index <= this.#snapshot.metadata.index) return undefined;
    const term = this.term(index);
    invariant(typeof term === "number", "a snapshot lies within the log");
    const members = confState ?? this.#snapshot.metadata.confState;
    this.#snapshot = { data, metadata: { index, term, confState: members } };
    return this.#snapshot;
  }

  /** Drops the entries up to and including `index`, which must be applied; false if it was done. */
  compact(index: number): boolean {
    const offset = this.#offset();
    if (index <= offset) return false;
    const last = this.#entries[index - offset];
    invariant(last !== undefined, "compaction stays within the log");
    this.#entries = [place(last.term, last.index), ...this.#entries.slice(index - offset + 1)];
    return true;
  }

  /** Appends, replacing whatever is held at the same indexes and beyond. */
  append(entries: readonly Entry[]): void {
    const [start] = entries;
    if (start === undefined) return;
    invariant(isContiguous(entries, start.index), "appended entries are contiguous");
    const first = this.firstIndex();
    const fresh = first > start.index ? entries.slice(first - start.index) : entries;
    const from = fresh[0]?.index;
    if (from === undefined) return;
    const position = from - this.#offset();
    invariant(position <= this.#entries.length, "the log has no gap");
    this.#entries.length = position;
    for (const entry of fresh) this.#entries.push(entry);
  }

  #offset(): number {
    return this.#entries[0]?.index ?? 0;
  }
}

function place(term: number, index: number): Entry {
  return { term, index, type: "normal", data: EMPTY_BYTES };
}
