/**
 * What a seed stands for: most are a group of raft members under a small driver, which runs fast and
 * bends the core in ways that no real configuration does; every eighth is a whole swarm of the real
 * managers and agents.
 */

import { type Bug, isBug } from "./bugs.ts";
import type { Law } from "./checker.ts";
import { describeProfile } from "./profile.ts";
import { isSwarmBug, type SwarmBug } from "./swarm/bugs.ts";
import { describeSwarm } from "./swarm/profile.ts";
import { runSwarm } from "./swarm/world.ts";
import { runSeed } from "./world.ts";

export const WORLDS = ["group", "swarm"] as const;
export type WorldName = (typeof WORLDS)[number];

const SWARM_EVERY = 8;

export interface Assignment {
  readonly seed: number;
  /** By default what the seed stands for. */
  readonly world?: WorldName | undefined;
  readonly bug?: Bug | SwarmBug | undefined;
  readonly trace?: boolean;
}

export interface Result {
  readonly seed: number;
  readonly world: WorldName;
  readonly conditions: string;
  /** The law that was broken; undefined if the run was clean. */
  readonly broken: Law | undefined;
  readonly message: string;
  readonly endedAtMs: number;
  readonly isUndecided: boolean;
  /** How much happened, so that nobody takes silence for health. */
  readonly counts: Readonly<Record<string, number>>;
  /** Of all that happened: equal for equal runs. Zero without a trace. */
  readonly digest: number;
  readonly lines: readonly string[];
}

export function worldOf({ seed, world }: Assignment): WorldName {
  return world ?? (seed % SWARM_EVERY === 0 ? "swarm" : "group");
}

export async function runWorld(assignment: Assignment): Promise<Result> {
  const { seed, bug, trace = false } = assignment;
  const world = worldOf(assignment);
  if (world === "swarm") {
    const outcome = await runSwarm(seed, { trace, bug: isSwarmBug(bug) ? bug : undefined });
    const { answers, profile } = outcome;
    const counts = { ...outcome.counts, answers };
    return { seed, world, conditions: describeSwarm(profile), counts, ...verdictOf(outcome) };
  }
  const outcome = runSeed(seed, {
    trace,
    bug: bug !== undefined && isBug(bug) ? bug : undefined,
  });
  const { terms, applied, writesAcked, readsAnswered, profile } = outcome;
  const counts = { terms, entries: applied, writes: writesAcked, reads: readsAnswered };
  return { seed, world, conditions: describeProfile(profile), counts, ...verdictOf(outcome) };
}

type Verdict = Pick<Result, "broken" | "message" | "endedAtMs" | "isUndecided">;

/** What the outcomes of both worlds say alike. */
function verdictOf({
  broken,
  message,
  endedAtMs,
  isUndecided,
  trace: { digest, lines },
}: Verdict & { readonly trace: Pick<Result, "digest" | "lines"> }) {
  return { broken, message, endedAtMs, isUndecided, digest, lines };
}

export function describeResult(result: Result): string {
  const { seed, world, conditions, broken, message, endedAtMs, counts } = result;
  const happened = Object.entries(counts).map(([what, count]) => `${count} ${what}`);
  const verdict =
    broken === undefined
      ? `no law broken; ${happened.join(", ")}`
      : `BROKEN at ${endedAtMs}ms: ${message}`;
  return `seed ${seed}, ${world} of ${conditions}: ${verdict}`;
}
