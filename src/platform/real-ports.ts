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

export const realRandom: Random = {
  int: (bound) => randomInt(bound),
  bytes: (length) => new Uint8Array(randomBytes(length)),
};
