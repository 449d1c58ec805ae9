/**
 * What comes before the signal that stops a task's container (docs/network.md, the drain barrier):
 * first no node sends it anything new, then what it has is given its grace period to finish. Every
 * wait is bounded, and what was not waited for is said in the log: a task that shall stop, stops.
 */

import { readFile } from "node:fs/promises";
import type { Clock, Log } from "#base/ports.ts";
import { sleep } from "#platform/async.ts";
import type { Task } from "#wire/gen/swarmkit/objects_pb.js";
import { inboundConnections } from "./connections.ts";
import type { ReleasedTasks } from "./ports.ts";

export interface DrainPorts {
  readonly releases: ReleasedTasks;
  readonly clock: Clock;
  readonly log: Log;
}

export interface Draining {
  readonly task: Task;
  /** How many connections it has that came from outside. */
  readonly connections: () => Promise<number>;
  /** How long connections may take to finish; 0: they are not waited for. */
  readonly graceMs: number;
  /** How long nodes may take to lead traffic elsewhere, if not as long as managers say. */
  readonly releaseMs?: number;
}

const LOOK_MIN_MS = 50;
const LOOK_MAX_MS = 1_000;
/** So long without any connection is the end of them: what was led here just before is on its way. */
const QUIET_MS = 250;

const OUTCOMES = {
  released: "",
  unsupported: "",
  lost: "no manager is in reach to say that traffic is led elsewhere; the task is stopped all the same",
  late: "some node has not acknowledged that traffic is led elsewhere; the task is stopped all the same",
} as const;

/** Whether others may send traffic to the task: it has an address of its own in the swarm. */
export function canBeReached({ networks }: Task): boolean {
  return networks.some(({ addresses }) => addresses.length > 0);
}

/** Resolves when the container may be stopped; rejects only with the signal's reason. */
export async function drain(
  { releases, clock, log }: DrainPorts,
  { task, connections, graceMs, releaseMs }: Draining,
  signal: AbortSignal,
): Promise<void> {
  const beganMs = clock.monotonicMs();
  const outcome = await releases.released(task.id, signal, releaseMs);
  const releasedMs = clock.monotonicMs();
  const complaint = OUTCOMES[outcome];
  if (complaint !== "") log.warn(complaint, { waitedMs: Math.round(releasedMs - beganMs) });
  // Where nobody leads traffic away, new connections come as old ones end.
  if (outcome === "unsupported" || graceMs === 0) return;
  const left = await untilQuiet(connections, clock, releasedMs + graceMs, signal);
  const facts = {
    outcome,
    releaseMs: Math.round(releasedMs - beganMs),
    drainMs: Math.round(clock.monotonicMs() - releasedMs),
    connectionsLeft: left,
  };
  if (left === 0) log.debug("task drained", facts);
  else log.info("the task is stopped before its connections have ended", facts);
}

/** Connections that are still there at the deadline; 0 as soon as there were none for `QUIET_MS`. */
async function untilQuiet(
  connections: Draining["connections"],
  clock: Clock,
  deadlineMs: number,
  signal: AbortSignal,
): Promise<number> {
  let quietSinceMs: number | undefined;
  for (let waitMs = LOOK_MIN_MS; ; waitMs = Math.min(2 * waitMs, LOOK_MAX_MS)) {
    const count = await connections();
    const nowMs = clock.monotonicMs();
    quietSinceMs = count === 0 ? (quietSinceMs ?? nowMs) : undefined;
    const isQuiet = quietSinceMs !== undefined && nowMs - quietSinceMs >= QUIET_MS;
    const leftMs = deadlineMs - nowMs;
    if (isQuiet || leftMs <= 0) return count;
    await sleep(clock, Math.min(count === 0 ? LOOK_MIN_MS : waitMs, leftMs), signal);
  }
}

/** Of a container by its first process; 0 also when that has ended meanwhile. */
export async function connectionsOf(pid: number): Promise<number> {
  const read = (name: string) => readFile(`/proc/${pid}/net/${name}`, "latin1").catch(() => "");
  const [tcp, tcp6] = await Promise.all([read("tcp"), read("tcp6")]);
  return inboundConnections(tcp, tcp6);
}
