/** The simulator finds nothing wrong with the real thing, and always the same for the same seed. */

import { describe, expect, it } from "vitest";
import { runSeed } from "./world.ts";
import { runWorld, type WorldName } from "./worlds.ts";

/** 300 together; `./dev sim --seeds N` runs more. */
const GROUP_SEEDS = 270;
const SWARM_SEEDS = 30;
/** Far more than needed: how long a seed takes is no law. */
const TIMEOUT_MS = 600_000;

async function runClean(world: WorldName, seeds: number): Promise<Map<string, number>> {
  const broken: string[] = [];
  const totals = new Map<string, number>();
  for (let seed = 1; seed <= seeds; seed++) {
    const result = await runWorld({ seed, world });
    if (result.broken !== undefined) broken.push(`seed ${seed}: ${result.message}`);
    if (result.isUndecided) broken.push(`seed ${seed}: linearizability is undecided`);
    for (const [what, count] of Object.entries(result.counts)) {
      totals.set(what, (totals.get(what) ?? 0) + count);
    }
  }
  expect(broken, `replay: ./dev sim --seed N --world ${world}`).toEqual([]);
  return totals;
}

// Laws hold easily where nothing happens: the runs must have had elections and clients.
describe("a simulated group", () => {
  it(
    "breaks no law under any of the first seeds",
    async () => {
      const totals = await runClean("group", GROUP_SEEDS);
      expect(totals.get("terms")).toBeGreaterThan(3 * GROUP_SEEDS);
      expect(totals.get("writes")).toBeGreaterThan(50 * GROUP_SEEDS);
      expect(totals.get("reads")).toBeGreaterThan(25 * GROUP_SEEDS);
    },
    TIMEOUT_MS,
  );

  it("does the same again for the same seed, and something else for another", () => {
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

describe("a simulated swarm", () => {
  it(
    "breaks no law under any of the first seeds",
    async () => {
      const totals = await runClean("swarm", SWARM_SEEDS);
      expect(totals.get("terms")).toBeGreaterThan(2 * SWARM_SEEDS);
      expect(totals.get("changes")).toBeGreaterThan(300 * SWARM_SEEDS);
      expect(totals.get("answers")).toBeGreaterThan(50 * SWARM_SEEDS);
      expect(totals.get("requests")).toBeGreaterThan(100 * SWARM_SEEDS);
      expect(totals.get("tables checked")).toBeGreaterThan(10 * SWARM_SEEDS);
    },
    TIMEOUT_MS,
  );

  it(
    "does the same again for the same seed",
    async () => {
      const first = await runWorld({ seed: 2, world: "swarm", trace: true });
      const second = await runWorld({ seed: 2, world: "swarm", trace: true });
      const untraced = await runWorld({ seed: 2, world: "swarm" });
      expect(untraced.counts).toEqual(first.counts);
      expect(first.lines.length).toBeGreaterThan(100);
      expect(second.lines).toEqual(first.lines);
      expect(second.digest).toBe(first.digest);
    },
    TIMEOUT_MS,
  );
});
