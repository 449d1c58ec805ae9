/**
 * What a member keeps on disk: its log and its snapshots, and how they fit together.
 *
 * A snapshot counts once the log holds its mark; a file without one is left over from a crash and
 * deleted. A segment of the log goes when the snapshot covers all its entries and a later segment
 * holds identity, hard state and mark.
 */

import { join } from "node:path";
import { EngineError } from "#base/error.ts";
import type { Random } from "#base/ports.ts";
import { type FileSystem, realFileSystem } from "#platform/wal/file-system.ts";
import type { KeyRing } from "#platform/wal/key-ring.ts";
import { openSnapshotFiles, type SnapshotFiles } from "#platform/wal/snapshot-files.ts";
import { openWal, type Wal } from "#platform/wal/wal.ts";
import {
  EMPTY_HARD_STATE,
  type Entry,
  type HardState,
  type SnapshotMetadata,
  sameHardState,
} from "#raft/index.ts";
import { decodeMessage } from "#wire/decode.ts";
import { encodeMessage } from "#wire/encode.ts";
import { SnapshotMetadataSchema } from "#wire/gen/raft/raftpb_pb.js";
import {
  decodeItems,
  encodeItems,
  identity,
  type LogItem,
  type SnapshotMark,
} from "./log-records.ts";
import { type KnownMember, knownMember } from "./members.ts";
import { snapshotMetadataFromRaftpb, snapshotMetadataToRaftpb } from "./raftpb.ts";

export interface DiskOptions {
  /** Directory of the log and the snapshots. */
  readonly dir: string;
  readonly keys: KeyRing;
  readonly random: Random;
  readonly segmentBytes?: number | undefined;
  /** The disk failed; the process must stop. */
  readonly onFailure: (error: EngineError) => void;
  /** Other than the real one only in tests. */
  readonly fs?: FileSystem | undefined;
}

export interface SaveOptions {
  readonly replaces: boolean;
  /** Older snapshots to keep beside it. */
  readonly keepOld: number;
}

/** What was on disk. */
export interface Loaded {
  /** Undefined on a disk that never took part in a group. */
  readonly self: KnownMember | undefined;
  readonly hardState: HardState;
  /** The entries after the snapshot. */
  readonly entries: readonly Entry[];
  readonly snapshot: { readonly metadata: SnapshotMetadata; readonly data: Uint8Array } | undefined;
}

export async function openDisk(options: DiskOptions): Promise<{ disk: Disk; loaded: Loaded }> {
  const { dir, keys, random, segmentBytes, fs = realFileSystem, onFailure } = options;
  const files = await openSnapshotFiles(fs, join(dir, "snap"), keys, random);
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
    return { disk: new Disk(wal, files, past), loaded };
  } catch (error) {
    await wal.close();
    throw error;
  }
}

/** Puts together what the records of the log say. */
class Past {
  self: KnownMember | undefined;
  hardState: HardState = EMPTY_HARD_STATE;
  mark: SnapshotMark | undefined;
  /** Highest index of an entry per segment. */
  readonly lastIndexIn = new Map<number, number>();
  #entries: Entry[] = [];

  replay(record: Uint8Array, segment: number): void {
    const items = decodeItems(record);
    if (!items.ok) throw damaged(items.error);
    for (const item of items.value) {
      if (item.kind === "identity") this.self = knownMember(item.member);
      else if (item.kind === "hardState") this.hardState = item.hardState;
      else if (item.kind === "entry") this.#add(item.entry, segment);
      else this.#pass(item.mark);
    }
  }

  async load(files: SnapshotFiles): Promise<Loaded> {
    const { self, mark } = this;
    await discardUnmarked(files, mark);
    const snapshot = mark === undefined ? undefined : unpack(await loadMarked(files, mark));
    const from = mark?.index ?? 0;
    const entries = this.#entries.filter(({ index }) => index > from);
    const first = entries[0]?.index ?? from + 1;
    if (first !== from + 1) throw damaged(`entries ${from + 1} to ${first - 1} are missing`);
    // A snapshot holds committed entries only, so it may know more than the hard state.
    const commit = Math.max(this.hardState.commit, from);
    return { self, hardState: { ...this.hardState, commit }, entries, snapshot };
  }

