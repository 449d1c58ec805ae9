/**
 * Negative controls: bugs put in on purpose, to show that the checkers see them. Those of a driver
 * are switches in `node.ts`; those of the core replace one of its methods while a run lasts.
 */

import { Lease } from "#raft/lease.ts";
import { RaftLog } from "#raft/log.ts";
import { JointConfig } from "#raft/quorum/joint.ts";
import {
  type AckedIndex,
  MajorityConfig,
  type VoteResult,
  type Votes,
} from "#raft/quorum/majority.ts";

export const BUGS = [
  /** The driver sends and acknowledges before the disk has synced. */
  "ackBeforeSync",
  /** The driver stores the term but not whom it voted for. */
  "voteNotStored",
  /** What comes from a damaged disk is taken for what was written. */
  "rotUnseen",
  /** The driver answers reads from its own state as long as it believes to lead. */
  "staleRead",
  /** A leader answers the client before its write is committed. */
  "ackBeforeCommit",
  /** A request that is sent again takes effect again. */
  "lostDedup",
  /** A leader thinks that it has a lease as long as it leads. */
  "endlessLease",
  /** A voter does not look at how complete the candidate's log is. */
  "voteForShorter",
  /** Messages of earlier terms are taken as if they were new. */
  "acceptOldTerm",
  /** A leader commits entries of earlier terms by counting copies: figure 8 of the paper. */
  "commitOldTerm",
  /** A follower appends whatever comes without looking at the entry before it. */
  "appendUnmatched",
  /** One copy less than a majority is enough to commit. */
  "smallQuorum",
  /** In the middle of a membership change, the outgoing half alone elects. */
  "halfJointVote",
  /** The same, and the incoming half alone commits; by itself, that is covered by joint elections. */
  "halfJoint",
  /** The leader proposes a membership change while another one is under way. */
  "overlappingChanges",
  /** Faults do not end when the run says so: for the liveness check. */
  "neverHeals",
] as const;
export type Bug = (typeof BUGS)[number];

export function isBug(name: string): name is Bug {
  return (BUGS as readonly string[]).includes(name);
}

/** Runs `body` with the core broken as asked, and mends it afterwards. */
export function withBrokenCore<T>(bug: Bug | undefined, body: () => T): T {
  if (bug === "commitOldTerm") {
    return withMethod(RaftLog.prototype, "maybeCommit", commitAnyTerm, body);
  }
  if (bug === "appendUnmatched") {
    return withMethod(RaftLog.prototype, "matchTerm", matchWhatExists, body);
  }
  if (bug === "smallQuorum") {
    return withMethod(MajorityConfig.prototype, "committedIndex", commitByFewer, body);
  }
  if (bug === "halfJointVote") {
    return withMethod(JointConfig.prototype, "voteResult", electByOutgoing, body);
  }
  if (bug === "halfJoint") {
    return withMethod(JointConfig.prototype, "committedIndex", commitByIncoming, () =>
      withBrokenCore("halfJointVote", body),
    );
  }
  if (bug === "endlessLease") return withMethod(Lease.prototype, "holds", () => true, body);
  if (bug === "voteForShorter") {
    return withMethod(RaftLog.prototype, "isUpToDate", () => true, body);
  }
  return body();
}

function commitAnyTerm(this: RaftLog, at: { readonly index: number }): boolean {
  if (at.index <= this.committed) return false;
  this.commitTo(at.index);
  return true;
}

function matchWhatExists(this: RaftLog, id: { readonly index: number }): boolean {
  return typeof this.term(id.index) === "number";
}

function commitByFewer(this: MajorityConfig, acked: (id: number) => number | undefined): number {
  const indexes = this.ids.map((id) => acked(id) ?? 0).sort((a, b) => b - a);
  return indexes[Math.max(0, Math.floor(this.size / 2) - 1)] ?? Number.POSITIVE_INFINITY;
}

function commitByIncoming(this: JointConfig, acked: AckedIndex): number {
  return this.incoming.committedIndex(acked);
}

function electByOutgoing(this: JointConfig, votes: Votes): VoteResult {
  return (this.isJoint ? this.outgoing : this.incoming).voteResult(votes);
}

function withMethod<Owner extends object, Name extends keyof Owner, T>(
  owner: Owner,
  name: Name,
  replacement: Owner[Name],
  body: () => T,
): T {
  const original = owner[name];
  owner[name] = replacement;
  try {
    return body();
  } finally {
    owner[name] = original;
  }
}
