/** Ours beside the peer's: rounds that alternate, so that the machine's moods hit both. */

import { messageOf } from "../../src/base/error.ts";
import type { Measurement } from "../report.ts";
import type { Engine } from "./engine.ts";

export interface Comparison {
  readonly name: string;
  readonly unit: string;
  readonly rounds: number;
  /** Rounds before those that count. */
  readonly warmUp?: number;
  readonly digits?: number;
}

/**
 * Medians of what `measure` answers for each; smaller is better. A text stands for no peer, and a
 * peer that fails is reported as such: it takes nothing away from what we have measured.
 */
export async function compare(
  ours: Engine,
  peer: Engine | string,
  { name, unit, rounds, warmUp = 1, digits = 3 }: Comparison,
  measure: (engine: Engine) => Promise<number>,
): Promise<Measurement> {
  const mine: number[] = [];
  const theirs: number[] = [];
  let failure: string | undefined;
  for (let round = -warmUp; round < rounds; round += 1) {
    const first = await measure(ours);
    const second =
      typeof peer === "string" || failure !== undefined
        ? Number.NaN
        : await measure(peer).catch((error: unknown) => {
            failure = messageOf(error);
            return Number.NaN;
          });
    if (round < 0) continue;
    mine.push(first);
    theirs.push(second);
  }
  if (failure !== undefined) return measurement({ name, unit, digits }, median(mine), failure);
  return measurement(
    { name, unit, digits },
    median(mine),
    typeof peer === "string" ? peer : median(theirs),
  );
}

/** A row of the report from two figures of which the smaller is better. */
export function measurement(
  { name, unit, digits = 3 }: Pick<Comparison, "name" | "unit" | "digits">,
  ours: number,
  peer: number | string,
): Measurement {
  const round = (value: number) => Number(value.toFixed(digits));
  if (typeof peer === "string") return { name, unit, ours: round(ours), peer, ratio: undefined };
  const ratio = ours === 0 ? undefined : peer / ours;
  return { name, unit, ours: round(ours), peer: round(peer), ratio };
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? upper) + upper) / 2;
}

/** Seconds that some work takes. */
export async function seconds(work: () => Promise<unknown>): Promise<number> {
  const begun = performance.now();
  await work();
  return (performance.now() - begun) / 1000;
}
