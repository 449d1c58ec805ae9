/** Reads a snapshot's file chunk by chunk; what is not as it was written is refused by place. */

import { EngineError } from "#base/error.ts";
import type { FileSystem, ReadableFile } from "./file-system.ts";
import type { KeyRing } from "./key-ring.ts";
import {
  CHUNK_HEADER_BYTES,
  chunkLength,
  chunkSize,
  decodeChunk,
  decodeSnapshotHeader,
  SNAPSHOT_HEADER_BYTES,
  type SnapshotContent,
  type SnapshotHeader,
  type SnapshotName,
} from "./snapshot-format.ts";
import { checksum, type Written } from "./snapshot-writer.ts";

/** A snapshot on disk. Close it; closing twice is fine. */
export interface SnapshotReader {
  readonly name: SnapshotName;
  readonly content: SnapshotContent;
  /** The key that it is sealed with. */
  readonly keyId: string;
  readonly about: Uint8Array;
  /** The content from a place on; throws `data-loss`, naming file and offset, where it is damaged. */
  chunks(from?: number): AsyncGenerator<Uint8Array>;
  close(): Promise<void>;
}

export async function openSnapshot(
  fs: FileSystem,
  path: string,
  name: SnapshotName,
  keys: KeyRing,
): Promise<SnapshotReader> {
  const file = await fs.openRead(path);
  try {
    return await OpenSnapshot.read(file, path, name, keys);
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** A file that may not be finished. */
export interface PartialSnapshot {
  readonly content: SnapshotContent;
  readonly keyId: string;
  readonly about: Uint8Array;
  /** How far it can be read. */
  readonly written: Written;
  readonly isComplete: boolean;
}

/** Looks at every byte of an unfinished file; undefined if nothing of it can be used. */
export async function inspectPartial(
  fs: FileSystem,
  path: string,
  name: SnapshotName,
  keys: KeyRing,
): Promise<PartialSnapshot | undefined> {
  const file = await fs.openRead(path);
  try {
    const snapshot = await OpenSnapshot.read(file, path, name, keys);
    const { content, keyId, about } = snapshot;
    return { content, keyId, about, ...(await snapshot.usable()) };
  } catch (error) {
    if (error instanceof EngineError) return undefined;
    throw error;
  } finally {
    await file.close();
  }
}

class OpenSnapshot implements SnapshotReader {
  readonly name: SnapshotName;
  readonly content: SnapshotContent;
  readonly keyId: string;
  readonly #file: ReadableFile;
  readonly #path: string;
  readonly #key: Uint8Array;
  #about: Uint8Array = new Uint8Array(0);
  #isClosed = false;
  /** Where the content begins in the file. */
  #begin = SNAPSHOT_HEADER_BYTES;

  private constructor(
    file: ReadableFile,
    path: string,
    name: SnapshotName,
    header: SnapshotHeader,
    key: Uint8Array,
  ) {
    this.#file = file;
    this.#path = path;
    this.name = name;
    this.content = header.content;
    this.keyId = header.keyId;
    this.#key = key;
  }

  static async read(
    file: ReadableFile,
    path: string,
    name: SnapshotName,
    keys: KeyRing,
  ): Promise<OpenSnapshot> {
    const header = decodeSnapshotHeader(await file.read(0, SNAPSHOT_HEADER_BYTES));
    if (header === undefined) throw damage(path, 0, "its header is not valid");
    const key = keys.find(header.keyId);
    if (key === undefined) {
      const message = `${path} is encrypted with the key ${header.keyId}, which is not at hand`;
      throw new EngineError("failed-precondition", message);
    }
    const snapshot = new OpenSnapshot(file, path, name, header, key.key);
    await snapshot.#readAbout();
    return snapshot;
  }

  get about(): Uint8Array {
    return this.#about;
  }

  async *chunks(from = 0): AsyncGenerator<Uint8Array> {
    const { length } = this.content;
    let at = this.#begin;
    let offset = 0;
    do {
      const size = await this.#lengthAt(at);
      const end = offset + size;
      // Skipped unseen; the last one never, so that a missing end is noticed.
      if (end > from || end >= length) {
        const chunk = await this.#read(at, offset, size);
        if (end > from) yield chunk.subarray(Math.max(0, from - offset));
      }
      at += chunkSize(size);
      offset = end;
    } while (offset < length);
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    await this.#file.close();
  }

  /** Reads on until something is not as it should be. */
  async usable(): Promise<{ readonly written: Written; readonly isComplete: boolean }> {
    let written: Written = { end: this.#begin, length: 0, crc: 0 };
    try {
      do {
        const size = await this.#lengthAt(written.end);
        const chunk = await this.#read(written.end, written.length, size);
        written = {
          end: written.end + chunkSize(size),
          length: written.length + size,
          crc: checksum(chunk, written.crc),
        };
      } while (written.length < this.content.length);
    } catch (error) {
      if (!(error instanceof EngineError)) throw error;
      return { written, isComplete: false };
    }
    return { written, isComplete: true };
  }

  async #readAbout(): Promise<void> {
    const length = await this.#lengthAt(this.#begin);
    const place = {
      name: this.name,
      contentId: this.content.id,
      kind: "about",
      offset: 0,
    } as const;
    const bytes = await this.#file.read(this.#begin, chunkSize(length));
    this.#about = this.#opened(bytes, this.#begin, length, place);
    this.#begin += chunkSize(length);
  }

  /** Length of the content of the chunk that begins there. */
  async #lengthAt(at: number): Promise<number> {
    const length = chunkLength(await this.#file.read(at, CHUNK_HEADER_BYTES));
    if (length === undefined) throw damage(this.#path, at, "no chunk begins there");
    return length;
  }

  async #read(at: number, offset: number, length: number): Promise<Uint8Array> {
    const end = offset + length;
    if (end > this.content.length) throw damage(this.#path, at, "a chunk goes beyond the end");
    const kind = end === this.content.length ? "last" : "part";
    if (kind === "part" && length === 0) throw damage(this.#path, at, "a chunk is empty");
    const place = { name: this.name, contentId: this.content.id, kind, offset } as const;
    return this.#opened(await this.#file.read(at, chunkSize(length)), at, length, place);
  }

  #opened(
    bytes: Buffer,
    at: number,
    length: number,
    place: Parameters<typeof decodeChunk>[1],
  ): Uint8Array {
    if (bytes.length < chunkSize(length)) throw damage(this.#path, at, "it is cut off");
    const plain = decodeChunk(bytes, place, this.#key);
    if (typeof plain === "string") throw damage(this.#path, at, plain);
    return plain;
  }
}

function damage(path: string, offset: number, what: string): EngineError {
  return new EngineError(
    "data-loss",
    `the raft snapshot ${path} is damaged at byte ${offset}: ${what}`,
  );
}
