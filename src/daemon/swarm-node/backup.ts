/**
 * A swarm in one file: everything that its store holds, which includes the root's key, the tokens and
 * the secrets, at one moment. Sealed with AES-256-GCM under a key that the file does not hold; the
 * readable line before it says of which swarm and when, and is authenticated with the rest.
 *
 *     SKEP SWARM BACKUP 1\n  {"Cluster":…,"CreatedAt":…}\n  nonce (12)  sealed gzip of a StoreSnapshot  tag (16)
 */

import { createCipheriv, createDecipheriv, randomBytes } from "node:crypto";
import { promisify } from "node:util";
import { gunzip, gzip } from "node:zlib";
import { EngineError } from "#base/error.ts";
import { storeSnapshotOf } from "#store/snapshot.ts";
import type { ReadView } from "#store/types.ts";
import { decodeMessage } from "#wire/decode.ts";
import { encodeMessage } from "#wire/encode.ts";
import { type StoreSnapshot, StoreSnapshotSchema } from "#wire/gen/swarmkit/snapshot_pb.js";

/** Largest store that a file may hold. */
const STORE_MAX_BYTES = 1024 * 1024 * 1024;

const MAGIC = "SKEP SWARM BACKUP 1\n";
const CIPHER = "aes-256-gcm";
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const HEADER_MAX_BYTES = 4_096;

const compressed = promisify(gzip);
const expanded = promisify(gunzip);

export interface Backup {
  readonly clusterId: string;
  readonly createdAt: string;
  readonly store: StoreSnapshot;
}

export async function sealBackup(view: ReadView, key: Uint8Array, nowMs: number): Promise<Buffer> {
  const [cluster] = view.all("cluster");
  if (cluster === undefined) throw new EngineError("unavailable", "the swarm is still starting");
  const facts = { Cluster: cluster.id, CreatedAt: new Date(nowMs).toISOString() };
  const header = Buffer.from(`${MAGIC}${JSON.stringify(facts)}\n`);
  const content = await compressed(encodeMessage(StoreSnapshotSchema, storeSnapshotOf(view)));
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv(CIPHER, key, nonce);
  cipher.setAAD(header);
  return Buffer.concat([
    header,
    nonce,
    cipher.update(content),
    cipher.final(),
    cipher.getAuthTag(),
  ]);
}

/** `invalid-argument` for what is no backup, and for a wrong key or a damaged file. */
export async function openBackup(file: Uint8Array, key: Uint8Array): Promise<Backup> {
  const bytes = Buffer.from(file.buffer, file.byteOffset, file.byteLength);
  const start = MAGIC.length;
  const end = bytes.subarray(0, HEADER_MAX_BYTES).indexOf("\n", start);
  if (bytes.subarray(0, start).toString() !== MAGIC || end < 0) {
    throw refused("this is not a backup of a swarm, or one of a newer version");
  }
  const header = bytes.subarray(0, end + 1);
  const sealed = bytes.subarray(end + 1);
  if (sealed.length < NONCE_BYTES + TAG_BYTES) throw refused("the backup is cut off");
  const decipher = createDecipheriv(CIPHER, key, sealed.subarray(0, NONCE_BYTES));
  decipher.setAAD(header);
  decipher.setAuthTag(sealed.subarray(-TAG_BYTES));
  let content: Buffer;
  try {
    content = Buffer.concat([
      decipher.update(sealed.subarray(NONCE_BYTES, -TAG_BYTES)),
      decipher.final(),
    ]);
  } catch {
    throw refused("the backup cannot be opened: it is damaged, or this is not its key");
  }
  const encoded = await expanded(content, { maxOutputLength: STORE_MAX_BYTES });
  const facts = JSON.parse(header.subarray(start).toString()) as Record<string, unknown>;
  return {
    clusterId: String(facts["Cluster"]),
    createdAt: String(facts["CreatedAt"]),
    store: decodeMessage(StoreSnapshotSchema, encoded),
  };
}

function refused(reason: string): EngineError {
  return new EngineError("invalid-argument", reason);
}
