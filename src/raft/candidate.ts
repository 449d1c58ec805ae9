/** What a candidate or pre-candidate does with messages: count votes, or give way to a leader. */

import { describeState, hex } from "./describe.ts";
import { campaign, learnCommit } from "./election.ts";
import { handleFromLeader } from "./follower.ts";
import type { Raft } from "./raft.ts";
import { broadcastAppend } from "./replicate.ts";
import { becomeFollower, becomeLeader } from "./roles.ts";
import { type Message, type MessageType, NONE, type StepError } from "./types.ts";

const HANDLERS: Readonly<Partial<Record<MessageType, (r: Raft, m: Message) => void>>> = {
  MsgApp: yieldToLeader,
  MsgHeartbeat: yieldToLeader,
  MsgSnap: yieldToLeader,
  MsgVoteResp: (r, m) => r.state === "candidate" && countVote(r, m),
  MsgPreVoteResp: (r, m) => r.state === "preCandidate" && countVote(r, m),
  MsgTimeoutNow: ignoreTimeoutNow,
};

export function stepCandidate(r: Raft, m: Message): StepError | undefined {
  if (m.type === "MsgProp") {
    r.logger.info(`${hex(r.id)} no leader at term ${r.term}; dropping proposal`);
    return "proposalDropped";
  }
  HANDLERS[m.type]?.(r, m);
  return undefined;
}

/** The message is of our own term: someone else was elected in it. */
function yieldToLeader(r: Raft, m: Message): void {
  becomeFollower(r, m.term, m.from);
  handleFromLeader(r, m);
}

function ignoreTimeoutNow(r: Raft, m: Message): void {
  r.logger.debug(
    `${hex(r.id)} [term ${r.term} state ${describeState(r.state)}] ignored MsgTimeoutNow from ${hex(m.from)}`,
  );
}

function countVote(r: Raft, m: Message): void {
  // A pre-vote that was granted for an earlier term, and came late, says nothing about this one.
  if (r.state === "preCandidate" && !m.reject && m.term !== r.term + 1) return;
  const before = r.state;
  learnCommit(r, m);
  if (r.state !== before) return;
  const self = hex(r.id);
  const rejection = m.reject ? " rejection" : "";
  r.logger.info(`${self} received ${m.type}${rejection} from ${hex(m.from)} at term ${r.term}`);
  r.tracker.recordVote(m.from, !m.reject);
  const { granted, rejected, result } = r.tracker.tallyVotes();
  r.logger.info(`${self} has received ${granted} ${m.type} votes and ${rejected} vote rejections`);
  switch (result) {
    case "pending":
      return;
    case "lost":
      // Our own term: that of a pre-vote answer may lie ahead.
      becomeFollower(r, r.term, NONE);
      return;
    case "won":
      if (r.state === "preCandidate") {
        campaign(r, "election");
      } else {
        becomeLeader(r);
        broadcastAppend(r);
      }
  }
}
