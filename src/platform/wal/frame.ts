/**
 * A frame is what one group commit writes: all records that waited, sealed together.
 *
 *   magic "SKWF" · segment u32 · length u32 · crc32 u32 · nonce 12 · sealed bytes · zeros to 8
 *
 * All numbers little-endian. The CRC covers everything after itself and the segment and length
 * before it; the seal covers segment and position too, so that a frame is valid in its place only
 * (segments are recycled without being wiped). Inside: records, each a u32 length and its bytes.
 *
 * A frame is written only after the one before it is on disk. So an invalid frame with a valid one
 * behind it is damage, and one with none is the torn end of the log.
 */

import { crc32 } from "node:zlib";
import { NONCE_BYTES, type Sealer, TAG_BYTES, unseal } from "./seal.ts";

const MAGIC = Buffer.from("SKWF");
const SEGMENT_AT = 4;
const LENGTH_AT = 8;
const CRC_AT = 12;
const NONCE_AT = 16;
export const FRAME_HEADER_BYTES = NONCE_AT + NONCE_BYTES;
const ALIGNMENT = 8;

/** Bytes that a frame of these records takes. */
export function frameSize(recordBytes: number, records: number): number {
  return aligned(FRAME_HEADER_BYTES + recordBytes + 4 * records + TAG_BYTES);
}

export interface Place {
  /** Sequence number of the segment. */
  readonly segment: number;
  /** Offset in its file. */
  readonly offset: number;
}

export function encodeFrame(
  records: readonly Uint8Array[],
  place: Place,
  key: Uint8Array,
  sealer: Sealer,
): Buffer {
  const plaintext: Uint8Array[] = [];
  let recordBytes = 0;
  for (const record of records) {
    const length = Buffer.alloc(4);
    length.writeUInt32LE(record.length);
    plaintext.push(length, record);
    recordBytes += record.length;
  }
  const { nonce, pieces } = sealer.seal(key, plaintext, associated(place));
  const frame = Buffer.alloc(frameSize(recordBytes, records.length));
  frame.set(MAGIC);
  frame.writeUInt32LE(place.segment >>> 0, SEGMENT_AT);
  frame.set(nonce, NONCE_AT);
  let end = FRAME_HEADER_BYTES;
  for (const piece of pieces) {
    frame.set(piece, end);
    end += piece.length;
  }
  frame.writeUInt32LE(end - FRAME_HEADER_BYTES, LENGTH_AT);
  frame.writeUInt32LE(checksum(frame, 0, end), CRC_AT);
  return frame;
}

export type FrameRead =
  | { readonly outcome: "frame"; readonly records: readonly Uint8Array[]; readonly end: number }
  /** No frame of this segment begins here. */
  | { readonly outcome: "none" }
  /** The checksum is right and the key is not, or someone changed the frame on purpose. */
  | { readonly outcome: "undecipherable" };

/** Reads the frame that begins at `offset` of a segment's bytes. */
export function decodeFrame(
  bytes: Buffer,
  offset: number,
  segment: number,
  key: Uint8Array,
): FrameRead {
  const end = validEnd(bytes, offset, segment);
  if (end === undefined) return { outcome: "none" };
  const nonce = bytes.subarray(offset + NONCE_AT, offset + FRAME_HEADER_BYTES);
  const sealed = bytes.subarray(offset + FRAME_HEADER_BYTES, end);
  const plaintext = unseal(key, nonce, sealed, associated({ segment, offset }));
  const records = plaintext === undefined ? undefined : splitRecords(plaintext);
  if (records === undefined) return { outcome: "undecipherable" };
  return { outcome: "frame", records, end: aligned(end) };
}

/** Offset of the first valid frame at or after `from`, if there is one. */
export function findFrame(bytes: Buffer, from: number, segment: number): number | undefined {
  for (let at = bytes.indexOf(MAGIC, from); at !== -1; at = bytes.indexOf(MAGIC, at + 1)) {
    if (at % ALIGNMENT === 0 && validEnd(bytes, at, segment) !== undefined) return at;
  }
  return undefined;
}

/** Where the sealed bytes of a frame end whose checksum is right. */
function validEnd(bytes: Buffer, offset: number, segment: number): number | undefined {
  if (offset + FRAME_HEADER_BYTES > bytes.length) return undefined;
  if (bytes.compare(MAGIC, 0, MAGIC.length, offset, offset + MAGIC.length) !== 0) return undefined;
  if (bytes.readUInt32LE(offset + SEGMENT_AT) !== segment >>> 0) return undefined;
  const end = offset + FRAME_HEADER_BYTES + bytes.readUInt32LE(offset + LENGTH_AT);
  if (end > bytes.length) return undefined;
  const stored = bytes.readUInt32LE(offset + CRC_AT);
  return stored === checksum(bytes, offset, end) ? end : undefined;
}

function checksum(bytes: Buffer, offset: number, end: number): number {
  const head = crc32(bytes.subarray(offset + SEGMENT_AT, offset + CRC_AT));
  return crc32(bytes.subarray(offset + NONCE_AT, end), head);
}

function splitRecords(plaintext: Buffer): readonly Uint8Array[] | undefined {
  const records: Uint8Array[] = [];
  let at = 0;
  while (at < plaintext.length) {
    if (at + 4 > plaintext.length) return undefined;
    const end = at + 4 + plaintext.readUInt32LE(at);
    if (end > plaintext.length) return undefined;
    records.push(plaintext.subarray(at + 4, end));
    at = end;
  }
  return records;
}

function associated({ segment, offset }: Place): Buffer {
  const bytes = Buffer.alloc(16);
  bytes.writeBigUInt64LE(BigInt(segment), 0);
  bytes.writeBigUInt64LE(BigInt(offset), 8);
  return bytes;
}

function aligned(size: number): number {
  return Math.ceil(size / ALIGNMENT) * ALIGNMENT;
}
