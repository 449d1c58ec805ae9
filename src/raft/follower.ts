/** What a follower does with messages; candidates share how a leader's words are taken in. */

import { hex } from "./describe.ts";
import { hup, learnCommit } from "./election.ts";
import { entryIdOf, isContiguous } from "./entries.ts";
import { restoreSnapshot } from "./membership.ts";
import type { Raft } from "./raft.ts";
import { acceptReadState } from "./reads.ts";
import { send } from "./send.ts";
import { type Message, type MessageType, NONE, type StepError } from "./types.ts";

const HANDLERS: Readonly<Partial<Record<MessageType, (r: Raft, m: Message) => void>>> = {
  MsgApp: followLeader,
  MsgHeartbeat: followLeader,
  MsgSnap: followLeader,
  MsgVoteResp: learnCommit,
  MsgPreVoteResp: learnCommit,
  MsgTransferLeader: (r, m) => forward(r, m, "leader transfer msg"),
  MsgReadIndex: (r, m) => forward(r, m, "index reading msg"),
  MsgReadIndexResp: acceptReadState,
  MsgForgetLeader: forgetLeader,
  MsgTimeoutNow: standForLeader,
};

export function stepFollower(r: Raft, m: Message): StepError | undefined {
  if (m.type === "MsgProp") return forwardProposal(r, m);
  HANDLERS[m.type]?.(r, m);
  return undefined;
}

function followLeader(r: Raft, m: Message): void {
  r.electionElapsed = 0;
  r.lead = m.from;
  handleFromLeader(r, m);
}

/** No pre-vote: the leader itself wants this election. */
function standForLeader(r: Raft, m: Message): void {
  r.logger.info(
    `${hex(r.id)} [term ${r.term}] received MsgTimeoutNow from ${hex(m.from)} and starts an election to get leadership.`,
  );
  hup(r, "transfer");
}

/** The three things a leader says. The sender is known to lead the current term. */
export function handleFromLeader(r: Raft, m: Message): void {
  r.sinceLeader = 0;
  if (m.type === "MsgApp") handleAppend(r, m);
  else if (m.type === "MsgHeartbeat") handleHeartbeat(r, m);
  else handleSnapshot(r, m);
}

function forwardProposal(r: Raft, m: Message): StepError | undefined {
  const self = hex(r.id);
  if (r.lead === NONE) {
    r.logger.info(`${self} no leader at term ${r.term}; dropping proposal`);
    return "proposalDropped";
  }
  if (r.config.disableProposalForwarding) {
    r.logger.info(
      `${self} not forwarding to leader ${hex(r.lead)} at term ${r.term}; dropping proposal`,
    );
    return "proposalDropped";
  }
  send(r, { ...m, to: r.lead });
  return undefined;
}

function forward(r: Raft, m: Message, what: string): void {
  if (r.lead === NONE) {
    r.logger.info(`${hex(r.id)} no leader at term ${r.term}; dropping ${what}`);
    return;
  }
  send(r, { ...m, to: r.lead });
}

function forgetLeader(r: Raft): void {
  if (r.config.readOnlyOption === "leaseBased") {
    // The leader counts on our not voting while its lease runs.
    r.logger.error("ignoring MsgForgetLeader due to ReadOnlyLeaseBased");
  } else if (r.lead !== NONE) {
    r.logger.info(`${hex(r.id)} forgetting leader ${hex(r.lead)} at term ${r.term}`);
    r.lead = NONE;
  }
}

function handleAppend(r: Raft, m: Message): void {
  const { index, logTerm, entries, commit } = m;
  if (!isWellFormed(m)) {
    r.logger.error(`${hex(r.id)} ignoring malformed MsgApp from ${hex(m.from)}`);
    return;
  }
  if (index < r.log.committed) {
    send(r, { type: "MsgAppResp", to: m.from, index: r.log.committed });
    return;
  }
  const matched = r.log.maybeAppend({ index, term: logTerm }, entries, commit);
  if (matched !== undefined) send(r, { type: "MsgAppResp", to: m.from, index: matched });
  else rejectAppend(r, m);
}

/** Entries that follow `index` without gap, with terms that never fall and never exceed the sender's. */
function isWellFormed({ term, index, logTerm, entries }: Message): boolean {
  const first = entries[0];
  const last = entries.at(-1);
  if (first === undefined || last === undefined) return true;
  return isContiguous(entries, index + 1) && first.term >= logTerm && entryIdOf(last).term <= term;
}

/**
 * Tells the leader where our log may match its own: skipping back over all our entries of later terms
 * than its entry at `index`, which cannot match.
 */
function rejectAppend(r: Raft, m: Message): void {
  const { index, logTerm, from } = m;
  r.logger.debug(
    `${hex(r.id)} [logterm: ${r.log.termOrZero(index)}, index: ${index}] rejected MsgApp [logterm: ${logTerm}, index: ${index}] from ${hex(from)}`,
  );
  const hint = r.log.findConflictByTerm(Math.min(index, r.log.lastIndex()), logTerm);
  send(r, {
    type: "MsgAppResp",
    to: from,
    index,
    reject: true,
    rejectHint: hint.index,
    logTerm: hint.term,
  });
}

function handleHeartbeat(r: Raft, m: Message): void {
  r.log.commitTo(m.commit);
  send(r, { type: "MsgHeartbeatResp", to: m.from, context: m.context });
}

function handleSnapshot(r: Raft, m: Message): void {
  const { snapshot, from } = m;
  if (snapshot === undefined) return;
  const { index, term } = snapshot.metadata;
  const restored = restoreSnapshot(r, snapshot);
  r.logger.info(
    `${hex(r.id)} [commit: ${r.log.committed}] ${restored ? "restored" : "ignored"} snapshot [index: ${index}, term: ${term}]`,
  );
  send(r, {
    type: "MsgAppResp",
    to: from,
    index: restored ? r.log.lastIndex() : r.log.committed,
  });
}
