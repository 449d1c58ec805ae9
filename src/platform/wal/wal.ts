/**
 * The write-ahead log: records in preallocated segments, sealed, with one durable write for all
 * that wait. `append` resolves when the record is on disk, never earlier. What records mean is the
 * caller's business, and so is which segments are still needed.
 *
 * Invariants: a frame is written only after the one before it is on disk; after a failed write or
 * sync nothing is written any more and `onFailure` is told, because nobody knows what the disk
 * holds then: the process must stop. Opening tells a torn end (dropped: it was never acknowledged)
 * from damage (refused, naming file and offset).
 */

import { join } from "node:path";
import { EngineError, messageOf } from "#base/error.ts";
import { invariant } from "#base/invariant.ts";
import type { Random } from "#base/ports.ts";
import { type FileSystem, type LogFile, realFileSystem } from "./file-system.ts";
import { ensureDirectory, isDiskFull, removeTemporaries, TEMPORARY_SUFFIX } from "./files.ts";
import { encodeFrame, frameSize } from "./frame.ts";
import type { KeyRing } from "./key-ring.ts";
import { type OlderSegment, readLog } from "./replay.ts";
import { Sealer } from "./seal.ts";
import {
  encodeHeader,
  preallocate,
  SEGMENT_HEADER_BYTES,
  segmentName,
  sequenceOf,
} from "./segment.ts";

const DEFAULT_SEGMENT_BYTES = 64 * 1024 * 1024;
/** The first segment is small, so that a fresh node is up at once. */
const FIRST_SEGMENT_BYTES = 4 * 1024 * 1024;
/** Records of one frame, bytes; more wait for the next one. */
const FRAME_MAX_BYTES = 16 * 1024 * 1024;
/** Where the disk is nearly full, a segment of this size will do. */
const SEGMENT_MIN_BYTES = 1024 * 1024;
const SPARE_NAME = `spare${TEMPORARY_SUFFIX}`;

export interface WalOptions {
  readonly dir: string;
  readonly keys: KeyRing;
  readonly random: Random;
  readonly segmentBytes?: number;
  /** Called once when the disk failed; the process must stop. */
  readonly onFailure: (error: EngineError) => void;
  /** Other than the real one only in tests. */
  readonly fs?: FileSystem;
}

/** Called for each record of the log at opening, in order. */
export type Replay = (record: Uint8Array, segment: number) => void;

interface Waiting {
  readonly record: Uint8Array;
  readonly resolve: (segment: number) => void;
  readonly reject: (error: Error) => void;
}

interface Current {
  readonly file: LogFile;
  readonly sequence: number;
  readonly keyId: string;
  readonly capacity: number;
  /** Where the next frame goes. */
  offset: number;
}

/** Opens the log, replaying what it holds; makes an empty one if there is none. */
export async function openWal(options: WalOptions, replay: Replay): Promise<Wal> {
  const { dir, keys } = options;
  const fs = options.fs ?? realFileSystem;
  await ensureDirectory(fs, dir);
  await removeTemporaries(fs, dir);
  const found = await readLog(fs, dir, await segmentsIn(fs, dir), keys, replay);
  const wal = new Wal(options, found?.older ?? []);
  if (found === undefined) {
    await wal.start(undefined);
  } else {
    const path = join(dir, segmentName(found.sequence));
    const file = await fs.openDurable(path);
    // After a crash of the process alone, the last frame may be in the page cache and not on disk.
    await file.sync();
    await wal.start({ ...found, file });
  }
  return wal;
}

async function segmentsIn(fs: FileSystem, dir: string): Promise<number[]> {
  const names = await fs.list(dir);
  const sequences = names.map(sequenceOf).filter((sequence) => sequence !== undefined);
  return sequences.toSorted((a, b) => a - b);
}

