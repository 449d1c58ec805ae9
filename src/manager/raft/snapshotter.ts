/**
 * Keeps the log short: when enough was applied since the last snapshot, stores one and lets the
 * entries before it go, but for some that followers a little behind may still need.
 */

import { EngineError, messageOf } from "#base/error.ts";
import type { Clock, Log } from "#base/ports.ts";
import { isDiskFull } from "#platform/wal/files.ts";
import { EMPTY_BYTES, type MemoryStorage } from "#raft/index.ts";
import type { Store } from "#store/store.ts";
import type { Disk } from "./disk.ts";
import type { Members } from "./members.ts";
import type { RaftTimings } from "./raft-node.ts";
import type { Recovered } from "./recovery.ts";
import { encodeSnapshot } from "./snapshot-data.ts";

/** Entries applied between snapshots, where the cluster's spec does not say otherwise. */
export const SNAPSHOT_EVERY = 10_000;
/** Entries kept behind a snapshot, where the cluster's spec does not say otherwise. */
export const KEEP_ENTRIES = 500;
/** Payload after which a snapshot is due whatever the number of entries: it is held in memory. */
const SNAPSHOT_BYTES = 128 * 1024 * 1024;
/**
 * Entries are let gather until they are this share of the snapshot that they would make obsolete:
 * a large store is not written anew for a few changes, and all snapshots together cost no more than
 * some share of the log.
 */
const WORTHWHILE_SHARE = 1;

export interface SnapshotterOptions {
  readonly storage: MemoryStorage;
  readonly disk: Disk;
  readonly store: Store;
  readonly members: Members;
  readonly log: Log;
  /** Overrides the cluster's spec, for tests. */
  readonly every?: number | undefined;
  readonly keepEntries?: number | undefined;
  readonly failed: (error: unknown) => void;
  readonly clock: Clock;
  readonly timings?: Pick<RaftTimings, "snapshot"> | undefined;
}

export class Snapshotter {
  readonly #options: SnapshotterOptions;
  #last: number;
  /** Size of the newest snapshot, bytes. */
  #lastBytes: number;
  #running: Promise<boolean> | undefined;

  /** What the member began with. */
  constructor(options: SnapshotterOptions, { applied, snapshotBytes }: Recovered) {
    this.#options = options;
    this.#last = applied;
    this.#lastBytes = snapshotBytes;
  }

  /** Looks whether a snapshot is due; true if one was begun. */
  consider(appliedBytes: number): boolean {
    const { store } = this.#options;
    const { index } = store.view();
    // A snapshot of the leader came in between.
    this.#last = Math.max(this.#last, this.#options.storage.snapshot().metadata.index);
    const since = index - this.#last;
    if (this.#running !== undefined || since === 0) return false;
    const isDue = since >= this.#every() && appliedBytes >= this.#lastBytes * WORTHWHILE_SHARE;
    if (!isDue && appliedBytes < SNAPSHOT_BYTES) return false;
    void this.#begin(index, false);
    return true;
  }

  /**
   * Takes one of what is applied now, whether it is due or not, in the place of every one that is
   * there. Resolves when that is on disk, or another snapshot is that is newer.
   */
  async renew(): Promise<void> {
    while (this.#running !== undefined) await this.#running;
    const isThere = await this.#begin(this.#options.store.view().index, true);
    if (!isThere) throw new EngineError("unavailable", "no snapshot of the store could be taken");
  }

  #begin(index: number, renews: boolean): Promise<boolean> {
    this.#last = index;
    this.#running = this.#take(index, renews).finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  /** Resolves when nothing is under way. */
  async idle(): Promise<void> {
    await this.#running;
  }

  /** False if there is no room for it. */
  async #take(index: number, renews: boolean): Promise<boolean> {
    const { storage, disk, store, members, log, failed, clock, timings } = this.#options;
    const term = storage.term(index);
    if (typeof term !== "number" || index === 0) return false;
    const view = store.view();
    const { confState } = members;
    const startMs = clock.monotonicMs();
    try {
      // The leader may have put a newer one in place by then; it is left out.
      const data = encodeSnapshot(members.snapshot(), view);
      const options = { keepOld: renews ? 0 : this.#keepOld(), renews };
      const bytes = await disk.saveSnapshot({ confState, index, term }, data, options);
      if (bytes === 0) return true;
      this.#lastBytes = bytes;
      timings?.snapshot((clock.monotonicMs() - startMs) / 1000);
      if (storage.createSnapshot(index, confState, EMPTY_BYTES) === undefined) return true;
      storage.compact(Math.max(index - this.#keepEntries(), 0));
      log.info("snapshot of the store", { index });
      return true;
    } catch (error) {
      if (isDiskFull(error)) {
        // The log has everything still; it only stays long until there is room.
        log.error("no room on the disk for a snapshot of the store", { reason: messageOf(error) });
        return false;
      }
      log.error("the snapshot of the store failed", { reason: messageOf(error) });
      failed(error);
      return false;
    }
  }

  #every(): number {
    const interval = Number(this.#spec()?.snapshotInterval ?? 0n);
    return this.#options.every ?? (interval > 0 ? interval : SNAPSHOT_EVERY);
  }

  #keepEntries(): number {
    const slow = this.#spec()?.logEntriesForSlowFollowers;
    return this.#options.keepEntries ?? (slow === undefined ? KEEP_ENTRIES : Number(slow));
  }

  #keepOld(): number {
    return Number(this.#spec()?.keepOldSnapshots ?? 0n);
  }

  #spec() {
    for (const cluster of this.#options.store.view().all("cluster")) return cluster.spec?.raft;
    return undefined;
  }
}
