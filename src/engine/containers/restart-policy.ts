/** Whether a container that ended is started again, and how long to wait first. Pure. */

import type { RestartPolicy } from "#wire/docker/containers.ts";

const FIRST_DELAY_MS = 100;
const DELAY_MAX_MS = 60_000;
/** A run of this long counts as a success: the next delay starts over. */
const STABLE_MS = 10_000;

export interface Ending {
  readonly exitCode: number;
  /** Restarts by policy until now. */
  readonly restartCount: number;
  /** Stopped, killed or removed through the API. */
  readonly stoppedByUser: boolean;
  readonly ranForMs: number;
  /** The delay before this run; 0 when it was not started by the policy. */
  readonly lastDelayMs: number;
}

/** Milliseconds to wait before the next start; undefined = it stays down. */
export function planRestart(policy: RestartPolicy | undefined, ending: Ending): number | undefined {
  if (ending.stoppedByUser || !wantsRestart(policy, ending)) return undefined;
  if (ending.ranForMs >= STABLE_MS || ending.lastDelayMs === 0) return FIRST_DELAY_MS;
  return Math.min(ending.lastDelayMs * 2, DELAY_MAX_MS);
}

function wantsRestart(policy: RestartPolicy | undefined, ending: Ending): boolean {
  switch (policy?.Name) {
    case "always":
    case "unless-stopped":
      return true;
    case "on-failure": {
      const max = policy.MaximumRetryCount ?? 0;
      return ending.exitCode !== 0 && (max === 0 || ending.restartCount < max);
    }
    case "":
    case "no":
    case undefined:
      return false;
  }
}

/** Whether the start of the engine starts a container that was not running. */
export function startsWithEngine(
  policy: RestartPolicy | undefined,
  state: { readonly exitCode: number; readonly stoppedByUser: boolean; readonly everRan: boolean },
): boolean {
  if (!state.everRan) return false;
  switch (policy?.Name) {
    case "always":
      return true;
    case "unless-stopped":
      return !state.stoppedByUser;
    case "on-failure":
      return !state.stoppedByUser && state.exitCode !== 0;
    case "":
    case "no":
    case undefined:
      return false;
  }
}
