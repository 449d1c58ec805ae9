/**
 * What a member keeps on disk: its log and its snapshots, and how they fit together.
 *
 * A snapshot counts once the log holds its mark; a file without one is left over from a crash and
 * deleted. A segment of the log goes when the snapshot covers all its entries and a later segment
 * holds identity, hard state and mark.
 */

import { join } from "node:path";
import type { EngineError } from "#base/error.ts";
import type { Random } from "#base/ports.ts";
import { type FileSystem, realFileSystem } from "#platform/wal/file-system.ts";
import type { KeyRing } from "#platform/wal/key-ring.ts";
import {
  type Announced,
  openSnapshotFiles,
  type Pieces,
  type SnapshotContent,
  type SnapshotFiles,
  type SnapshotName,
} from "#platform/wal/snapshot-files.ts";
import type { SnapshotReceiver } from "#platform/wal/snapshot-receiver.ts";
import { openWal, type Wal } from "#platform/wal/wal.ts";
import { type Entry, type HardState, type SnapshotMetadata, sameHardState } from "#raft/index.ts";
import { encodeItems, identity, type LogItem } from "./log-records.ts";
import type { KnownMember } from "./members.ts";
import { type Loaded, Past } from "./replayed-log.ts";
import { aboutOf, type StoredSnapshot, storedSnapshot } from "./stored-snapshot.ts";

export interface DiskOptions {
  /** Directory of the log and the snapshots. */
  readonly dir: string;
  readonly keys: KeyRing;
  readonly random: Random;
  readonly segmentBytes?: number | undefined;
  /** Of the snapshots' files; see there. */
  readonly chunkBytes?: number | undefined;
  /** The disk failed; the process must stop. */
  readonly onFailure: (error: EngineError) => void;
  /** Other than the real one only in tests. */
  readonly fs?: FileSystem | undefined;
}

export interface SaveOptions {
  /** Older snapshots to keep beside it. */
  readonly keepOld: number;
  /** The stored one is damaged, or sealed with an old key. */
  readonly renews?: boolean;
}

export async function openDisk(options: DiskOptions): Promise<{ disk: Disk; loaded: Loaded }> {
  const { dir, keys, random, segmentBytes, chunkBytes, onFailure } = options;
  const { fs = realFileSystem } = options;
  const files = await openSnapshotFiles({ fs, dir: join(dir, "snap"), keys, random, chunkBytes });
  const past = new Past();
  const walOptions = {
    dir: join(dir, "wal"),
    keys,
    random,
    onFailure,
    fs,
    ...(segmentBytes === undefined ? {} : { segmentBytes }),
  };
  const wal = await openWal(walOptions, (record, segment) => past.replay(record, segment));
  try {
    const loaded = await past.load(files);
    return { disk: new Disk(wal, files, keys, past), loaded };
  } catch (error) {
    await wal.close();
    throw error;
  }
}

export class Disk {
  readonly #wal: Wal;
  readonly #files: SnapshotFiles;
  readonly #keys: KeyRing;
  readonly #lastIndexIn: Map<number, number>;
  #self: KnownMember | undefined;
  /** What the log holds, or will once all that is appended is written. */
  #written: HardState;
  /** The newest one; differs from what is written in the commit index only. */
  #hardState: HardState;
  #snapshotIndex: number;
  #saving: Promise<void> = Promise.resolve();

  constructor(wal: Wal, files: SnapshotFiles, keys: KeyRing, past: Past) {
    this.#wal = wal;
    this.#files = files;
    this.#keys = keys;
    this.#lastIndexIn = past.lastIndexIn;
    this.#self = past.self;
    this.#written = past.hardState;
    this.#hardState = past.hardState;
    this.#snapshotIndex = past.mark?.index ?? 0;
  }

  /** Records who this member is; before anything else, and again when its address changes. */
  async identify(self: KnownMember): Promise<void> {
    this.#self = self;
    await this.#wal.append(encodeItems([this.#identity()]));
  }

  /** Whether `append` has to write; a commit index alone is written with what comes next. */
  mustWrite(entries: readonly Entry[], hardState: HardState | undefined): boolean {
    if (entries.length > 0) return true;
    const { term, vote } = this.#written;
    return hardState !== undefined && (hardState.term !== term || hardState.vote !== vote);
  }

