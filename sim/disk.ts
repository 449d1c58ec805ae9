/**
 * A disk that keeps its word and no more: what was synced survives a crash; of what was only written,
 * some first part may survive, the rest is gone. Writes reach it in order. It may rot: then its checksums
 * say so to whoever reads it next.
 */

import {
  EMPTY_HARD_STATE,
  type Entry,
  type HardState,
  isEmptySnapshot,
  MemoryStorage,
  type Snapshot,
} from "#raft/index.ts";
import type { SeededRandom } from "./random.ts";
import type { Timeline } from "./timeline.ts";

/** One atomic write. */
export interface Batch {
  readonly hardState?: HardState | undefined;
  readonly entries?: readonly Entry[];
  /** Replaces the log: it came from the leader. */
  readonly snapshot?: Snapshot | undefined;
  /** Of our own state: the entries that it covers, less some kept for followers, may go. */
  readonly checkpoint?: { readonly snapshot: Snapshot; readonly compactTo: number };
}

export interface DiskTiming {
  readonly syncMs: readonly [number, number];
}

interface Pending {
  readonly batch: Batch;
  readonly done: (() => void) | undefined;
}

export class Disk {
  readonly #timeline: Timeline;
  readonly #random: SeededRandom;
  readonly #timing: DiskTiming;
  /** What a crash leaves, as the list of synced writes folded together. */
  #hardState: HardState = EMPTY_HARD_STATE;
  #storage = new MemoryStorage();
  #pending: Pending[] = [];
  #isSyncing = false;
  /** Rises with every crash: a sync that was under way then never completes. */
  #life = 0;
  #stalledUntil = 0;
  #isRotten = false;

  constructor(timeline: Timeline, random: SeededRandom, timing: DiskTiming, initial: Snapshot) {
    this.#timeline = timeline;
    this.#random = random;
    this.#timing = timing;
    if (isEmptySnapshot(initial)) return;
    const { term, index } = initial.metadata;
    this.#storage.applySnapshot(initial);
    this.#hardState = { term, vote: 0, commit: index };
  }

  /** Writes, and calls `done` once the batch and all before it are synced. */
  write(batch: Batch, done: () => void): void {
    this.#pending.push({ batch, done });
    this.#sync();
  }

  /** Writes without asking for durability: a later sync takes it along. */
  writeLazily(batch: Batch): void {
    this.#pending.push({ batch, done: undefined });
  }

  /** Nothing is synced for a while. */
  stall(durationMs: number): void {
    this.#stalledUntil = Math.max(this.#stalledUntil, this.#timeline.now + durationMs);
  }

  /** Something that was synced is not what it was any more; false if there is nothing yet. */
  rot(): boolean {
    this.#isRotten = this.#storage.lastIndex() >= this.#storage.firstIndex();
    return this.#isRotten;
  }

  get isRotten(): boolean {
    return this.#isRotten;
  }

  crash(): void {
    const survivors = this.#random.int(this.#pending.length + 1);
    for (const { batch } of this.#pending.slice(0, survivors)) this.#fold(batch);
    this.#pending = [];
    this.#isSyncing = false;
    this.#life++;
  }

  /** What a starting process reads: a copy that it may work on. */
  load(): MemoryStorage {
    const copy = new MemoryStorage();
    const snapshot = this.#storage.snapshot();
    if (!isEmptySnapshot(snapshot)) copy.applySnapshot(snapshot);
    const first = this.#storage.firstIndex();
    const last = this.#storage.lastIndex();
    const entries = first > last ? [] : this.#storage.entries(first, last + 1, 2 ** 40);
    if (typeof entries !== "string") {
      const kept = entries.filter((entry) => entry.index > snapshot.metadata.index);
      copy.append(this.#isRotten ? rotten(kept) : kept);
    }
    copy.setHardState(this.#hardState);
    return copy;
  }

  /** Group commit: one sync takes everything that was written when it began. */
  #sync(): void {
    if (this.#isSyncing || !this.#pending.some(({ done }) => done !== undefined)) return;
    this.#isSyncing = true;
    const life = this.#life;
    const count = this.#pending.length;
    const stall = Math.max(0, this.#stalledUntil - this.#timeline.now);
    this.#timeline.after(stall + this.#random.between(...this.#timing.syncMs), () => {
      if (life !== this.#life) return;
      const synced = this.#pending.splice(0, count);
      for (const { batch } of synced) this.#fold(batch);
      this.#isSyncing = false;
      for (const { done } of synced) {
        // A crash in the middle of the answers takes the rest of them with it.
        if (life === this.#life) done?.();
      }
      if (life === this.#life) this.#sync();
    });
  }

  #fold({ hardState, entries, snapshot, checkpoint }: Batch): void {
    if (hardState !== undefined) this.#hardState = hardState;
    if (snapshot !== undefined) this.#storage.applySnapshot(snapshot);
    if (entries !== undefined) this.#storage.append(entries);
    if (checkpoint !== undefined) {
      const { index, confState } = checkpoint.snapshot.metadata;
      this.#storage.createSnapshot(index, confState, checkpoint.snapshot.data);
      this.#storage.compact(checkpoint.compactTo);
    }
  }
}

/** One bit of each payload is turned round. */
function rotten(entries: readonly Entry[]): readonly Entry[] {
  return entries.map((entry) => {
    const data = Uint8Array.from(entry.data);
    const last = data.length - 1;
    if (last >= 0) data[last] = (data[last] ?? 0) ^ 1;
    return { ...entry, data };
  });
}
