/** "Up 5 minutes (healthy)", "Exited (0) 3 seconds ago": a container's state in docker's words. */

import { parseNs } from "../logs/timestamps.ts";
import type { HealthState } from "./health-state.ts";
import type { RunState } from "./record.ts";

export function describeStatus(
  state: RunState,
  health: HealthState | undefined,
  nowMs: number,
): string {
  const since = (time: string) => humanDuration(nowMs - Number((parseNs(time) ?? 0n) / 1_000_000n));
  switch (state.phase) {
    case "running": {
      const up = `Up ${since(state.startedAt)}`;
      if (health === undefined) return up;
      return health.Status === "starting" ? `${up} (health: starting)` : `${up} (${health.Status})`;
    }
    case "paused":
      return `Up ${since(state.startedAt)} (Paused)`;
    case "restarting":
      return `Restarting (${state.exitCode}) ${since(state.finishedAt)} ago`;
    case "exited":
      return `Exited (${state.exitCode}) ${since(state.finishedAt)} ago`;
    case "created":
      return "Created";
    case "removing":
      return "Removal In Progress";
    case "dead":
      return "Dead";
  }
}

/** Docker's coarse durations: never two units, "About" one. */
export function humanDuration(ms: number): string {
  const seconds = Math.floor(Math.max(0, ms) / 1000);
  if (seconds < 1) return "Less than a second";
  if (seconds === 1) return "1 second";
  if (seconds < 60) return `${seconds} seconds`;
  const minutes = Math.floor(seconds / 60);
  if (minutes === 1) return "About a minute";
  if (minutes < 60) return `${minutes} minutes`;
  const hours = Math.round(seconds / 3600);
  if (hours === 1) return "About an hour";
  if (hours < 48) return `${hours} hours`;
  const days = hours / 24;
  if (hours < 24 * 7 * 2) return `${Math.floor(days)} days`;
  if (hours < 24 * 30 * 2) return `${Math.floor(days / 7)} weeks`;
  if (hours < 24 * 365 * 2) return `${Math.floor(days / 30)} months`;
  return `${Math.floor(days / 365)} years`;
}
