/** The simulator finds nothing wrong with the real thing, and something wrong with each broken one. */

import { describe, expect, it } from "vitest";
import { BUGS } from "./bugs.ts";
import { CONTROLS } from "./controls.ts";
import { type Outcome, runSeed } from "./world.ts";

const CLEAN_SEEDS = 150;
const CONTROL_SEEDS = 100;

describe("a simulated group", () => {
  it("breaks no law under any of the first seeds", () => {
    const broken: string[] = [];
    let terms = 0;
    let writes = 0;
    let reads = 0;
    for (let seed = 1; seed <= CLEAN_SEEDS; seed++) {
      const outcome = runSeed(seed);
      if (outcome.broken !== undefined) broken.push(`seed ${seed}: ${outcome.message}`);
      terms += outcome.terms;
      writes += outcome.writesAcked;
      reads += outcome.readsAnswered;
    }
    expect(broken).toEqual([]);
    // Laws hold easily where nothing happens: the runs must have had elections and clients.
    expect(terms).toBeGreaterThan(3 * CLEAN_SEEDS);
    expect(writes).toBeGreaterThan(30 * CLEAN_SEEDS);
    expect(reads).toBeGreaterThan(10 * CLEAN_SEEDS);
  }, 60_000);

  it("does the same again for the same seed", () => {
    for (const seed of [3, 8, 21]) {
      const first = runSeed(seed, { trace: true });
      const second = runSeed(seed, { trace: true });
      expect(first.trace.lines.length).toBeGreaterThan(100);
      expect(second.trace.digest).toBe(first.trace.digest);
      expect(second.trace.lines.at(-1)).toBe(first.trace.lines.at(-1));
    }
    expect(runSeed(3, { trace: true }).trace.digest).not.toBe(
      runSeed(8, { trace: true }).trace.digest,
    );
  });

  it("mends the core after a broken run", () => {
    runSeed(1, { bug: "commitOldTerm" });
    const clean = runSeed(3, { trace: true });
    runSeed(1, { bug: "appendUnmatched" });
    expect(runSeed(3, { trace: true }).trace.digest).toBe(clean.trace.digest);
  });
});

describe("negative control", () => {
  for (const bug of BUGS) {
    const { laws } = CONTROLS[bug];
    it(`${bug} is caught: ${laws.join(" or ")}`, () => {
      const caught = firstCaught(bug);
      expect(caught?.broken, `no checker saw ${bug} in ${CONTROL_SEEDS} seeds`).toBeDefined();
      // The same conditions without the bug do no harm: it was the bug that was caught.
      expect(runSeed(caught?.seed ?? 1, { conditionsOf: bug }).message).toBe("");
    }, 60_000);
  }
});

function firstCaught(bug: (typeof BUGS)[number]): Outcome | undefined {
  const { laws } = CONTROLS[bug];
  for (let seed = 1; seed <= CONTROL_SEEDS; seed++) {
    const outcome = runSeed(seed, { bug });
    if (outcome.broken !== undefined && laws.includes(outcome.broken)) return outcome;
  }
  return undefined;
}