export class Wal {
  readonly #options: WalOptions;
  readonly #segmentBytes: number;
  readonly #sealer: Sealer;
  readonly #fs: FileSystem;
  /** The finished segments, oldest first. */
  #older: OlderSegment[];
  #current: Current | undefined;
  #waiting: Waiting[] = [];
  #draining: Promise<void> | undefined;
  /** The next segment, being preallocated or ready. */
  #spare: Promise<number> | undefined;
  /** Removals of old segments, one after another. */
  #removing: Promise<void> = Promise.resolve();
  #failure: EngineError | undefined;
  #closed = false;

  constructor(options: WalOptions, older: readonly OlderSegment[]) {
    this.#options = options;
    this.#segmentBytes = options.segmentBytes ?? DEFAULT_SEGMENT_BYTES;
    this.#sealer = new Sealer(options.random);
    this.#fs = options.fs ?? realFileSystem;
    this.#older = [...older];
  }

  /** Part of `openWal`: takes the newest segment, or makes the first one. */
  async start(current: Current | undefined): Promise<void> {
    this.#current = current;
    if (current === undefined) {
      const size = Math.min(FIRST_SEGMENT_BYTES, this.#segmentBytes);
      await preallocate(this.#fs, this.#path(SPARE_NAME), size);
      await this.#install(1, 0, size);
    }
  }

  /** The segment that is written now. */
  get segment(): number {
    invariant(this.#current !== undefined, "the log is open");
    return this.#current.sequence;
  }

  /** Segments that are sealed with another key than that, oldest first. */
  sealedOtherwise(keyId: string): readonly number[] {
    const all = this.#current === undefined ? this.#older : [...this.#older, this.#current];
    return all.filter((one) => one.keyId !== keyId).map(({ sequence }) => sequence);
  }

  /** Resolves, once the record is on disk, to the segment that holds it. */
  append(record: Uint8Array): Promise<number> {
    return new Promise((resolve, reject) => {
      if (this.#failure !== undefined) return reject(this.#failure);
      if (this.#closed) return reject(new EngineError("unavailable", "the raft log is closed"));
      this.#waiting.push({ record, resolve, reject });
      this.#draining ??= this.#drain();
    });
  }

  /** Deletes the segments before `segment`; what is in them is needed no more. */
  dropBefore(segment: number): Promise<void> {
    this.#removing = this.#removing.then(() => this.#remove(segment));
    return this.#removing;
  }

  /** Waits for what was appended, then lets go of the files. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#draining;
    await this.#removing.catch(() => undefined);
    await this.#spare?.catch(() => undefined);
    await this.#fs.remove(this.#path(SPARE_NAME)).catch(() => undefined);
    await this.#current?.file.close();
    this.#current = undefined;
  }

  /** Writes nothing more, as if the process had died; what waits is never acknowledged. */
  async abandon(): Promise<void> {
    const dropped = this.#waiting;
    this.#waiting = [];
    const error = new EngineError("unavailable", "the raft log is closed");
    for (const { reject } of dropped) reject(error);
    await this.close();
  }

  async #drain(): Promise<void> {
    // Whoever appends in this same turn of the loop shares the first frame.
    await Promise.resolve();
    while (this.#waiting.length > 0) {
      const batch = this.#takeBatch();
      try {
        const segment = await this.#write(batch.map(({ record }) => record));
        for (const { resolve } of batch) resolve(segment);
      } catch (error) {
        this.#fail(error, batch);
        return;
      }
    }
    this.#draining = undefined;
  }

  #takeBatch(): Waiting[] {
    let bytes = 0;
    let count = 0;
    for (const { record } of this.#waiting) {
      bytes += record.length;
      if (count > 0 && bytes > FRAME_MAX_BYTES) break;
      count += 1;
    }
    return this.#waiting.splice(0, count);
  }

  async #write(records: readonly Uint8Array[]): Promise<number> {
    const bytes = records.reduce((sum, { length }) => sum + length, 0);
    const size = frameSize(bytes, records.length);
    const current = await this.#roomFor(size);
    const place = { segment: current.sequence, offset: current.offset };
    const key = this.#options.keys.find(current.keyId)?.key;
    invariant(key !== undefined, "the key of the segment in use is at hand");
    await current.file.write(encodeFrame(records, place, key, this.#sealer), place.offset);
    current.offset += size;
    if (current.offset * 2 > current.capacity) this.#spare ??= this.#prepareSpare();
    return current.sequence;
  }

  /** The segment to write to: the present one, unless it is full or its key was exchanged. */
  async #roomFor(size: number): Promise<Current> {
    const current = this.#current;
    invariant(current !== undefined, "the log is open");
    const full = current.offset + size > current.capacity;
    if (!full && current.keyId === this.#options.keys.current().id) return current;
    const least = SEGMENT_HEADER_BYTES + size;
    let capacity = this.#spare === undefined ? 0 : await this.#spare;
    if (capacity < least) capacity = await this.#makeSpare(least);
    this.#spare = undefined;
    await current.file.close();
    this.#older.push({ sequence: current.sequence, keyId: current.keyId });
    return await this.#install(current.sequence + 1, current.offset, capacity);
  }

  /** Gives the spare file a header, and only then its name in the log. */
  async #install(sequence: number, previousEnd: number, capacity: number): Promise<Current> {
    const keyId = this.#options.keys.current().id;
    const file = await this.#fs.openDurable(this.#path(SPARE_NAME));
    await file.write(encodeHeader({ sequence, previousEnd, keyId, capacity }), 0);
    await this.#fs.rename(this.#path(SPARE_NAME), this.#path(segmentName(sequence)));
    await this.#fs.syncDirectory(this.#options.dir);
    const current = { file, sequence, keyId, capacity, offset: SEGMENT_HEADER_BYTES };
    this.#current = current;
    return current;
  }

  #prepareSpare(): Promise<number> {
    const preparing = this.#prepare();
    // Whoever needs the segment hears of the failure; until then nobody waits for it.
    preparing.catch(() => undefined);
    return preparing;
  }

  /** Resolves to 0 where there is no room yet: whoever needs the segment tries again. */
  async #prepare(): Promise<number> {
    try {
      return await this.#makeSpare(SEGMENT_HEADER_BYTES);
    } catch (error) {
      if (isDiskFull(error)) return 0;
      throw error;
    }
  }

  /** Preallocates the next segment, a smaller one where the disk is nearly full; its size. */
  async #makeSpare(least: number): Promise<number> {
    for (let size = Math.max(this.#segmentBytes, least); ; size = Math.floor(size / 4)) {
      try {
        await preallocate(this.#fs, this.#path(SPARE_NAME), size);
        return size;
      } catch (error) {
        if (!isDiskFull(error) || size / 4 < Math.max(least, SEGMENT_MIN_BYTES)) throw error;
      }
    }
  }

  async #remove(before: number): Promise<void> {
    // Oldest first and each durably, so that a crash in between never leaves a gap.
    for (let oldest = this.#older[0]; oldest !== undefined; oldest = this.#older[0]) {
      if (oldest.sequence >= before) return;
      await this.#fs.remove(this.#path(segmentName(oldest.sequence)));
      await this.#fs.syncDirectory(this.#options.dir);
      this.#older.shift();
    }
  }

  #fail(error: unknown, batch: readonly Waiting[]): void {
    const advice = isDiskFull(error) ? `; free some space on the disk of ${this.#options.dir}` : "";
    const reason = `${messageOf(error)}${advice}`;
    const message = `writing the raft log failed, nothing more can be stored: ${reason}`;
    const failure = new EngineError("data-loss", message, { cause: error });
    this.#failure = failure;
    for (const { reject } of [...batch, ...this.#waiting]) reject(failure);
    this.#waiting = [];
    this.#options.onFailure(failure);
  }

  #path(name: string): string {
    return join(this.#options.dir, name);
  }
}
