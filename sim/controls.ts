/**
 * For each bug put in on purpose: the conditions under which it does harm, and the laws that it may
 * break. A test runs every one of them until a checker speaks up; if none does, the checkers are
 * blind, however many clean runs there are.
 */

import type { Bug } from "./bugs.ts";
import type { Law } from "./checker.ts";
import type { Profile } from "./profile.ts";

export interface Control {
  readonly laws: readonly Law[];
  /** Bends what the seed drew towards the harm. */
  bend(drawn: Profile): Profile;
}

/** A committed entry is gone; which checker sees it first depends on who does what next. */
const LOSS: readonly Law[] = ["leader completeness", "state-machine safety", "log matching"];

export const CONTROLS: Readonly<Record<Bug, Control>> = {
  ackBeforeSync: { laws: LOSS, bend: withManyCrashes },
  voteNotStored: { laws: ["election safety"], bend: withContestedElections },
  staleRead: { laws: ["linearizability"], bend: withManyReads },
  rotUnseen: { laws: [...LOSS, "linearizability"], bend: withRot },
  ackBeforeCommit: { laws: ["linearizability"], bend: withPartitions },
  lostDedup: { laws: ["linearizability"], bend: withManyReads },
  endlessLease: { laws: ["linearizability"], bend: withLeases },
  voteForShorter: { laws: [...LOSS, "invariant"], bend: withPartitions },
  acceptOldTerm: { laws: [...LOSS, "election safety", "invariant"], bend: withLateness },
  commitOldTerm: { laws: LOSS, bend: withFigureEight },
  appendUnmatched: { laws: LOSS, bend: withPartitions },
  smallQuorum: { laws: LOSS, bend: withPartitions },
  halfJoint: { laws: [...LOSS, "election safety"], bend: withJointChanges },
  halfJointVote: { laws: [...LOSS, "election safety"], bend: withJointChanges },
  overlappingChanges: { laws: [...LOSS, "election safety", "invariant"], bend: withJointChanges },
  neverHeals: { laws: ["liveness"], bend: withPartitions },
};

function withManyCrashes(drawn: Profile): Profile {
  return { ...drawn, nodes: 3, syncMs: [5, 200], crashEveryMs: 600, restartMs: [1, 500] };
}

/** Candidates that meet in the same term, and voters that crash between two of them. */
function withContestedElections(drawn: Profile): Profile {
  return {
    ...drawn,
    nodes: 5,
    raft: { ...drawn.raft, preVote: false, checkQuorum: false, readOnlyOption: "safe" },
    latencyMs: [1, 30],
    syncMs: [0, 2],
    crashEveryMs: 200,
    restartMs: [1, 50],
    campaignEveryMs: 60,
    membershipEveryMs: 0,
  };
}

function withLeases(drawn: Profile): Profile {
  const raft = { ...drawn.raft, readOnlyOption: "leaseBased", checkQuorum: true } as const;
  return { ...withManyReads(drawn), raft, pauseEveryMs: 0 };
}

/** Old leaders that are still asked: clients by the dozen, all about one register. */
function withManyReads(drawn: Profile): Profile {
  return { ...withPartitions(drawn), clients: 8, keys: 1, clientEveryMs: 10, syncMs: [0, 2] };
}

function withRot(drawn: Profile): Profile {
  return { ...drawn, nodes: 3, rotEveryMs: 3_000, checkpointEvery: 1_000, membershipEveryMs: 0 };
}

function withPartitions(drawn: Profile): Profile {
  return { ...drawn, nodes: 3, partitionEveryMs: 1_000, membershipEveryMs: 0 };
}

/** Members that come and go by the handful, and links that are cut in the middle of it. */
function withJointChanges(drawn: Profile): Profile {
  const { raft } = drawn;
  return {
    ...drawn,
    nodes: 5,
    raft: { ...raft, checkQuorum: true, preVote: true, readOnlyOption: "safe" },
    latencyMs: [1, 30],
    syncMs: [0, 2],
    restartMs: [1, 500],
    partitionEveryMs: 800,
    pauseEveryMs: 0,
    rotEveryMs: 0,
    membershipEveryMs: 400,
    changesAtOnce: [2, 6],
  };
}

/**
 * Figure 8 of the Raft paper: leaders that fall after sending little, so that old entries reach a
 * majority under a new leader before an entry of its own term does.
 */
function withFigureEight(drawn: Profile): Profile {
  return {
    ...drawn,
    nodes: 5,
    raft: {
      ...drawn.raft,
      maxSizePerMsg: 0,
      maxInflightMsgs: 1,
      preVote: false,
      checkQuorum: false,
      readOnlyOption: "safe",
    },
    tickMs: 20,
    latencyMs: [5, 30],
    syncMs: [0, 2],
    loss: 0.1,
    lateness: 0,
    crashEveryMs: 200,
    restartMs: [50, 600],
    partitionEveryMs: 0,
    pauseEveryMs: 0,
    stallEveryMs: 0,
    campaignEveryMs: 0,
    clients: 100,
    keys: 5,
    clientEveryMs: 15,
    membershipEveryMs: 0,
  };
}

/** Old leaders whose messages come when others lead. */
function withLateness(drawn: Profile): Profile {
  const raft = {
    ...drawn.raft,
    preVote: false,
    checkQuorum: false,
    readOnlyOption: "safe",
  } as const;
  return {
    ...withPartitions(drawn),
    raft,
    lateness: 0.3,
    campaignEveryMs: 300,
    clients: 20,
    clientEveryMs: 20,
  };
}
