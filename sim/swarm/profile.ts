/** The conditions of one run of a swarm, drawn from its seed. */

import type { SeededRandom } from "../random.ts";
import type { RaftSettings } from "./manager.ts";
import type { Line } from "./rpc.ts";

export interface Removal {
  readonly atMs: number;
  /** Whether it is drained before; how long, milliseconds. Zero: the machine is just gone. */
  readonly drainMs: number;
  /** Which of those that may go. */
  readonly pick: number;
}

export interface SwarmProfile {
  readonly managers: number;
  readonly workers: number;
  readonly raft: RaftSettings;
  readonly syncMs: readonly [number, number];
  readonly line: Line;
  /** Clocks run up to this share faster or slower than they should. */
  readonly clockDrift: number;
  /** Wall clocks are off by up to this, milliseconds. */
  readonly clockOffsetMs: number;
  /** Mean time between faults of a kind, ms; zero is never. */
  readonly killEveryMs: number;
  readonly powerCutEveryMs: number;
  readonly downMs: readonly [number, number];
  readonly partitionEveryMs: number;
  readonly holdEveryMs: number;
  readonly stallEveryMs: number;
  /** Whether, once in a run, a manager's raft log rots. */
  readonly rots: boolean;
  /** Whether, once in a run, most managers are lost for good, and one of the others goes on alone. */
  readonly losesMajority: boolean;
  /** Once in a run, a worker's machine is taken away for good, and its node removed. */
  readonly removal: Removal | undefined;
  readonly exitEveryMs: number;
  readonly containerFailure: number;
  readonly operateEveryMs: number;
  readonly changesRoles: boolean;
  readonly clients: number;
  readonly keys: number;
  readonly clientPauseMs: number;
  readonly chaosMs: number;
}

/** Processes that are back before anybody thinks them lost, while operators are busy. */
const RESTLESS_SHARE = 0.15;
const RESTLESS = {
  killEveryMs: 1_500,
  downMs: [10, 3_000],
  operateEveryMs: 700,
  partitionEveryMs: 0,
  holdEveryMs: 0,
  exitEveryMs: 0,
  containerFailure: 0,
} as const;

/** `isRestless`: whatever the seed says of that. */
export function drawSwarm(random: SeededRandom, isRestless = false): SwarmProfile {
  const every = (chance: number, low: number, high: number) =>
    random.chance(chance) ? random.between(low, high) : 0;
  const profile = {
    managers: random.pick([1, 3, 3, 3, 5]) ?? 3,
    workers: random.between(0, 3),
    raft: {
      tickMs: 100,
      electionTicks: 10,
      snapshotEvery: random.pick([10, 40, 10_000]) ?? 40,
      keepEntries: random.pick([0, 5, 50]) ?? 5,
    },
    syncMs: random.pick([
      [0, 2],
      [1, 20],
      [5, 100],
    ] as const) ?? [1, 20],
    line: {
      latencyMs: random.pick([
        [0, 2],
        [1, 30],
        [10, 150],
      ] as const) ?? [1, 30],
      breakage: random.pick([0, 0.01, 0.05]) ?? 0,
    },
    clockDrift: random.pick([0, 0.001, 0.05]) ?? 0,
    clockOffsetMs: random.pick([0, 100, 3_600_000]) ?? 0,
    killEveryMs: every(0.7, 2_000, 15_000),
    powerCutEveryMs: every(0.5, 5_000, 20_000),
    downMs: random.pick([
      [10, 500],
      [500, 5_000],
      [5_000, 30_000],
    ] as const) ?? [500, 5_000],
    partitionEveryMs: every(0.6, 3_000, 15_000),
    holdEveryMs: every(0.4, 2_000, 10_000),
    stallEveryMs: every(0.3, 2_000, 10_000),
    rots: random.chance(0.3),
    losesMajority: random.chance(0.15),
    exitEveryMs: every(0.5, 1_000, 10_000),
    containerFailure: random.pick([0, 0, 0.1]) ?? 0,
    operateEveryMs: random.between(500, 5_000),
    changesRoles: random.chance(0.3),
    clients: random.between(1, 4),
    keys: random.between(1, 3),
    clientPauseMs: random.pick([50, 300, 1_000]) ?? 300,
    chaosMs: 40_000,
  };
  // Last, so that nothing else depends on it.
  const removal = random.chance(0.4) ? drawRemoval(random) : undefined;
  const drawn = { ...profile, removal };
  return isRestless || random.chance(RESTLESS_SHARE) ? { ...drawn, ...RESTLESS } : drawn;
}

function drawRemoval(random: SeededRandom): Removal {
  return {
    atMs: random.between(8_000, 36_000),
    drainMs: random.pick([0, 0, 500, 4_000]) ?? 0,
    pick: random.int(1_000),
  };
}

export function describeSwarm(profile: SwarmProfile): string {
  const { managers, workers, line, changesRoles, losesMajority, removal } = profile;
  const faults = [
    `break ${line.breakage}`,
    `kill ${profile.killEveryMs}`,
    `power ${profile.powerCutEveryMs}`,
    `partition ${profile.partitionEveryMs}`,
    `hold ${profile.holdEveryMs}`,
    `stall ${profile.stallEveryMs}`,
    `exit ${profile.exitEveryMs}`,
  ];
  const roles = changesRoles ? ", roles" : "";
  const alone = losesMajority ? ", one goes on alone" : "";
  const removes = removal === undefined ? "" : ", one is removed";
  return `${managers} managers, ${workers} workers${roles}${alone}${removes}; ${faults.join(", ")}`;
}
