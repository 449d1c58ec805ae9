/** Elections: when to stand, whom to ask, whom to give a vote. */

import { invariant } from "#base/invariant.ts";
import { decodeCommitHint, encodeCommitHint } from "./commit-hint.ts";
import { hex } from "./describe.ts";
import type { EntryId } from "./entries.ts";
import { isPromotable } from "./membership.ts";
import { EMPTY_BYTES } from "./message.ts";
import type { Raft } from "./raft.ts";
import { becomeCandidate, becomeFollower, becomePreCandidate } from "./roles.ts";
import { send } from "./send.ts";
import { type Message, type MessageType, NONE } from "./types.ts";

export type CampaignType = "preElection" | "election" | "transfer";

/** What raft peers put into a vote request that a leader asked for; it overrides leases. */
const TRANSFER_CONTEXT = Uint8Array.from("CampaignTransfer", (letter) => letter.charCodeAt(0));

/** Stands for election, unless this node must not or need not. */
export function hup(r: Raft, type: CampaignType): void {
  const self = hex(r.id);
  if (r.state === "leader") {
    r.logger.debug(`${self} ignoring MsgHup because already leader`);
  } else if (!isPromotable(r)) {
    r.logger.warn(`${self} is unpromotable and can not campaign`);
  } else if (type !== "transfer" && hasPromised(r)) {
    r.logger.debug(`${self} ignoring MsgHup because the lease of a leader has not run out`);
  } else if (hasUnappliedConfChanges(r)) {
    // Its own idea of the membership is out of date: it could count the wrong quorum.
    r.logger.warn(
      `${self} cannot campaign at term ${r.term} since there are still pending configuration changes to apply`,
    );
  } else {
    r.logger.info(`${self} is starting a new election at term ${r.term}`);
    campaign(r, type);
  }
}

export function campaign(r: Raft, type: CampaignType): void {
  const voteType = type === "preElection" ? "MsgPreVote" : "MsgVote";
  if (type === "preElection") becomePreCandidate(r);
  else becomeCandidate(r);
  // A pre-vote asks about the term that would follow.
  const term = type === "preElection" ? r.term + 1 : r.term;
  const last = r.log.lastEntryId();
  for (const id of r.tracker.config.voters.ids) {
    if (id === r.id) {
      // Our own vote counts once it is on disk, like anyone's.
      send(r, { type: voteResponseType(voteType), to: id, term });
      continue;
    }
    r.logger.info(
      `${hex(r.id)} [logterm: ${last.term}, index: ${last.index}] sent ${voteType} request to ${hex(id)} at term ${r.term}`,
    );
    const transfer = type === "transfer" ? { context: TRANSFER_CONTEXT } : {};
    const { index, term: logTerm } = last;
    send(r, { type: voteType, to: id, term, index, logTerm, ...transfer });
  }
}

/** A follower within its leader's lease ignores elections, unless the leader asked for this one. */
export function isLeaseHeldAgainst(r: Raft, m: Message): boolean {
  const { checkQuorum, electionTick } = r.config;
  const inLease = checkQuorum && r.lead !== NONE && r.electionElapsed < electionTick;
  if (!(inLease || hasPromised(r)) || isTransfer(m)) return false;
  const elapsed = inLease ? r.electionElapsed : r.sinceLeader;
  r.logger.info(
    `${describeVoter(r, r.log.lastEntryId())} ignored ${describeBallot(m)} at term ${r.term}: lease is not expired (remaining ticks: ${electionTick - elapsed})`,
  );
  return true;
}

/**
 * With lease-based reads a leader counts on the votes of those that heard it, also on theirs that
 * were restarted or went ahead to another term since; see `lease.ts`.
 */
function hasPromised(r: Raft): boolean {
  return r.config.readOnlyOption === "leaseBased" && r.sinceLeader < r.config.electionTick;
}

