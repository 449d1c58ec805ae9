/** The machine's own clock and entropy, behind the ports of `base/ports.ts`. */

import { randomBytes, randomInt } from "node:crypto";
import type { Clock, Random } from "#base/ports.ts";

export const realClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  setTimer(delayMs, callback) {
    const handle = setTimeout(callback, delayMs);
    handle.unref();
    return { cancel: () => clearTimeout(handle) };
  },
};

/** Entropy fetched ahead: asking the kernel for a few bytes costs as much as for thousands. */
const POOL_BYTES = 4096;
/** Longer wishes than this are fetched for themselves. */
const POOLED_BYTES_MAX = 64;
let pool = Buffer.alloc(0);
let used = 0;

function pooled(length: number): Uint8Array {
  if (used + length > pool.length) {
    pool = randomBytes(POOL_BYTES);
    used = 0;
  }
  const bytes = new Uint8Array(pool.subarray(used, used + length));
  // What was given out may become a key: no second copy of it stays.
  pool.fill(0, used, used + length);
  used += length;
  return bytes;
}

export const realRandom: Random = {
  int: (bound) => randomInt(bound),
  bytes: (length) =>
    length <= POOLED_BYTES_MAX ? pooled(length) : new Uint8Array(randomBytes(length)),
};
