/**
 * The entry for every message: first its term decides whether it is current, then its type or our
 * role what to do with it.
 */

import { appliedSnapshot, appliedTo, shrinkUncommitted } from "./apply.ts";
import { stepCandidate } from "./candidate.ts";
import { hex } from "./describe.ts";
import { handleVoteRequest, hup, isLeaseHeldAgainst, rejectOldPreVote } from "./election.ts";
import { entriesSize, payloadSize } from "./entries.ts";
import { stepFollower } from "./follower.ts";
import { stepLeader } from "./leader.ts";
import type { Raft } from "./raft.ts";
import { becomeFollower } from "./roles.ts";
import { send } from "./send.ts";
import { type Message, type MessageType, NONE, type StepError } from "./types.ts";

/** Only a leader sends these, so their sender leads their term. */
const FROM_LEADER: ReadonlySet<MessageType> = new Set(["MsgApp", "MsgHeartbeat", "MsgSnap"]);

/** What every role does alike; the rest depends on the role. */
const HANDLERS: Readonly<Partial<Record<MessageType, (r: Raft, m: Message) => void>>> = {
  MsgHup: (r) => hup(r, r.config.preVote ? "preElection" : "election"),
  MsgVote: handleVoteRequest,
  MsgPreVote: handleVoteRequest,
  MsgStorageAppendResp: handleStored,
  MsgStorageApplyResp: handleApplied,
};

export function step(r: Raft, m: Message): StepError | undefined {
  // Term zero: a message from within this node, or one forwarded for a client.
  if (m.term > r.term) {
    if (!admitLaterTerm(r, m)) return undefined;
  } else if (m.term < r.term && m.term !== 0) {
    handleEarlierTerm(r, m);
    return undefined;
  }
  const handler = HANDLERS[m.type];
  if (handler === undefined) return stepByRole(r, m);
  handler(r, m);
  return undefined;
}

function stepByRole(r: Raft, m: Message): StepError | undefined {
  switch (r.state) {
    case "leader":
      return stepLeader(r, m);
    case "follower":
      return stepFollower(r, m);
    case "candidate":
    case "preCandidate":
      return stepCandidate(r, m);
  }
}

/** Moves on to a later term where the message proves one; false if the message is to be ignored. */
function admitLaterTerm(r: Raft, m: Message): boolean {
  const isVote = m.type === "MsgVote" || m.type === "MsgPreVote";
  if (isVote && isLeaseHeldAgainst(r, m)) return false;
  // Pre-votes, and their approval, speak of a term that has not begun.
  if (m.type === "MsgPreVote" || (m.type === "MsgPreVoteResp" && !m.reject)) return true;
  r.logger.info(
    `${hex(r.id)} [term: ${r.term}] received a ${m.type} message with higher term from ${hex(m.from)} [term: ${m.term}]`,
  );
  becomeFollower(r, m.term, FROM_LEADER.has(m.type) ? m.from : NONE);
  return true;
}

function handleEarlierTerm(r: Raft, m: Message): void {
  const { checkQuorum, preVote } = r.config;
  if ((checkQuorum || preVote) && (m.type === "MsgHeartbeat" || m.type === "MsgApp")) {
    // This node went ahead in a partition, and with leases its votes are ignored: answering with its
    // term is the only way to make the leader step down and let it back in.
    send(r, { type: "MsgAppResp", to: m.from });
  } else if (m.type === "MsgPreVote") {
    rejectOldPreVote(r, m);
  } else if (m.type === "MsgStorageAppendResp") {
    handleEarlierAppend(r, m);
  } else {
    r.logger.info(
      `${hex(r.id)} [term: ${r.term}] ignored a ${m.type} message with lower term from ${hex(m.from)} [term: ${m.term}]`,
    );
  }
}

function handleStored(r: Raft, m: Message): void {
  if (m.index !== 0) r.log.unstable.stableTo({ term: m.logTerm, index: m.index });
  if (m.snapshot !== undefined) appliedSnapshot(r, m.snapshot);
}

/** Entries written in an earlier term may be overwritten by a write still under way; a snapshot not. */
function handleEarlierAppend(r: Raft, m: Message): void {
  if (m.index !== 0) {
    r.logger.info(
      `${hex(r.id)} [term: ${r.term}] ignored entry appends from a ${m.type} message with lower term [term: ${m.term}]`,
    );
  }
  if (m.snapshot !== undefined) appliedSnapshot(r, m.snapshot);
}

function handleApplied(r: Raft, m: Message): void {
  const last = m.entries.at(-1);
  if (last === undefined) return;
  appliedTo(r, last.index, entriesSize(m.entries));
  shrinkUncommitted(r, payloadSize(m.entries));
}
