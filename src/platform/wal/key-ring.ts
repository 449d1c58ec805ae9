/**
 * Keys that encrypt the raft log and its snapshots. A file names the key that it was sealed with, so
 * that keys can be exchanged while old files are still read. Today the ring is one file that only
 * root reads; what locks it (autolock) or exchanges its keys implements the same interface.
 */

import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { dirname } from "node:path";
import { EngineError, messageOf } from "#base/error.ts";
import { toHex } from "#base/ids.ts";
import type { Random } from "#base/ports.ts";
import { ensureDirectory, writeDurably } from "./files.ts";

export interface DataKey {
  /** 16 hexadecimal characters, derived from the key. */
  readonly id: string;
  /** 32 bytes. */
  readonly key: Uint8Array;
}

export interface KeyRing {
  /** The key for everything written from now on. */
  current(): DataKey;
  /** The key of that id, if it is at hand. */
  find(id: string): DataKey | undefined;
}

export const KEY_ID_BYTES = 8;
const KEY_BYTES = 32;

export function dataKey(key: Uint8Array): DataKey {
  const digest = createHash("sha256").update("skep data key\0").update(key).digest();
  return { id: digest.subarray(0, KEY_ID_BYTES).toString("hex"), key };
}

/** A ring in memory; the first key is the current one. */
export function keyRing(keys: readonly [DataKey, ...DataKey[]]): KeyRing {
  return {
    current: () => keys[0],
    find: (id) => keys.find((key) => key.id === id),
  };
}

/**
 * The ring kept in a file: one key per line in hexadecimal, the current one first. Made with a fresh
 * key if the file is not there; `mayCreate` says whether that can be right.
 */
export async function openKeyFile(
  path: string,
  random: Random,
  mayCreate: boolean,
): Promise<KeyRing> {
  const text = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw new EngineError("internal", `cannot read the raft key: ${messageOf(error)}`);
  });
  if (text !== undefined) return parseKeys(path, text);
  if (!mayCreate) {
    const message = `the raft log is there but its key ${path} is missing; restore the file`;
    throw new EngineError("data-loss", message);
  }
  const key = random.bytes(KEY_BYTES);
  await ensureDirectory(dirname(path));
  await writeDurably(path, [Buffer.from(`${toHex(key)}\n`)]);
  return keyRing([dataKey(key)]);
}

function parseKeys(path: string, text: string): KeyRing {
  const lines = text.split("\n").filter((line) => line !== "");
  const keys = lines.map((line) => {
    if (!/^[0-9a-f]{64}$/.test(line)) {
      const message = `${path} holds a line that is not a key of 64 hexadecimal characters`;
      throw new EngineError("data-loss", message);
    }
    return dataKey(new Uint8Array(Buffer.from(line, "hex")));
  });
  const [first, ...rest] = keys;
  if (first === undefined) throw new EngineError("data-loss", `${path} holds no key`);
  return keyRing([first, ...rest]);
}
