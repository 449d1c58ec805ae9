/**
 * The whole log as the algorithm sees it: storage, then the unstable end, and how far it is
 * committed, handed out for application ("applying") and applied.
 *
 * Invariants: applied <= applying <= committed <= last index. Committed entries are never
 * overwritten; breaking that is a bug or a lost disk, and stops the node.
 */

import { invariant } from "#base/invariant.ts";
import { type EntryId, entriesSize, entryIdOf } from "./entries.ts";
import { Unstable } from "./log-unstable.ts";
import type { Entry, OutOfLog, RaftLogger, Snapshot, Storage } from "./types.ts";

export class RaftLog {
  readonly storage: Storage;
  readonly unstable: Unstable;
  readonly #logger: RaftLogger;
  readonly #maxApplyingSize: number;
  #committed: number;
  #applying: number;
  #applied: number;
  /** Bytes handed out and not yet applied; above the limit nothing more is handed out. */
  #applyingSize = 0;
  #applyingPaused = false;

  constructor(storage: Storage, logger: RaftLogger, maxApplyingSize: number) {
    this.storage = storage;
    this.#logger = logger;
    this.#maxApplyingSize = maxApplyingSize;
    this.unstable = new Unstable(storage.lastIndex() + 1, logger);
    const compacted = storage.firstIndex() - 1;
    this.#committed = compacted;
    this.#applying = compacted;
    this.#applied = compacted;
  }

  get committed(): number {
    return this.#committed;
  }

  /** Up to here entries were handed out for application. */
  get applying(): number {
    return this.#applying;
  }

  get applied(): number {
    return this.#applied;
  }

  get maxApplyingSize(): number {
    return this.#maxApplyingSize;
  }

  firstIndex(): number {
    return this.unstable.maybeFirstIndex() ?? this.storage.firstIndex();
  }

  lastIndex(): number {
    return this.unstable.maybeLastIndex() ?? this.storage.lastIndex();
  }

  lastEntryId(): EntryId {
    const index = this.lastIndex();
    const term = this.term(index);
    invariant(typeof term === "number", "the last index has a term");
    return { term, index };
  }

