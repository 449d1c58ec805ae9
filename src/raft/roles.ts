/** Changes of role. `become*` is the only place where `state`, `term` and `lead` are set. */

import { invariant, must } from "#base/invariant.ts";
import { hex } from "./describe.ts";
import { payloadSize } from "./entries.ts";
import { Lease } from "./lease.ts";
import { EMPTY_BYTES, proposedEntry } from "./message.ts";
import type { Raft } from "./raft.ts";
import { ReadOnly } from "./read-only.ts";
import { send } from "./send.ts";
import { type Entry, NONE, type NodeId } from "./types.ts";

export function becomeFollower(r: Raft, term: number, lead: NodeId): void {
  reset(r, term);
  r.lead = lead;
  r.state = "follower";
  r.logger.info(`${hex(r.id)} became follower at term ${r.term}`);
}

export function becomeCandidate(r: Raft): void {
  invariant(r.state !== "leader", "a leader does not campaign");
  reset(r, r.term + 1);
  r.vote = r.id;
  r.state = "candidate";
  r.logger.info(`${hex(r.id)} became candidate at term ${r.term}`);
}

/** Neither term nor vote change: a pre-candidate has promised nothing yet. */
export function becomePreCandidate(r: Raft): void {
  invariant(r.state !== "leader", "a leader does not campaign");
  r.tracker.resetVotes();
  r.lead = NONE;
  r.state = "preCandidate";
  r.logger.info(`${hex(r.id)} became pre-candidate at term ${r.term}`);
}

export function becomeLeader(r: Raft): void {
  invariant(r.state !== "follower", "a follower does not lead without an election");
  reset(r, r.term);
  r.lead = r.id;
  r.state = "leader";
  const own = must(r.tracker.progress.get(r.id), "the leader's own progress");
  own.becomeReplicate();
  own.recentActive = true;
  // A membership change may be anywhere in the uncommitted tail; wait until all of it is applied.
  r.pendingConfIndex = r.log.lastIndex();
  const accepted = appendAsLeader(r, [proposedEntry(EMPTY_BYTES)]);
  invariant(accepted, "the empty entry of a new term always fits");
  r.logger.info(`${hex(r.id)} became leader at term ${r.term}`);
}

/** Appends with our term and the next indexes; false if the uncommitted tail is full. */
export function appendAsLeader(r: Raft, proposed: readonly Entry[]): boolean {
  if (!growUncommitted(r, payloadSize(proposed))) {
    r.logger.warn(
      `${hex(r.id)} appending new entries to log would exceed uncommitted entry size limit; dropping proposal`,
    );
    return false;
  }
  const last = r.log.lastIndex();
  const { term } = r;
  const entries = proposed.map(({ type, data }, position): Entry => {
    return { term, index: last + 1 + position, type, data };
  });
  const index = r.log.append(entries);
  // The leader acknowledges its own entries like everyone else: once they are on disk.
  send(r, { type: "MsgAppResp", to: r.id, index });
  return true;
}

/**
 * Whatever the limit, an empty tail takes one proposal and empty payloads are never refused: the
 * first entry of a term and the end of a joint state must always get in.
 */
function growUncommitted(r: Raft, bytes: number): boolean {
  const full = r.uncommittedSize + bytes > r.config.maxUncommittedEntriesSize;
  if (r.uncommittedSize > 0 && bytes > 0 && full) return false;
  r.uncommittedSize += bytes;
  return true;
}

function reset(r: Raft, term: number): void {
  if (r.term !== term) {
    invariant(term > r.term && Number.isSafeInteger(term), "terms only rise");
    r.term = term;
    r.vote = NONE;
  }
  r.lead = NONE;
  r.electionElapsed = 0;
  r.heartbeatElapsed = 0;
  const { electionTick, random } = r.config;
  r.randomizedElectionTimeout = electionTick + random(electionTick);
  r.leadTransferee = NONE;
  r.tracker.resetVotes();
  r.tracker.resetProgress(r.id, r.log.lastIndex());
  r.pendingConfIndex = 0;
  r.uncommittedSize = 0;
  // Reads that were not confirmed in their term are lost; whoever asked asks again.
  r.readOnly = new ReadOnly();
  r.lease = new Lease();
  r.pendingReads = [];
}
