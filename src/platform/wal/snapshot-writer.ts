/** Writes a snapshot's file chunk by chunk; never holds more of it than one chunk and one piece. */

import { crc32 } from "node:zlib";
import { EngineError } from "#base/error.ts";
import type { LogFile } from "./file-system.ts";
import type { DataKey } from "./key-ring.ts";
import type { Sealer } from "./seal.ts";
import {
  CHUNK_BYTES,
  type ChunkKind,
  encodeChunk,
  encodeSnapshotHeader,
  SNAPSHOT_HEADER_BYTES,
  type SnapshotContent,
  type SnapshotName,
} from "./snapshot-format.ts";

/** How far a file is written. */
export interface Written {
  /** Where the next chunk goes in the file. */
  readonly end: number;
  /** Bytes of the content so far, and their checksum. */
  readonly length: number;
  readonly crc: number;
}

export interface WriterOptions {
  readonly file: LogFile;
  readonly name: SnapshotName;
  readonly contentId: string;
  readonly key: DataKey;
  readonly sealer: Sealer;
  /** Where an earlier writer stopped. */
  readonly from?: Written | undefined;
  /** Content of one chunk, bytes. */
  readonly chunkBytes?: number | undefined;
}

export class SnapshotWriter {
  readonly #options: WriterOptions;
  #waiting: Uint8Array[] = [];
  #waitingBytes = 0;
  readonly #chunkBytes: number;
  #end: number;
  #length: number;
  #crc: number;

  constructor(options: WriterOptions) {
    this.#options = options;
    this.#chunkBytes = options.chunkBytes ?? CHUNK_BYTES;
    const { end, length, crc } = options.from ?? { end: SNAPSHOT_HEADER_BYTES, length: 0, crc: 0 };
    this.#end = end;
    this.#length = length;
    this.#crc = crc;
  }

  get contentId(): string {
    return this.#options.contentId;
  }

  get written(): Written {
    return { end: this.#end, length: this.#length, crc: this.#crc };
  }

  /** What the snapshot is about; comes first. */
  async writeAbout(about: Uint8Array): Promise<void> {
    await this.#write("about", about);
  }

  /** For a content that is known before it is there: makes it possible to go on after a crash. */
  async writeHeader(content: SnapshotContent): Promise<void> {
    const { file, key } = this.#options;
    await file.write(encodeSnapshotHeader({ keyId: key.id, content }), 0);
  }

  async append(piece: Uint8Array): Promise<void> {
    this.#waiting.push(piece);
    this.#waitingBytes += piece.length;
    // What could be the end waits: the last chunk says that it is the last.
    while (this.#waitingBytes > this.#chunkBytes) await this.#flush("part");
  }

  /** Writes the end and, where it is not there yet, the header; all of it is durable then. */
  async finish(expected: SnapshotContent | undefined): Promise<SnapshotContent> {
    const rest = Buffer.concat(this.#waiting);
    const content = {
      id: this.#options.contentId,
      length: this.#length + rest.length,
      crc: checksum(rest, this.#crc),
    };
    if (expected !== undefined) ensureSame(content, expected);
    await this.#flush("last");
    if (expected === undefined) await this.writeHeader(content);
    await this.#options.file.sync();
    return content;
  }

  async #flush(kind: ChunkKind): Promise<void> {
    const all = this.#waiting.length === 1 ? this.#waiting[0] : Buffer.concat(this.#waiting);
    const bytes = all ?? new Uint8Array(0);
    const chunk = bytes.subarray(0, this.#chunkBytes);
    this.#waiting = chunk.length < bytes.length ? [bytes.subarray(chunk.length)] : [];
    this.#waitingBytes = bytes.length - chunk.length;
    await this.#write(kind, chunk);
    this.#crc = checksum(chunk, this.#crc);
    this.#length += chunk.length;
  }

  async #write(kind: ChunkKind, plain: Uint8Array): Promise<void> {
    const { file, name, contentId, key, sealer } = this.#options;
    const place = { name, contentId, kind, offset: this.#length };
    const chunk = encodeChunk(plain, place, key.key, sealer);
    await file.write(chunk, this.#end);
    this.#end += chunk.length;
  }
}

function ensureSame(content: SnapshotContent, expected: SnapshotContent): void {
  if (content.length === expected.length && content.crc === expected.crc) return;
  const message =
    content.length === expected.length
      ? "a snapshot whose checksum is wrong is not accepted"
      : `a snapshot of ${content.length} bytes that was announced with ${expected.length} is not accepted`;
  throw new EngineError("invalid-argument", message);
}

/** Node's crc32 of nothing forgets the sum so far. */
export function checksum(bytes: Uint8Array, before: number): number {
  return bytes.length === 0 ? before : crc32(bytes, before);
}
