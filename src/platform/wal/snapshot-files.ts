/**
 * Snapshots on disk: one sealed file each, complete or absent, named by raft index and term.
 *
 *   magic "skepsnap" · key id 8 · nonce 12 · length u64 · crc32 u32 · sealed bytes
 *
 * The CRC covers everything before and after itself. Older snapshots are deleted once a newer one
 * is durable; a damaged newest one is an error, not a reason to fall back: the log behind an older
 * one may be gone.
 */

import { join } from "node:path";
import { crc32 } from "node:zlib";
import { EngineError } from "#base/error.ts";
import type { Random } from "#base/ports.ts";
import type { FileSystem } from "./file-system.ts";
import { ensureDirectory, removeTemporaries, writeDurably } from "./files.ts";
import { KEY_ID_BYTES, type KeyRing } from "./key-ring.ts";
import { NONCE_BYTES, Sealer, unseal } from "./seal.ts";

const MAGIC = Buffer.from("skepsnap");
const NONCE_AT = MAGIC.length + KEY_ID_BYTES;
const LENGTH_AT = NONCE_AT + NONCE_BYTES;
const CRC_AT = LENGTH_AT + 8;
const HEADER_BYTES = CRC_AT + 4;

export interface SnapshotName {
  readonly index: number;
  readonly term: number;
}

export interface SnapshotFiles {
  /** Newest first. */
  list(): Promise<readonly SnapshotName[]>;
  save(name: SnapshotName, pieces: readonly Uint8Array[]): Promise<void>;
  load(name: SnapshotName): Promise<Uint8Array>;
  /** Deletes all but the `keep` newest. */
  prune(keep: number): Promise<void>;
  discard(names: readonly SnapshotName[]): Promise<void>;
}

export async function openSnapshotFiles(
  fs: FileSystem,
  dir: string,
  keys: KeyRing,
  random: Random,
): Promise<SnapshotFiles> {
  await ensureDirectory(fs, dir);
  await removeTemporaries(fs, dir);
  const sealer = new Sealer(random);
  const pathOf = (name: SnapshotName) => join(dir, fileName(name));
  const list = async () => {
    const names = (await fs.list(dir)).map(parseName).filter((name) => name !== undefined);
    return names.toSorted((a, b) => b.index - a.index || b.term - a.term);
  };
  const discard = async (names: readonly SnapshotName[]) => {
    for (const name of names) await fs.remove(pathOf(name));
    if (names.length > 0) await fs.syncDirectory(dir);
  };
  return {
    list,
    discard,
    save: async (name, pieces) => {
      const { id, key } = keys.current();
      const sealed = await sealer.sealSlowly(key, pieces, associated(name));
      const header = encodeHeader(id, sealed.nonce, sealed.pieces);
      await writeDurably(fs, pathOf(name), [header, ...sealed.pieces]);
    },
    load: async (name) => decode(pathOf(name), await fs.read(pathOf(name)), name, keys),
    prune: async (keep) => discard((await list()).slice(keep)),
  };
}

function encodeHeader(keyId: string, nonce: Uint8Array, sealed: readonly Uint8Array[]): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  header.set(MAGIC);
  header.write(keyId, MAGIC.length, "hex");
  header.set(nonce, NONCE_AT);
  header.writeBigUInt64LE(BigInt(sealed.reduce((sum, { length }) => sum + length, 0)), LENGTH_AT);
  let crc = crc32(header.subarray(0, CRC_AT));
  for (const piece of sealed) crc = crc32(piece, crc);
  header.writeUInt32LE(crc, CRC_AT);
  return header;
}

function decode(path: string, bytes: Buffer, name: SnapshotName, keys: KeyRing): Uint8Array {
  const body = bytes.subarray(HEADER_BYTES);
  const isWhole =
    bytes.length >= HEADER_BYTES &&
    bytes.subarray(0, MAGIC.length).equals(MAGIC) &&
    bytes.readBigUInt64LE(LENGTH_AT) === BigInt(body.length) &&
    bytes.readUInt32LE(CRC_AT) === crc32(body, crc32(bytes.subarray(0, CRC_AT)));
  if (!isWhole) throw damage(path, "its checksum is wrong");
  const keyId = bytes.toString("hex", MAGIC.length, NONCE_AT);
  const key = keys.find(keyId);
  if (key === undefined) {
    const message = `${path} is encrypted with the key ${keyId}, which is not at hand`;
    throw new EngineError("failed-precondition", message);
  }
  const nonce = bytes.subarray(NONCE_AT, LENGTH_AT);
  const payload = unseal(key.key, nonce, body, associated(name));
  if (payload === undefined) throw damage(path, `the key ${keyId} does not open it`);
  return payload;
}

function damage(path: string, what: string): EngineError {
  return new EngineError("data-loss", `the raft snapshot ${path} is damaged: ${what}`);
}

function fileName({ index, term }: SnapshotName): string {
  return `${hex(index)}-${hex(term)}.snap`;
}

function parseName(name: string): SnapshotName | undefined {
  const match = /^([0-9a-f]{16})-([0-9a-f]{16})\.snap$/.exec(name);
  if (match?.[1] === undefined || match[2] === undefined) return undefined;
  return { index: Number.parseInt(match[1], 16), term: Number.parseInt(match[2], 16) };
}

function hex(value: number): string {
  return value.toString(16).padStart(16, "0");
}

function associated(name: SnapshotName): Uint8Array {
  return Buffer.from(`snapshot ${name.index} ${name.term}`);
}
