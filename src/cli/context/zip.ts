/** The files of a small zip in memory (PKWARE APPNOTE.TXT, sections 4.3.12 and 4.3.16): stored or deflated. */

import { inflateRawSync } from "node:zlib";
import { EngineError } from "#base/error.ts";

const END_BYTES = 22;
const END_MARK = 0x06054b50;
const ENTRY_BYTES = 46;
const ENTRY_MARK = 0x02014b50;
const LOCAL_BYTES = 30;
const COMMENT_MAX_BYTES = 0xffff;
const FILES_MAX = 1000;
/** Of all files together, unpacked. */
const CONTENT_MAX_BYTES = 10 * 1024 * 1024;

const STORED = 0;
const DEFLATED = 8;

export interface ZipEntry {
  readonly name: string;
  readonly content: Buffer;
}

export function isZip(bytes: Buffer): boolean {
  return bytes.subarray(0, 4).equals(Buffer.from("PK\x03\x04", "latin1"));
}

/** Throws invalid-argument for what is no such zip, or unpacks to too much. */
export function zipEntries(bytes: Buffer): readonly ZipEntry[] {
  try {
    return readEntries(bytes);
  } catch (error) {
    if (error instanceof EngineError) throw error;
    throw new EngineError("invalid-argument", "zip: not a valid zip file", { cause: error });
  }
}

function readEntries(bytes: Buffer): readonly ZipEntry[] {
  const end = endOfDirectory(bytes);
  const count = bytes.readUInt16LE(end + 10);
  if (count > FILES_MAX) throw tooLarge();
  const entries: ZipEntry[] = [];
  let left = CONTENT_MAX_BYTES;
  let at = bytes.readUInt32LE(end + 16);
  for (let index = 0; index < count; index += 1) {
    if (bytes.readUInt32LE(at) !== ENTRY_MARK) throw new Error("no entry where one was told");
    const nameLength = bytes.readUInt16LE(at + 28);
    const name = bytes.toString("utf8", at + ENTRY_BYTES, at + ENTRY_BYTES + nameLength);
    const content = contentOf(bytes, at, left);
    left -= content.length;
    entries.push({ name, content });
    at += ENTRY_BYTES + nameLength + bytes.readUInt16LE(at + 30) + bytes.readUInt16LE(at + 32);
  }
  return entries;
}

function endOfDirectory(bytes: Buffer): number {
  const last = bytes.length - END_BYTES;
  for (let at = last; at >= Math.max(0, last - COMMENT_MAX_BYTES); at -= 1) {
    if (bytes.readUInt32LE(at) === END_MARK) return at;
  }
  throw new Error("no end of the directory");
}

/** What the directory's entry at `at` names, of at most `max` bytes. */
function contentOf(bytes: Buffer, at: number, max: number): Buffer {
  const method = bytes.readUInt16LE(at + 10);
  const packedBytes = bytes.readUInt32LE(at + 20);
  const local = bytes.readUInt32LE(at + 42);
  const start =
    local + LOCAL_BYTES + bytes.readUInt16LE(local + 26) + bytes.readUInt16LE(local + 28);
  if (start + packedBytes > bytes.length) throw new Error("cut off");
  const packed = bytes.subarray(start, start + packedBytes);
  if (method === STORED) {
    if (packed.length > max) throw tooLarge();
    return packed;
  }
  if (method !== DEFLATED) throw new Error(`unknown method ${method}`);
  try {
    return packed.length === 0 ? packed : inflateRawSync(packed, { maxOutputLength: max + 1 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ERR_BUFFER_TOO_LARGE") throw tooLarge();
    throw error;
  }
}

function tooLarge(): EngineError {
  return new EngineError("invalid-argument", "read exceeds the defined limit");
}
