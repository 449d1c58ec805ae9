/**
 * When a node asks for its next certificate: at a random moment between 50 and 80 % of the life of
 * the one it has, so that the nodes of a cluster do not all come at once; at once when it expired,
 * when the cluster asked for it (ROTATE) or when the certificate does not show the role that the
 * cluster wants. Failed attempts are repeated with growing pauses.
 */

import type { Random } from "#base/ports.ts";
import type { Validity } from "./profile.ts";

/** The cluster needs a moment to settle a node's role before its certificate can show it. */
const SETTLE_MS = 500;
const BACKOFF_FIRST_MS = 500;
const BACKOFF_MAX_MS = 5 * 60_000;

export interface RenewalState {
  readonly certificate: Validity;
  /** True while the cluster, or a role that does not fit, asks for a new certificate. */
  readonly wanted: boolean;
  /** Attempts that failed since the last success. */
  readonly failures: number;
}

/** Milliseconds from now to the next attempt. */
export function renewalDelayMs(state: RenewalState, nowMs: number, random: Random): number {
  if (state.failures > 0) {
    const ceiling = Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** Math.min(state.failures, 20));
    return Math.floor(ceiling / 2) + random.int(Math.ceil(ceiling / 2) + 1);
  }
  if (state.wanted) return SETTLE_MS;
  const { notBeforeMs, notAfterMs } = state.certificate;
  const life = notAfterMs - notBeforeMs;
  if (nowMs >= notAfterMs || life <= 0) return 0;
  const from = notBeforeMs + Math.floor(life * 0.5);
  const until = notBeforeMs + Math.floor(life * 0.8);
  if (nowMs >= until) return 0;
  const start = Math.max(nowMs, from);
  return start - nowMs + random.int(until - start + 1);
}
