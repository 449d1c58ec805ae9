/**
 * A segment: one preallocated file of the log, named by its sequence number.
 *
 *   magic "skepwal1" · sequence u64 · end of the segment before it u64 · key id 8 · crc32 u32 · zeros
 *   to 40 · size of the file u64 · crc32 of that u32 · zeros
 *
 * The header is 64 bytes and never changes. Segments get their name only when the header is on
 * disk, so one without a valid header is damaged; and because each tells where the one before it
 * ended, a record lost at the end of any but the newest is noticed. Of the newest, the size tells what a
 * crash cannot do: cut the file. (Logs of old have no size; what is lost of them so is not noticed.)
 */

import { crc32 } from "node:zlib";
import type { FileSystem } from "./file-system.ts";
import { KEY_ID_BYTES } from "./key-ring.ts";

const MAGIC = Buffer.from("skepwal1");
const SEQUENCE_AT = 8;
const PREVIOUS_END_AT = 16;
const KEY_AT = 24;
const CRC_AT = KEY_AT + KEY_ID_BYTES;
const CAPACITY_AT = 40;
const CAPACITY_CRC_AT = CAPACITY_AT + 8;
/** Also where the first frame begins. */
export const SEGMENT_HEADER_BYTES = 64;

export interface SegmentHeader {
  readonly sequence: number;
  /** Where the frames of the segment before this one end; 0 for the first one. */
  readonly previousEnd: number;
  readonly keyId: string;
  /** Size of the file, bytes; 0 where it is not known. */
  readonly capacity: number;
}

export function segmentName(sequence: number): string {
  return `${sequence.toString(16).padStart(16, "0")}.wal`;
}

export function sequenceOf(name: string): number | undefined {
  const match = /^([0-9a-f]{16})\.wal$/.exec(name);
  return match?.[1] === undefined ? undefined : Number.parseInt(match[1], 16);
}

export function encodeHeader(header: SegmentHeader): Buffer {
  const bytes = Buffer.alloc(SEGMENT_HEADER_BYTES);
  bytes.set(MAGIC);
  bytes.writeBigUInt64LE(BigInt(header.sequence), SEQUENCE_AT);
  bytes.writeBigUInt64LE(BigInt(header.previousEnd), PREVIOUS_END_AT);
  bytes.write(header.keyId, KEY_AT, "hex");
  bytes.writeUInt32LE(crc32(bytes.subarray(0, CRC_AT)), CRC_AT);
  bytes.writeBigUInt64LE(BigInt(header.capacity), CAPACITY_AT);
  bytes.writeUInt32LE(crc32(bytes.subarray(CAPACITY_AT, CAPACITY_CRC_AT)), CAPACITY_CRC_AT);
  return bytes;
}

export function decodeHeader(bytes: Buffer): SegmentHeader | undefined {
  if (bytes.length < SEGMENT_HEADER_BYTES) return undefined;
  if (bytes.compare(MAGIC, 0, MAGIC.length, 0, MAGIC.length) !== 0) return undefined;
  if (bytes.readUInt32LE(CRC_AT) !== crc32(bytes.subarray(0, CRC_AT))) return undefined;
  return {
    sequence: Number(bytes.readBigUInt64LE(SEQUENCE_AT)),
    previousEnd: Number(bytes.readBigUInt64LE(PREVIOUS_END_AT)),
    keyId: bytes.toString("hex", KEY_AT, KEY_AT + KEY_ID_BYTES),
    capacity: readCapacity(bytes),
  };
}

function readCapacity(bytes: Buffer): number {
  const field = bytes.subarray(CAPACITY_AT, CAPACITY_CRC_AT);
  return bytes.readUInt32LE(CAPACITY_CRC_AT) === crc32(field) ? Number(field.readBigUInt64LE()) : 0;
}

const ZEROS = Buffer.alloc(1024 * 1024);

/**
 * Fills a file with zeros to its full size, so that later writes change neither its length nor its
 * blocks and an fdatasync flushes the data alone.
 */
export async function preallocate(fs: FileSystem, path: string, size: number): Promise<void> {
  const file = await fs.create(path);
  try {
    for (let offset = 0; offset < size; offset += ZEROS.length) {
      await file.write(ZEROS.subarray(0, Math.min(ZEROS.length, size - offset)), offset);
    }
    await file.sync();
  } finally {
    await file.close();
  }
}
