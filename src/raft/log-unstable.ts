/**
 * The end of the log that storage does not hold for certain yet: entries and at most one snapshot,
 * either waiting to be given out in a Ready or already being written ("in progress").
 *
 * Invariants: entries[i] has index offset + i; offset <= offsetInProgress <= offset + length. The
 * offset may be below storage's last index: then storage will be overwritten from there.
 */

import { invariant } from "#base/invariant.ts";
import { type EntryId, isContiguous, takeWithin } from "./entries.ts";
import type { Entry, RaftLogger, Snapshot } from "./types.ts";

export class Unstable {
  readonly #logger: RaftLogger;
  #entries: Entry[] = [];
  #offset: number;
  /** Entries below this index are being written. */
  #offsetInProgress: number;
  #snapshot: Snapshot | undefined;
  #snapshotInProgress = false;

  constructor(offset: number, logger: RaftLogger) {
    this.#offset = offset;
    this.#offsetInProgress = offset;
    this.#logger = logger;
  }

  get offset(): number {
    return this.#offset;
  }

  get offsetInProgress(): number {
    return this.#offsetInProgress;
  }

  get length(): number {
    return this.#entries.length;
  }

  get snapshot(): Snapshot | undefined {
    return this.#snapshot;
  }

  /** The first index there can be, if a snapshot tells. */
  maybeFirstIndex(): number | undefined {
    return this.#snapshot === undefined ? undefined : this.#snapshot.metadata.index + 1;
  }

  maybeLastIndex(): number | undefined {
    const length = this.#entries.length;
    return length > 0 ? this.#offset + length - 1 : this.#snapshot?.metadata.index;
  }

  maybeTerm(index: number): number | undefined {
    if (index >= this.#offset) return this.#entries[index - this.#offset]?.term;
    const metadata = this.#snapshot?.metadata;
    return metadata?.index === index ? metadata.term : undefined;
  }

  hasNextEntries(): boolean {
    return this.#offsetInProgress < this.#offset + this.#entries.length;
  }

  /** Entries that nobody is writing yet. */
  nextEntries(): readonly Entry[] {
    return this.#entries.slice(this.#offsetInProgress - this.#offset);
  }

  /** The snapshot, if nobody is writing it yet. */
  nextSnapshot(): Snapshot | undefined {
    return this.#snapshotInProgress ? undefined : this.#snapshot;
  }

  /** Everything here was given out to be written. */
  acceptInProgress(): void {
    this.#offsetInProgress = this.#offset + this.#entries.length;
    if (this.#snapshot !== undefined) this.#snapshotInProgress = true;
  }

  /**
   * Storage holds the log up to `id`. Only to be called when no older write that is still under way
   * could overwrite those entries (see `newStorageAppendResp`).
   */
  stableTo(id: EntryId): void {
    const { index, term } = id;
    const known = this.maybeTerm(index);
    if (known === undefined) {
      this.#logger.info(`entry at index ${index} missing from unstable log; ignoring`);
    } else if (index < this.#offset) {
      this.#logger.info(`entry at index ${index} matched unstable snapshot; ignoring`);
    } else if (known !== term) {
      // Replaced while it was being written.
      this.#logger.info(
        `entry at (index,term)=(${index},${term}) mismatched with entry at (${index},${known}) in unstable log; ignoring`,
      );
    } else {
      this.#entries.splice(0, index + 1 - this.#offset);
      this.#offset = index + 1;
      this.#offsetInProgress = Math.max(this.#offsetInProgress, this.#offset);
    }
  }

  stableSnapTo(index: number): void {
    if (this.#snapshot?.metadata.index !== index) return;
    this.#snapshot = undefined;
    this.#snapshotInProgress = false;
  }

  /** Replaces everything by a snapshot that came from the leader. */
  restore(snapshot: Snapshot): void {
    this.#offset = snapshot.metadata.index + 1;
    this.#offsetInProgress = this.#offset;
    this.#entries = [];
    this.#snapshot = snapshot;
    this.#snapshotInProgress = false;
  }

  /** Appends entries, dropping whatever was at their indexes and beyond. */
  truncateAndAppend(entries: readonly Entry[]): void {
    const from = entries[0]?.index ?? 0;
    invariant(isContiguous(entries, from), "appended entries are contiguous");
    invariant(from > 0 && from <= this.#offset + this.#entries.length, "the log has no gap");
    if (from <= this.#offset) {
      if (from < this.#offset || this.#entries.length > 0) {
        this.#logger.info(`replace the unstable entries from index ${from}`);
      }
      this.#entries = [];
      this.#offset = from;
      this.#offsetInProgress = from;
    } else if (from < this.#offset + this.#entries.length) {
      this.#logger.info(`truncate the unstable entries before index ${from}`);
      this.#entries.length = from - this.#offset;
      this.#offsetInProgress = Math.min(this.#offsetInProgress, from);
    }
    for (const entry of entries) this.#entries.push(entry);
  }

  /** Entries in [lo, hi), all of which must be here, cut at `maxSize` but at least one. */
  slice(lo: number, hi: number, maxSize: number): readonly Entry[] {
    invariant(
      lo >= this.#offset && lo <= hi && hi <= this.#offset + this.#entries.length,
      "a slice of the unstable log lies within it",
    );
    return takeWithin(this.#entries, lo - this.#offset, hi - this.#offset, maxSize);
  }
}