  committedId(): EntryId {
    return { term: this.termOrZero(this.#committed), index: this.#committed };
  }

  /** Known for [firstIndex-1, lastIndex]: the entry before the first one is kept for matching. */
  term(index: number): number | OutOfLog {
    const unstable = this.unstable.maybeTerm(index);
    if (unstable !== undefined) return unstable;
    if (index + 1 < this.firstIndex()) return "compacted";
    if (index > this.lastIndex()) return "unavailable";
    return this.storage.term(index);
  }

  /** The term, or 0 where there is none to know. */
  termOrZero(index: number): number {
    const term = this.term(index);
    return typeof term === "number" ? term : 0;
  }

  matchTerm(id: EntryId): boolean {
    return this.term(id.index) === id.term;
  }

  /** Whether a log that ends in `their` may lead us: later term, or same term and no shorter. */
  isUpToDate(their: EntryId): boolean {
    const our = this.lastEntryId();
    return their.term > our.term || (their.term === our.term && their.index >= our.index);
  }

  /**
   * Appends what follows `previous` in a leader's log, if ours has `previous` too.
   * Returns the last index that now surely matches the leader's log, or undefined.
   */
  maybeAppend(
    previous: EntryId,
    entries: readonly Entry[],
    leaderCommit: number,
  ): number | undefined {
    if (!this.matchTerm(previous)) return undefined;
    const last = previous.index + entries.length;
    const conflict = this.#findConflict(entries);
    if (conflict !== 0) {
      invariant(conflict > this.#committed, "a leader never contradicts a committed entry");
      this.append(entries.slice(conflict - previous.index - 1));
    }
    this.commitTo(Math.min(leaderCommit, last));
    return last;
  }

  append(entries: readonly Entry[]): number {
    const [first] = entries;
    if (first !== undefined) {
      invariant(first.index > this.#committed, "committed entries are not overwritten");
      this.unstable.truncateAndAppend(entries);
    }
    return this.lastIndex();
  }

  /**
   * Where another log may match ours, knowing one (index, term) of it: the highest index up to
   * `index` whose term is no higher, or unknown; and that term, 0 if unknown.
   */
  findConflictByTerm(index: number, term: number): EntryId {
    for (let at = index; at > 0; at--) {
      const ours = this.term(at);
      if (typeof ours !== "number") return { index: at, term: 0 };
      if (ours <= term) return { index: at, term: ours };
    }
    return { index: 0, term: 0 };
  }

  /** Commits up to `at` if our entry there is of that term: figure 8 of the paper forbids others. */
  maybeCommit(at: EntryId): boolean {
    if (at.term === 0 || at.index <= this.#committed || !this.matchTerm(at)) return false;
    this.commitTo(at.index);
    return true;
  }

  commitTo(index: number): void {
    if (index <= this.#committed) return;
    invariant(
      index <= this.lastIndex(),
      "commit index lies within the log; was the log corrupted, truncated, or lost?",
    );
    this.#committed = index;
  }

  /**
   * The commit index that was stored; only at start. It may lag behind the snapshot, which is stored
   * on its own and covers committed entries alone. Ahead of the log it means that the disk lost some.
   */
  loadCommitted(index: number): void {
    invariant(
      index <= this.lastIndex(),
      `stored commit ${index} is within ${this.lastIndex()} entries`,
    );
    this.#committed = Math.max(index, this.#committed);
  }

  hasNextCommittedEntries(allowUnstable: boolean): boolean {
    // With a snapshot to apply, entries wait: else it would be open what comes first.
    if (this.#applyingPaused || this.unstable.snapshot !== undefined) return false;
    return this.#applying < this.#maxAppliableIndex(allowUnstable);
  }

  /** Committed entries to apply next; without `allowUnstable` only those that storage holds. */
  nextCommittedEntries(allowUnstable: boolean): readonly Entry[] {
    if (!this.hasNextCommittedEntries(allowUnstable)) return [];
    const room = this.#maxApplyingSize - this.#applyingSize;
    invariant(room > 0, "application is paused before its size limit is used up");
    const end = this.#maxAppliableIndex(allowUnstable) + 1;
    const entries = this.slice(this.#applying + 1, end, room);
    invariant(typeof entries !== "string", "entries that wait for application are not compacted");
    return entries;
  }

  /** Entries up to `index` were handed out. */
  acceptApplying(index: number, size: number, allowUnstable: boolean): void {
    invariant(index <= this.#committed, "only committed entries are applied");
    this.#applying = index;
    this.#applyingSize += size;
    // Also paused when the last hand-out was cut: the next entry would break the limit.
    this.#applyingPaused =
      this.#applyingSize >= this.#maxApplyingSize || index < this.#maxAppliableIndex(allowUnstable);
  }

  appliedTo(index: number, size: number): void {
    invariant(
      index >= this.#applied && index <= this.#committed,
      `applied ${index} lies within [${this.#applied}, ${this.#committed}]`,
    );
    this.#applied = index;
    this.#applying = Math.max(this.#applying, index);
    this.#applyingSize = Math.max(0, this.#applyingSize - size);
    this.#applyingPaused = this.#applyingSize >= this.#maxApplyingSize;
  }

  restore(snapshot: Snapshot): void {
    const { index, term } = snapshot.metadata;
    this.#logger.info(
      `log [${this.toString()}] starts to restore snapshot [index: ${index}, term: ${term}]`,
    );
    this.#committed = index;
    this.unstable.restore(snapshot);
  }

  snapshot(): Snapshot | "temporarilyUnavailable" {
    return this.unstable.snapshot ?? this.storage.snapshot();
  }

  /** Entries from `index` to the end, cut at `maxSize`. */
  entries(index: number, maxSize: number): readonly Entry[] | "compacted" {
    const last = this.lastIndex();
    return index > last ? [] : this.slice(index, last + 1, maxSize);
  }

  /** Entries in [lo, hi), cut at `maxSize` but at least one. */
  slice(lo: number, hi: number, maxSize: number): readonly Entry[] | "compacted" {
    invariant(lo <= hi && hi <= this.lastIndex() + 1, "a slice of the log lies within it");
    if (lo < this.firstIndex()) return "compacted";
    if (lo === hi) return [];
    const offset = this.unstable.offset;
    if (lo >= offset) return this.unstable.slice(lo, hi, maxSize);

    const cut = Math.min(hi, offset);
    const stable = this.storage.entries(lo, cut, maxSize);
    invariant(stable !== "unavailable", "storage holds what it reported to hold");
    if (stable === "compacted" || hi <= offset || stable.length < cut - lo) return stable;
    const room = maxSize - entriesSize(stable);
    if (room <= 0) return stable;
    const rest = this.unstable.slice(offset, hi, room);
    // The cut gives at least one entry, which may be one too many after the stable ones.
    if (rest.length === 1 && entriesSize(rest) > room) return stable;
    return [...stable, ...rest];
  }

  toString(): string {
    const { offset, offsetInProgress, length } = this.unstable;
    return `committed=${this.#committed}, applied=${this.#applied}, applying=${this.#applying}, unstable.offset=${offset}, unstable.offsetInProgress=${offsetInProgress}, len(unstable.Entries)=${length}`;
  }

  #maxAppliableIndex(allowUnstable: boolean): number {
    return allowUnstable ? this.#committed : Math.min(this.#committed, this.unstable.offset - 1);
  }

  /** Index of the first entry that we lack or hold with another term; 0 if we have them all. */
  #findConflict(entries: readonly Entry[]): number {
    for (const entry of entries) {
      const { index, term } = entryIdOf(entry);
      const ours = this.term(index);
      if (ours === term) continue;
      if (index <= this.lastIndex()) {
        this.#logger.info(
          `found conflict at index ${index} [existing term: ${typeof ours === "number" ? ours : 0}, conflicting term: ${term}]`,
        );
      }
      return index;
    }
    return 0;
  }
}
