/** Negative controls: for each thing put wrong on purpose some checker speaks up, and soon. */

import { describe, expect, it } from "vitest";
import { BUGS } from "./bugs.ts";
import { CONTROLS } from "./controls.ts";
import { SWARM_BUGS, SWARM_LAWS, type SwarmBug } from "./swarm/bugs.ts";
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

  for (const bug of SWARM_BUGS) {
    const laws = SWARM_LAWS[bug];
    it(
      `${bug} in a swarm is caught: ${laws.join(" or ")}`,
      async () => {
        const seed = await firstCaughtSwarm(bug);
        expect(seed, `no law saw ${bug} in ${CONTROL_SEEDS} swarms`).toBeDefined();
        // The same swarm without the bug keeps all laws.
        expect((await runSwarm(seed ?? 1, { conditionsOf: bug })).message).toBe("");
      },
      TIMEOUT_MS,
    );
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

async function firstCaughtSwarm(bug: SwarmBug): Promise<number | undefined> {
  for (let seed = 1; seed <= CONTROL_SEEDS; seed++) {
    const { broken } = await runSwarm(seed, { bug });
    if (broken !== undefined && SWARM_LAWS[bug].includes(broken)) return seed;
  }
  return undefined;
}
