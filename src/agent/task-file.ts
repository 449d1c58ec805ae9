/**
 * What a file of the task store looks like: a checksum where it may lie open, AES-256-GCM where the node
 * keeps its keys locked. Either form says which it is, so that one is read while the other is wanted. A
 * sealed file names its key, and is bound to its own name: none can be put in another's place.
 */

import { crc32 } from "node:zlib";
import { EngineError } from "#base/error.ts";
import { type DataKey, KEY_ID_BYTES } from "#platform/wal/key-ring.ts";
import { NONCE_BYTES, type Sealer, unseal } from "#platform/wal/seal.ts";

/** The keys of the task files, as they are at each moment. */
export interface TaskKeys {
  /** For everything written from now on; undefined: it may lie open. */
  current(): DataKey | undefined;
  /** The key of that id, if it is at hand. */
  find(id: string): DataKey | undefined;
}

/** Id of the key that a file is sealed with, or "open". */
export type TaskFileForm = string;

export const OPEN_FORM: TaskFileForm = "open";

const OPEN_MAGIC = 0x324b5453; // "STK2", little endian
const OPEN_HEADER_BYTES = 12;
const SEALED_MAGIC = 0x334b5453; // "STK3"
/** Magic, length of the ciphertext with its tag, key id; the nonce follows. */
const SEALED_HEADER_BYTES = 8 + KEY_ID_BYTES;

export function formOf(key: DataKey | undefined): TaskFileForm {
  return key?.id ?? OPEN_FORM;
}

/** Precondition: `key` is the sealer's to use. What lies behind the end in a longer file is no part of it. */
export function encodeTaskFile(
  name: string,
  payload: Uint8Array,
  key: DataKey | undefined,
  sealer: Sealer,
): Uint8Array {
  return key === undefined ? openFile(payload) : sealedFile(name, payload, key, sealer);
}

export interface TaskFile {
  readonly payload: Uint8Array;
  readonly form: TaskFileForm;
}

/** Throws `data-loss` with the reason when it is not as it was written, or its key is not at hand. */
export function decodeTaskFile(name: string, bytes: Buffer, keys: TaskKeys): TaskFile {
  if (bytes.length < OPEN_HEADER_BYTES) throw damaged("file is too short");
  const magic = bytes.readUInt32LE(0);
  if (magic === OPEN_MAGIC) return { payload: readOpen(bytes), form: OPEN_FORM };
  if (magic === SEALED_MAGIC) return readSealed(name, bytes, keys);
  throw damaged("wrong file type");
}

function openFile(payload: Uint8Array): Uint8Array {
  const header = Buffer.alloc(OPEN_HEADER_BYTES);
  header.writeUInt32LE(OPEN_MAGIC, 0);
  header.writeUInt32LE(crc32(payload), 4);
  header.writeUInt32LE(payload.length, 8);
  return Buffer.concat([header, payload]);
}

function readOpen(bytes: Buffer): Uint8Array {
  const end = OPEN_HEADER_BYTES + bytes.readUInt32LE(8);
  if (end > bytes.length) throw damaged("file is too short");
  const payload = bytes.subarray(OPEN_HEADER_BYTES, end);
  if (bytes.readUInt32LE(4) !== crc32(payload)) throw damaged("checksum does not match");
  return payload;
}

function sealedFile(name: string, payload: Uint8Array, key: DataKey, sealer: Sealer): Uint8Array {
  const associated = Buffer.from(name);
  const { nonce, pieces } = sealer.seal(key.key, [payload], associated);
  const sealed = Buffer.concat(pieces);
  const header = Buffer.alloc(SEALED_HEADER_BYTES);
  header.writeUInt32LE(SEALED_MAGIC, 0);
  header.writeUInt32LE(sealed.length, 4);
  header.write(key.id, 8, "hex");
  return Buffer.concat([header, nonce, sealed]);
}

function readSealed(name: string, bytes: Buffer, keys: TaskKeys): TaskFile {
  const start = SEALED_HEADER_BYTES + NONCE_BYTES;
  if (bytes.length < start) throw damaged("file is too short");
  const end = start + bytes.readUInt32LE(4);
  if (end > bytes.length) throw damaged("file is too short");
  const id = bytes.toString("hex", 8, SEALED_HEADER_BYTES);
  const key = keys.find(id);
  if (key === undefined) throw damaged(`its key ${id} is not at hand`);
  const nonce = bytes.subarray(SEALED_HEADER_BYTES, start);
  const payload = unseal(key.key, nonce, bytes.subarray(start, end), Buffer.from(name));
  if (payload === undefined) throw damaged("it is not what was sealed");
  return { payload, form: id };
}

function damaged(reason: string): EngineError {
  return new EngineError("data-loss", reason);
}
