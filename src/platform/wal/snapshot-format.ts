/**
 * A snapshot's file. Its name says raft index and term; its content are bytes of the caller, in
 * chunks, each checked and sealed on its own, so that it is written, read and sent in pieces.
 *
 *   magic "skepsnp2" · key id 8 · content id 16 · length u64 · content crc32 u32 · crc32 u32 · zeros to 64
 *   chunk: length u32 · crc32 u32 · nonce 12 · sealed bytes
 *
 * All numbers little-endian. The first chunk holds what the snapshot is about and is no part of the
 * content. The seal covers name, content id, place in the content, and whether a chunk is the last
 * one: chunks of another file, in another order, or without their end are not taken.
 *
 * The content id is drawn once, where the snapshot is made, and kept by all who get a copy: the same
 * id is the same bytes, on whatever manager.
 */

import { crc32 } from "node:zlib";
import { KEY_ID_BYTES } from "./key-ring.ts";
import { NONCE_BYTES, type Sealer, TAG_BYTES, unseal } from "./seal.ts";

const MAGIC = Buffer.from("skepsnp2");
const CONTENT_ID_AT = MAGIC.length + KEY_ID_BYTES;
export const CONTENT_ID_BYTES = 16;
const LENGTH_AT = CONTENT_ID_AT + CONTENT_ID_BYTES;
const CONTENT_CRC_AT = LENGTH_AT + 8;
const CRC_AT = CONTENT_CRC_AT + 4;
/** Also where the first chunk begins. */
export const SNAPSHOT_HEADER_BYTES = 64;

const CHUNK_CRC_AT = 4;
const CHUNK_NONCE_AT = 8;
export const CHUNK_HEADER_BYTES = CHUNK_NONCE_AT + NONCE_BYTES;
/** Content of one chunk, bytes. */
export const CHUNK_BYTES = 1024 * 1024;

export interface SnapshotName {
  readonly index: number;
  readonly term: number;
}

/** Which bytes a snapshot consists of. */
export interface SnapshotContent {
  /** 32 hexadecimal characters. */
  readonly id: string;
  /** Bytes. */
  readonly length: number;
  readonly crc: number;
}

export interface SnapshotHeader {
  readonly keyId: string;
  readonly content: SnapshotContent;
}

/** `about`: what the snapshot is about. `part`: content that goes on behind it. `last`: its end. */
export type ChunkKind = "about" | "part" | "last";

const KIND_NUMBERS: Readonly<Record<ChunkKind, number>> = { about: 0, part: 1, last: 2 };

export interface ChunkPlace {
  readonly name: SnapshotName;
  readonly contentId: string;
  readonly kind: ChunkKind;
  /** Where it begins in the content. */
  readonly offset: number;
}

export function encodeSnapshotHeader({ keyId, content }: SnapshotHeader): Buffer {
  const bytes = Buffer.alloc(SNAPSHOT_HEADER_BYTES);
  bytes.set(MAGIC);
  bytes.write(keyId, MAGIC.length, "hex");
  bytes.write(content.id, CONTENT_ID_AT, "hex");
  bytes.writeBigUInt64LE(BigInt(content.length), LENGTH_AT);
  bytes.writeUInt32LE(content.crc, CONTENT_CRC_AT);
  bytes.writeUInt32LE(crc32(bytes.subarray(0, CRC_AT)), CRC_AT);
  return bytes;
}

/** Undefined if these bytes are no whole header. */
export function decodeSnapshotHeader(bytes: Buffer): SnapshotHeader | undefined {
  if (bytes.length < SNAPSHOT_HEADER_BYTES) return undefined;
  if (bytes.compare(MAGIC, 0, MAGIC.length, 0, MAGIC.length) !== 0) return undefined;
  if (bytes.readUInt32LE(CRC_AT) !== crc32(bytes.subarray(0, CRC_AT))) return undefined;
  const content = {
    id: bytes.toString("hex", CONTENT_ID_AT, LENGTH_AT),
    length: Number(bytes.readBigUInt64LE(LENGTH_AT)),
    crc: bytes.readUInt32LE(CONTENT_CRC_AT),
  };
  return { keyId: bytes.toString("hex", MAGIC.length, CONTENT_ID_AT), content };
}

export function encodeChunk(
  plain: Uint8Array,
  place: ChunkPlace,
  key: Uint8Array,
  sealer: Sealer,
): Buffer {
  const { nonce, pieces } = sealer.seal(key, [plain], associated(place));
  const header = Buffer.alloc(CHUNK_HEADER_BYTES);
  header.writeUInt32LE(plain.length);
  header.set(nonce, CHUNK_NONCE_AT);
  const chunk = Buffer.concat([header, ...pieces]);
  chunk.writeUInt32LE(chunkChecksum(chunk), CHUNK_CRC_AT);
  return chunk;
}

/** Length of a chunk's content, from its first bytes; undefined if no chunk can begin so. */
export function chunkLength(header: Buffer): number | undefined {
  if (header.length < CHUNK_HEADER_BYTES) return undefined;
  const length = header.readUInt32LE();
  return length <= CHUNK_BYTES ? length : undefined;
}

/** Bytes that a chunk takes in the file. */
export function chunkSize(length: number): number {
  return CHUNK_HEADER_BYTES + length + TAG_BYTES;
}

/** Why the bytes are not the chunk that should be there. */
export type ChunkFault = "its checksum is wrong" | "the key does not open it, or it was altered";

export function decodeChunk(
  chunk: Buffer,
  place: ChunkPlace,
  key: Uint8Array,
): Buffer | ChunkFault {
  if (chunk.readUInt32LE(CHUNK_CRC_AT) !== chunkChecksum(chunk)) return "its checksum is wrong";
  const nonce = chunk.subarray(CHUNK_NONCE_AT, CHUNK_HEADER_BYTES);
  const sealed = chunk.subarray(CHUNK_HEADER_BYTES);
  return (
    unseal(key, nonce, sealed, associated(place)) ?? "the key does not open it, or it was altered"
  );
}

function chunkChecksum(chunk: Buffer): number {
  const length = crc32(chunk.subarray(0, CHUNK_CRC_AT));
  return crc32(chunk.subarray(CHUNK_NONCE_AT), length);
}

function associated({ name, contentId, kind, offset }: ChunkPlace): Uint8Array {
  const bytes = Buffer.alloc(25 + CONTENT_ID_BYTES);
  bytes.writeUInt8(KIND_NUMBERS[kind]);
  bytes.writeBigUInt64LE(BigInt(name.index), 1);
  bytes.writeBigUInt64LE(BigInt(name.term), 9);
  bytes.writeBigUInt64LE(BigInt(offset), 17);
  bytes.write(contentId, 25, "hex");
  return bytes;
}
