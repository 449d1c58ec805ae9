/**
 * The conditions of one run, drawn from its seed: how big the group is, how raft is configured, and
 * what goes wrong how often. Each run has some faults and lacks others, since faults that are all
 * there all the time hide each other.
 */

import { NO_LIMIT, RAFT_DEFAULTS, type RaftConfig } from "#raft/index.ts";
import type { SeededRandom } from "./random.ts";

type Range = readonly [number, number];

export interface Profile {
  readonly nodes: number;
  readonly raft: Omit<RaftConfig, "id" | "storage" | "random" | "logger" | "applied">;
  readonly tickMs: number;
  /** Entries applied between checkpoints. */
  readonly checkpointEvery: number;
  /** Entries that a checkpoint leaves in the log for followers that lag. */
  readonly keepEntries: number;
  readonly syncMs: Range;
  readonly latencyMs: Range;
  /** Messages of one link keep their order, but for late ones. */
  readonly isOrdered: boolean;
  /** Probabilities per message. */
  readonly loss: number;
  readonly duplication: number;
  readonly lateness: number;
  /** Mean time between faults of a kind, ms; zero is never. */
  readonly crashEveryMs: number;
  readonly restartMs: Range;
  readonly partitionEveryMs: number;
  readonly pauseEveryMs: number;
  readonly stallEveryMs: number;
  /** Only where members do not change: they would be counted on to do without. */
  readonly rotEveryMs: number;
  readonly transferEveryMs: number;
  readonly campaignEveryMs: number;
  readonly membershipEveryMs: number;
  /** Members that one change is about, where it is about more than one. */
  readonly changesAtOnce: Range;
  readonly clients: number;
  /** Registers that they write and read. */
  readonly keys: number;
  /** Mean time between operations of all clients together. */
  readonly clientEveryMs: number;
  readonly chaosMs: number;
}

/** Fast, usual, slow. */
const SYNC_MS: readonly Range[] = [
  [0, 2],
  [1, 20],
  [5, 200],
];
const LATENCY_MS: readonly Range[] = [
  [0, 2],
  [1, 30],
  [10, 200],
];
const RESTART_MS: readonly Range[] = [
  [1, 50],
  [10, 2_000],
  [500, 8_000],
];

export function drawProfile(random: SeededRandom): Profile {
  // Leases trust clocks: nobody may lose ticks.
  const isLeased = random.chance(0.25);
  const membershipEveryMs = random.chance(0.4) ? random.between(1_000, 8_000) : 0;
  // Removed members may campaign for ever; only these two together keep them from disturbing.
  const protects = membershipEveryMs > 0;
  const maxSizePerMsg = random.pick([0, 256, 256, 4_096, NO_LIMIT]) ?? NO_LIMIT;
  const maxCommittedSizePerReady = random.pick([1, 512, 512, NO_LIMIT, NO_LIMIT]) ?? NO_LIMIT;
  const maxInflightMsgs = random.pick([1, 4, 4, 256, 256]) ?? 256;
  // One entry at a time over slow links or disks is overload, which no recovery can end in time.
  const isThrottled =
    maxSizePerMsg === 0 || maxCommittedSizePerReady === 1 || maxInflightMsgs === 1;
  const speeds = isThrottled ? 2 : 3;
  return {
    nodes: random.pick([1, 2, 3, 3, 3, 4, 5, 5]) ?? 3,
    raft: {
      ...RAFT_DEFAULTS,
      electionTick: random.between(5, 12),
      asyncStorageWrites: random.chance(0.5),
      maxSizePerMsg,
      maxCommittedSizePerReady,
      maxUncommittedEntriesSize: random.pick([1_024, 65_536, NO_LIMIT]) ?? NO_LIMIT,
      maxInflightMsgs,
      maxInflightBytes: random.chance(0.3) ? Math.max(maxSizePerMsg, 2_048) : NO_LIMIT,
      checkQuorum: protects || isLeased || random.chance(0.6),
      preVote: protects || random.chance(0.6),
      readOnlyOption: isLeased ? "leaseBased" : "safe",
      disableProposalForwarding: random.chance(0.2),
      // Else the driver would have to end a leadership that nobody voted for.
      stepDownOnRemoval: true,
    },
    tickMs: 100,
    checkpointEvery: random.pick([5, 40, 1_000]) ?? 40,
    keepEntries: random.pick([0, 3, 50]) ?? 3,
    syncMs: random.pick(SYNC_MS.slice(0, speeds)) ?? [1, 20],
    latencyMs: random.pick(LATENCY_MS.slice(0, speeds)) ?? [1, 30],
    isOrdered: random.chance(0.5),
    loss: random.pick([0, 0.01, 0.1, 0.3]) ?? 0,
    duplication: random.pick([0, 0.05, 0.2]) ?? 0,
    lateness: random.pick([0, 0.02, 0.1]) ?? 0,
    crashEveryMs: maybeEvery(random, 0.8, 500, 8_000),
    restartMs: random.pick(RESTART_MS) ?? [10, 2_000],
    partitionEveryMs: maybeEvery(random, 0.7, 1_000, 8_000),
    pauseEveryMs: isLeased ? 0 : maybeEvery(random, 0.4, 1_000, 8_000),
    stallEveryMs: maybeEvery(random, 0.3, 2_000, 8_000),
    rotEveryMs: protects ? 0 : maybeEvery(random, 0.3, 2_000, 20_000),
    transferEveryMs: maybeEvery(random, 0.3, 1_000, 8_000),
    campaignEveryMs: maybeEvery(random, 0.3, 300, 5_000),
    membershipEveryMs,
    changesAtOnce: [2, 3],
    clients: random.between(2, 8),
    keys: random.between(1, 5),
    clientEveryMs: isThrottled ? 150 : (random.pick([10, 60, 300]) ?? 60),
    chaosMs: 30_000,
  };
}

/** The few words of a profile that tell runs apart. */
export function describeProfile(profile: Profile): string {
  const { raft } = profile;
  const flags = [
    raft.asyncStorageWrites ? "async" : "sync",
    raft.preVote ? "pre-vote" : "",
    raft.checkQuorum ? "check-quorum" : "",
    raft.readOnlyOption === "leaseBased" ? "leases" : "",
    profile.membershipEveryMs > 0 ? "membership" : "",
  ].filter((flag) => flag !== "");
  const faults = [
    `loss ${profile.loss}`,
    `dup ${profile.duplication}`,
    `late ${profile.lateness}`,
    `crash ${profile.crashEveryMs}`,
    `partition ${profile.partitionEveryMs}`,
    `pause ${profile.pauseEveryMs}`,
    `stall ${profile.stallEveryMs}`,
    `rot ${profile.rotEveryMs}`,
  ];
  return `${profile.nodes} nodes, ${flags.join(", ")}; ${faults.join(", ")}`;
}

function maybeEvery(random: SeededRandom, chance: number, low: number, high: number): number {
  return random.chance(chance) ? random.between(low, high) : 0;
}
