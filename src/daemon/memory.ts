/**
 * Keeps an engine at rest small. A start, a pull, a burst of tasks leave a young generation of the
 * heap that has grown and pools of the allocator that are empty; neither shrinks while little
 * happens. So when little happens, both are asked to, once for each time that memory has grown.
 */

import { performance } from "node:perf_hooks";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { trimMemory } from "#platform/libc.ts";

const CHECK_INTERVAL_MS = 10_000;
/** Less is not worth the pause. */
const GROWTH_MIN_BYTES = 4 * 1024 * 1024;
/** The share of an interval that the event loop was busy, below which the engine is at rest. */
const REST_MAX_UTILIZATION = 0.2;
/** A collection takes about a millisecond for each of these: a large heap is left to itself. */
const HEAP_MAX_BYTES = 64 * 1024 * 1024;

/** Returns how to stop. */
export function keepMemorySmall(): () => void {
  let loop = performance.eventLoopUtilization();
  let settledBytes = 0;
  const check = () => {
    const { utilization } = performance.eventLoopUtilization(loop);
    loop = performance.eventLoopUtilization();
    const grown = process.memoryUsage.rss() - settledBytes >= GROWTH_MIN_BYTES;
    if (!grown || utilization > REST_MAX_UTILIZATION) return;
    if (process.memoryUsage().heapUsed < HEAP_MAX_BYTES) collect();
    trimMemory();
    settledBytes = process.memoryUsage.rss();
  };
  const timer = setInterval(check, CHECK_INTERVAL_MS).unref();
  return () => clearInterval(timer);
}

let gc: (() => void) | undefined;

function collect(): void {
  if (gc === undefined) {
    setFlagsFromString("--expose-gc");
    gc = runInNewContext("gc") as () => void;
    setFlagsFromString("--no-expose-gc");
  }
  gc();
}
