/** Negative controls: for each thing put wrong on purpose some checker speaks up, and soon. */

import { describe, expect, it } from "vitest";
import { BUGS } from "./bugs.ts";
import { CONTROLS } from "./controls.ts";
import { runSwarm } from "./swarm/world.ts";
import { type Outcome, runSeed } from "./world.ts";

const CONTROL_SEEDS = 100;
const TIMEOUT_MS = 300_000;

describe("negative control", () => {
  for (const bug of BUGS) {
    const { laws } = CONTROLS[bug];
    it(
      `${bug} is caught: ${laws.join(" or ")}`,
      () => {
        const caught = firstCaught(bug);
        expect(caught?.broken, `no checker saw ${bug} in ${CONTROL_SEEDS} seeds`).toBeDefined();
        // The same conditions without the bug do no harm: it was the bug that was caught.
        expect(runSeed(caught?.seed ?? 1, { conditionsOf: bug }).message).toBe("");
      },
      TIMEOUT_MS,
    );
  }

  it(
    "stale reads of a swarm are caught: linearizability",
    async () => {
      for (let seed = 1; seed <= 20; seed++) {
        const { broken } = await runSwarm(seed, { bug: "staleRead" });
        if (broken === "linearizability") return;
      }
      expect.fail("no checker saw stale reads in 20 seeds");
    },
    TIMEOUT_MS,
  );
});

function firstCaught(bug: (typeof BUGS)[number]): Outcome | undefined {
  const { laws } = CONTROLS[bug];
  for (let seed = 1; seed <= CONTROL_SEEDS; seed++) {
    const outcome = runSeed(seed, { bug });
    if (outcome.broken !== undefined && laws.includes(outcome.broken)) return outcome;
  }
  return undefined;
}
