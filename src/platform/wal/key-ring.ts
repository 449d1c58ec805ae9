/**
 * Keys that encrypt the raft log and its snapshots. A file names the key that it was sealed with, so
 * that keys can be exchanged while old files are still read. Where keys are kept is the caller's.
 */

import { createHash } from "node:crypto";

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
