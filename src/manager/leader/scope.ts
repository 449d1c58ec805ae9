/**
 * The parts of a leader as one scope: they begin together, and when one of them fails all end, so
 * that there is never half a leader.
 */

import { setMaxListeners } from "node:events";
import { messageOf } from "#base/error.ts";
import type { Log } from "#base/ports.ts";
import type { ManagerPart } from "../manager-ports.ts";

const LOOPS_LISTENERS_MAX = 100;

/** Runs what each part does while this manager leads; rejects with the first failure. */
export async function leadTogether(
  parts: readonly ManagerPart[],
  signal: AbortSignal,
  log: Log,
): Promise<void> {
  const scope = new AbortController();
  // Every part listens to it, most of them more than once; Node takes more than ten for a leak.
  setMaxListeners(LOOPS_LISTENERS_MAX, scope.signal);
  const end = () => scope.abort(signal.reason);
  if (signal.aborted) end();
  signal.addEventListener("abort", end, { once: true });
  const loops = parts.map(async (part) => {
    try {
      await part.lead?.(scope.signal);
    } catch (error) {
      if (scope.signal.aborted) return;
      log.error("a loop of the leader failed; leadership is given up", {
        part: part.name,
        reason: messageOf(error),
      });
      scope.abort(error);
      throw error;
    }
  });
  const results = await Promise.allSettled(loops);
  signal.removeEventListener("abort", end);
  const failed = results.find((result) => result.status === "rejected");
  if (failed !== undefined) throw failed.reason;
}
