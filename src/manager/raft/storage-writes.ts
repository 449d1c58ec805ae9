/**
 * The writes that the core asks for, in its order: while one fdatasync is under way further ones
 * gather in the log, and an acknowledgement goes out only when what it vouches for is on disk.
 * A leader's snapshot is a turning point: what comes after it waits until it is in place.
 */

import { invariant } from "#base/invariant.ts";
import type { Log } from "#base/ports.ts";
import {
  EMPTY_BYTES,
  type HardState,
  type MemoryStorage,
  type Message,
  NONE,
  type SnapshotMetadata,
} from "#raft/index.ts";
import type { Disk } from "./disk.ts";
import type { DecodedSnapshot } from "./snapshot-data.ts";

export interface StorageWritesOptions {
  readonly disk: Disk;
  readonly storage: MemoryStorage;
  readonly log: Log;
  readonly isStopped: () => boolean;
  /** Delivers what waited for a write. */
  readonly deliver: (responses: readonly Message[]) => void;
  /** A leader's snapshot is on disk and in `storage`, and takes the place of the store. */
  readonly restored: (metadata: SnapshotMetadata, snapshot: DecodedSnapshot) => void;
  readonly failed: (error: unknown) => void;
  /** A write has ended, well or not. */
  readonly ended: () => void;
}

interface Offer {
  readonly metadata: SnapshotMetadata;
  readonly decoded: DecodedSnapshot;
}

export class StorageWrites {
  readonly #options: StorageWritesOptions;
  /** What waits behind the installation of a snapshot. */
  #behindSnapshot: (() => void)[] | undefined;
  /** The snapshot that arrived last, until the core takes it or not. */
  #offer: Offer | undefined;
  /** Writes under way. */
  #writing = 0;
  #lastWrite: Promise<void> = Promise.resolve();

  constructor(options: StorageWritesOptions) {
    this.#options = options;
  }

  /** Resolves when what is under way now has ended. */
  get settled(): Promise<void> {
    return this.#lastWrite;
  }

  /** A snapshot has arrived, and the message that brings it is about to be stepped. */
  offer(metadata: SnapshotMetadata, decoded: DecodedSnapshot): void {
    this.withdrawOffer();
    this.#offer = { metadata, decoded };
  }

  /** The core has nothing more to say: what it did not take it does not want. */
  withdrawOffer(): void {
    if (this.#offer === undefined) return;
    this.#options.disk.releaseSnapshot(this.#offer.metadata);
    this.#offer = undefined;
  }

  /** Stores entries, hard state and snapshot; then delivers the answers that wait for it. */
  persist(m: Message): void {
    const isSnapshot = m.snapshot !== undefined && m.snapshot.metadata.index > 0;
    const offer = isSnapshot ? this.#offer : undefined;
    if (isSnapshot) this.#offer = undefined;
    const write = () => {
      if (!isSnapshot) return this.#append(m);
      this.#behindSnapshot = [];
      this.#track(this.#install(m, offer));
    };
    this.#inOrder(write);
  }

  #inOrder(write: () => void): void {
    if (this.#behindSnapshot === undefined) write();
    else this.#behindSnapshot.push(write);
  }

  #append(m: Message): void {
    const { disk } = this.#options;
    const hardState = hardStateOf(m);
    const mustWrite = disk.mustWrite(m.entries, hardState);
    const written = disk.append(m.entries, hardState);
    if (!mustWrite && this.#writing === 0) this.#persisted(m, hardState);
    else this.#track(this.#afterWrite(m, hardState, written));
  }

  async #afterWrite(
    m: Message,
    hardState: HardState | undefined,
    written: Promise<void>,
  ): Promise<void> {
    // Answers keep the order of the writes, also those that had nothing to write.
    const before = this.#lastWrite;
    await written;
    await before;
    this.#persisted(m, hardState);
  }

  #track(work: Promise<void>): void {
    this.#writing += 1;
    this.#lastWrite = this.#settle(work);
  }

  async #settle(work: Promise<void>): Promise<void> {
    try {
      await work;
    } catch (error) {
      this.#options.failed(error);
    } finally {
      this.#writing -= 1;
      this.#options.ended();
    }
  }

  #persisted(m: Message, hardState: HardState | undefined): void {
    const { storage, isStopped, deliver } = this.#options;
    if (isStopped()) return;
    storage.append(m.entries);
    if (hardState !== undefined) storage.setHardState(hardState);
    deliver(m.responses);
  }

  /** Puts a snapshot from the leader in the place of log and store. */
  async #install(m: Message, offer: Offer | undefined): Promise<void> {
    const { disk, storage, restored, isStopped, log } = this.#options;
    const metadata = m.snapshot?.metadata;
    invariant(
      offer !== undefined &&
        offer.metadata.index === metadata?.index &&
        offer.metadata.term === metadata.term,
      "the core takes the snapshot that arrived last, or none",
    );
    const hardState = hardStateOf(m);
    await this.#lastWrite;
    await disk.append([], hardState);
    await disk.adoptSnapshot(metadata);
    await disk.append(m.entries, hardState);
    if (isStopped()) return;
    storage.applySnapshot({ metadata, data: EMPTY_BYTES });
    restored(metadata, offer.decoded);
    log.info("restored the store from a snapshot", { index: metadata.index });
    const waiting = this.#behindSnapshot ?? [];
    this.#behindSnapshot = undefined;
    this.#persisted(m, hardState);
    // One of them may be a snapshot, which the rest waits for.
    for (const write of waiting) this.#inOrder(write);
  }
}

function hardStateOf(m: Message): HardState | undefined {
  const { term, vote, commit } = m;
  return term === 0 && vote === NONE && commit === 0 ? undefined : { term, vote, commit };
}