  /** Resolves when all of it is on disk. */
  async append(entries: readonly Entry[], hardState: HardState | undefined): Promise<void> {
    const mustWrite = this.mustWrite(entries, hardState);
    this.#hardState = hardState ?? this.#hardState;
    if (!mustWrite) return;
    const items: LogItem[] = entries.map((entry) => ({ kind: "entry", entry }));
    if (!sameHardState(this.#hardState, this.#written)) {
      items.unshift({ kind: "hardState", hardState: this.#hardState });
      this.#written = this.#hardState;
    }
    const segment = await this.#wal.append(encodeItems(items));
    const last = entries.at(-1)?.index ?? 0;
    this.#lastIndexIn.set(segment, Math.max(this.#lastIndexIn.get(segment) ?? 0, last));
  }

  /**
   * Stores this member's own snapshot and lets go of the log that it covers. One that is older than a
   * stored one is left out; one as new takes its place only if it `renews` it. Its size, bytes.
   */
  saveSnapshot(
    metadata: SnapshotMetadata,
    data: Pieces,
    { keepOld, renews = false }: SaveOptions,
  ): Promise<number> {
    return this.#oneByOne(async () => {
      const { index, term } = metadata;
      const isOlder = renews ? index < this.#snapshotIndex : index <= this.#snapshotIndex;
      if (isOlder) return 0;
      const bytes = await this.#files.save({ index, term }, aboutOf(metadata), data);
      await this.#mark(metadata, false, keepOld);
      return bytes;
    });
  }

  /** How many bytes of a leader's snapshot are here from a transfer that broke off. */
  heldOf(name: SnapshotName, content: SnapshotContent): Promise<number> {
    return this.#files.held(name, content);
  }

  /** Begins to take a leader's snapshot, or goes on at byte `from`. It counts once it is adopted. */
  receiveSnapshot(
    metadata: SnapshotMetadata,
    announced: Announced | undefined,
    from: number,
  ): Promise<SnapshotReceiver> {
    const { index, term } = metadata;
    return this.#files.receive({ index, term }, aboutOf(metadata), announced, from);
  }

  /** A leader's snapshot that has arrived, to be looked at. */
  async openArrived({ index, term }: SnapshotMetadata): Promise<StoredSnapshot> {
    return storedSnapshot(await this.#files.openArrived({ index, term }));
  }

  /** Puts a leader's snapshot that has arrived in the place of the log. */
  adoptSnapshot(metadata: SnapshotMetadata): Promise<void> {
    return this.#oneByOne(async () => {
      const { index, term } = metadata;
      if (index <= this.#snapshotIndex) return this.#files.release(metadata);
      await this.#files.adopt({ index, term });
      await this.#mark(metadata, true, 0);
    });
  }

  /** A leader's snapshot that has arrived is not wanted. */
  releaseSnapshot({ index, term }: SnapshotMetadata): void {
    this.#files.release({ index, term });
  }

  /** A leader's snapshot that has arrived is no good. */
  async rejectSnapshot({ index, term }: SnapshotMetadata): Promise<void> {
    await this.#files.reject({ index, term });
  }

  /** A stored snapshot; rejects when it is gone, or damaged from the beginning. */
  async openSnapshot({ index, term }: SnapshotMetadata): Promise<StoredSnapshot> {
    return storedSnapshot(await this.#files.open({ index, term }));
  }

  /**
   * Everything that is appended from now on is sealed with the current key. Resolves to the highest
   * index of an entry that is not; 0 if there is none.
   */
  async changeKey(): Promise<number> {
    await this.#wal.append(encodeItems([this.#identity()]));
    const segments = this.#wal.sealedOtherwise(this.#keys.current().id);
    return Math.max(0, ...segments.map((segment) => this.#lastIndexIn.get(segment) ?? 0));
  }

  /** Whether nothing is on disk that the current key does not open. */
  async isSealedAnew(): Promise<boolean> {
    const { id } = this.#keys.current();
    if (this.#wal.sealedOtherwise(id).length > 0) return false;
    return await this.#files.isSealedWith(id);
  }

  /** Writes the newest commit index, waits for what is under way, lets go of the files. */
  async close(): Promise<void> {
    await this.#saving;
    if (!sameHardState(this.#hardState, this.#written)) {
      const items: LogItem[] = [{ kind: "hardState", hardState: this.#hardState }];
      // Without it, a restart only learns the commit index from the leader again.
      await this.#wal.append(encodeItems(items)).catch(() => undefined);
    }
    await this.#wal.close();
  }

  /** Lets go of the files as a crash would. */
  async abandon(): Promise<void> {
    await this.#wal.abandon();
    await this.#saving;
  }

  /** One after another: the member's own snapshot and the leader's may come at the same time. */
  #oneByOne<T>(save: () => Promise<T>): Promise<T> {
    const saving = this.#saving.then(save);
    this.#saving = saving.then(
      () => undefined,
      () => undefined,
    );
    return saving;
  }

  /** From here on the snapshot counts, and what it covers may go. */
  async #mark(
    { index, term }: SnapshotMetadata,
    replaces: boolean,
    keepOld: number,
  ): Promise<void> {
    this.#snapshotIndex = index;
    this.#written = this.#hardState;
    const segment = await this.#wal.append(
      encodeItems([
        this.#identity(),
        { kind: "hardState", hardState: this.#hardState },
        { kind: "snapshot", mark: { index, term, replaces } },
      ]),
    );
    await this.#wal.dropBefore(this.#firstNeeded(segment, index));
    await this.#files.prune(1 + keepOld);
  }

  #identity(): LogItem {
    const { raftId, nodeId, addr } = this.#self ?? { raftId: 0, nodeId: "", addr: "" };
    return { kind: "identity", member: identity(raftId, nodeId, addr) };
  }

  #firstNeeded(markSegment: number, index: number): number {
    const segments = [...this.#lastIndexIn.keys()].toSorted((a, b) => a - b);
    for (const segment of segments) {
      if (segment >= markSegment || (this.#lastIndexIn.get(segment) ?? 0) > index) return segment;
      this.#lastIndexIn.delete(segment);
    }
    return markSegment;
  }
}