  #add(entry: Entry, segment: number): void {
    const first = this.#entries[0]?.index ?? entry.index;
    const position = entry.index - first;
    if (position > this.#entries.length)
      throw damaged(`there is a gap before entry ${entry.index}`);
    // A later leader's entry replaces the one at its index and all that followed.
    this.#entries.length = Math.max(position, 0);
    this.#entries.push(entry);
    const last = this.lastIndexIn.get(segment) ?? 0;
    this.lastIndexIn.set(segment, Math.max(last, entry.index));
  }

  #pass(mark: SnapshotMark): void {
    this.mark = mark;
    this.#entries = mark.replaces
      ? []
      : this.#entries.slice(Math.max(0, mark.index + 1 - (this.#entries[0]?.index ?? 0)));
  }
}

export class Disk {
  readonly #wal: Wal;
  readonly #files: SnapshotFiles;
  readonly #lastIndexIn: Map<number, number>;
  #self: KnownMember | undefined;
  /** What the log holds, or will once all that is appended is written. */
  #written: HardState;
  /** The newest one; differs from what is written in the commit index only. */
  #hardState: HardState;
  #snapshotIndex: number;
  #saving: Promise<void> = Promise.resolve();

  constructor(wal: Wal, files: SnapshotFiles, past: Past) {
    this.#wal = wal;
    this.#files = files;
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
   * Stores a snapshot and lets go of the log that it covers. One that `replaces` came from the
   * leader, and the log starts over behind it. One that is older than a stored one is left out.
   */
  async saveSnapshot(
    metadata: SnapshotMetadata,
    data: readonly Uint8Array[],
    options: SaveOptions,
  ): Promise<void> {
    // One after another: the member's own and the leader's may come at the same time.
    const saving = this.#saving.then(() => this.#save(metadata, data, options));
    this.#saving = saving.catch(() => undefined);
    await saving;
  }

  async #save(
    metadata: SnapshotMetadata,
    data: readonly Uint8Array[],
    { replaces, keepOld }: SaveOptions,
  ): Promise<void> {
    const { index, term } = metadata;
    if (index <= this.#snapshotIndex) return;
    await this.#files.save({ index, term }, [...pack(metadata), ...data]);
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

  /** The data of a stored snapshot; rejects when it is gone. */
  async loadSnapshot({ index, term }: SnapshotMetadata): Promise<Uint8Array> {
    return unpack(await this.#files.load({ index, term })).data;
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

async function discardUnmarked(
  files: SnapshotFiles,
  mark: SnapshotMark | undefined,
): Promise<void> {
  const stored = await files.list();
  const known = stored.findIndex(({ index, term }) => index === mark?.index && term === mark.term);
  if (known === -1 && mark !== undefined) return;
  await files.discard(known === -1 ? stored : stored.slice(0, known));
}

async function loadMarked(files: SnapshotFiles, mark: SnapshotMark): Promise<Uint8Array> {
  const stored = await files.list();
  if (stored.some(({ index, term }) => index === mark.index && term === mark.term)) {
    return await files.load(mark);
  }
  throw damaged(`the snapshot of index ${mark.index} is missing`);
}

/** The file: length of the metadata u32, metadata, data. */
function pack(metadata: SnapshotMetadata): readonly Uint8Array[] {
  const bytes = encodeMessage(SnapshotMetadataSchema, snapshotMetadataToRaftpb(metadata));
  const length = Buffer.alloc(4);
  length.writeUInt32LE(bytes.length);
  return [length, bytes];
}

function unpack(payload: Uint8Array): { metadata: SnapshotMetadata; data: Uint8Array } {
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  const end = 4 + view.getUint32(0, true);
  const metadata = decodeMessage(SnapshotMetadataSchema, payload.subarray(4, end));
  return { metadata: snapshotMetadataFromRaftpb(metadata), data: payload.subarray(end) };
}

function damaged(what: string): EngineError {
  const advice = "remove this manager from the swarm and let it join again, or restore a backup";
  return new EngineError("data-loss", `the raft log is damaged: ${what}; ${advice}`);
}