/** Refuses a pre-vote of an old term aloud, or two versions of the protocol could block each other. */
export function rejectOldPreVote(r: Raft, m: Message): void {
  r.logger.info(
    `${describeVoter(r, r.log.lastEntryId())} rejected ${describeBallot(m)} at term ${r.term}`,
  );
  refuse(r, "MsgPreVoteResp", m);
}

/**
 * Gives at most one vote per term, to a log at least as complete as ours. Learners vote too: they
 * may have been promoted without knowing it yet, and the candidate knows better.
 */
export function handleVoteRequest(r: Raft, m: Message): void {
  const last = r.log.lastEntryId();
  const canVote =
    r.vote === m.from ||
    (r.vote === NONE && r.lead === NONE) ||
    (m.type === "MsgPreVote" && m.term > r.term);
  const type = voteResponseType(m.type);
  if (!canVote || !r.log.isUpToDate({ term: m.logTerm, index: m.index })) {
    r.logger.info(`${describeVoter(r, last)} rejected ${describeBallot(m)} at term ${r.term}`);
    refuse(r, type, m);
    return;
  }
  const asked = describeBallot(m).replace(" from ", " for ");
  r.logger.info(`${describeVoter(r, last)} cast ${asked} at term ${r.term}`);
  // The term that was asked about: for a pre-vote it lies ahead of ours, and an answer with our own
  // would be ignored as old.
  send(r, { type, to: m.from, term: m.term });
  if (m.type === "MsgVote") {
    r.electionElapsed = 0;
    r.vote = m.from;
  }
}

function refuse(r: Raft, type: "MsgVoteResp" | "MsgPreVoteResp", m: Message): void {
  // A voter could stand itself, with what it knows; one that is none can only tell.
  const isVoter = r.tracker.config.voters.has(r.id);
  const context = isVoter ? EMPTY_BYTES : encodeCommitHint(r.log.committedId());
  send(r, { type, to: m.from, term: r.term, reject: true, context });
}

/** Takes over a commit index that came with a refusal, if we hold the entry that it names. */
export function learnCommit(r: Raft, m: Message): void {
  const hint = decodeCommitHint(m.context);
  if (hint === undefined || !m.reject || hint.index <= r.log.committed) return;
  if (!r.log.matchTerm(hint)) return;
  r.log.commitTo(hint.index);
  r.logger.info(
    `${hex(r.id)} learned from ${hex(m.from)} that ${hint.term}/${hint.index} is committed`,
  );
  // The membership may be about to change: an election by the old one must not go on.
  if (r.state !== "follower" && hasUnappliedConfChanges(r)) becomeFollower(r, r.term, NONE);
}

function voteResponseType(type: MessageType): "MsgVoteResp" | "MsgPreVoteResp" {
  invariant(type === "MsgVote" || type === "MsgPreVote", "only vote requests have vote answers");
  return type === "MsgVote" ? "MsgVoteResp" : "MsgPreVoteResp";
}

/** Reads what is committed and not applied page by page, since it may be long. */
function hasUnappliedConfChanges(r: Raft): boolean {
  const end = r.log.committed + 1;
  let next = r.log.applied + 1;
  while (next < end) {
    const page = r.log.slice(next, end, r.log.maxApplyingSize);
    invariant(page !== "compacted", "unapplied entries are not compacted");
    if (page.some((entry) => entry.type !== "normal")) return true;
    next += page.length;
  }
  return false;
}

function isTransfer(m: Message): boolean {
  const { context } = m;
  return (
    context.length === TRANSFER_CONTEXT.length &&
    context.every((byte, position) => byte === TRANSFER_CONTEXT[position])
  );
}

function describeVoter(r: Raft, last: EntryId): string {
  return `${hex(r.id)} [logterm: ${last.term}, index: ${last.index}, vote: ${hex(r.vote)}]`;
}

function describeBallot(m: Message): string {
  return `${m.type} from ${hex(m.from)} [logterm: ${m.logTerm}, index: ${m.index}]`;
}
