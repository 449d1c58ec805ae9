/** What a leader does with messages that are not about one follower's log. */

import { decodeBeat } from "./beat-context.ts";
import { hex } from "./describe.ts";
import { handleAppendResponse } from "./leader-append.ts";
import { handleProposal } from "./propose.ts";
import type { Raft } from "./raft.ts";
import { answerConfirmedReads, handleReadIndex } from "./reads.ts";
import { broadcastHeartbeat, sendAppend, sendTimeoutNow } from "./replicate.ts";
import { becomeFollower } from "./roles.ts";
import type { Progress } from "./tracker/progress.ts";
import { type Message, type MessageType, NONE, type StepError } from "./types.ts";

type Handler = (r: Raft, m: Message) => void;
type MemberHandler = (r: Raft, m: Message, progress: Progress) => void;

const HANDLERS: Readonly<Partial<Record<MessageType, Handler>>> = {
  MsgBeat: broadcastHeartbeat,
  MsgCheckQuorum: checkQuorum,
  MsgReadIndex: handleReadIndex,
  MsgForgetLeader: () => {},
};

/** About one member, `m.from`, whose progress we must know. */
const MEMBER_HANDLERS: Readonly<Partial<Record<MessageType, MemberHandler>>> = {
  MsgAppResp: handleAppendResponse,
  MsgHeartbeatResp: handleHeartbeatResponse,
  MsgSnapStatus: handleSnapshotStatus,
  MsgUnreachable: handleUnreachable,
  MsgTransferLeader: handleTransfer,
};

export function stepLeader(r: Raft, m: Message): StepError | undefined {
  if (m.type === "MsgProp") return handleProposal(r, m);
  const handler = HANDLERS[m.type] ?? stepAboutMember;
  handler(r, m);
  return undefined;
}

function stepAboutMember(r: Raft, m: Message): void {
  const progress = r.tracker.progress.get(m.from);
  if (progress === undefined) {
    r.logger.debug(`${hex(r.id)} no progress available for ${hex(m.from)}`);
    return;
  }
  MEMBER_HANDLERS[m.type]?.(r, m, progress);
}

/** Appends that were streamed ahead are probably lost: find the follower's end again. */
function handleUnreachable(r: Raft, m: Message, progress: Progress): void {
  if (progress.state === "replicate") progress.becomeProbe();
  r.logger.debug(
    `${hex(r.id)} failed to send message to ${hex(m.from)} because it is unreachable [${progress.toString()}]`,
  );
}

/** Steps down if no quorum was heard from since the last check, and starts the next count. */
function checkQuorum(r: Raft): void {
  if (!r.tracker.quorumActive()) {
    r.logger.warn(`${hex(r.id)} stepped down to follower since quorum is not active`);
    becomeFollower(r, r.term, NONE);
  }
  for (const [id, progress] of r.tracker.progress) {
    if (id !== r.id) progress.recentActive = false;
  }
}

function handleHeartbeatResponse(r: Raft, m: Message, progress: Progress): void {
  progress.recentActive = true;
  progress.msgAppFlowPaused = false;
  // Also to a follower that has everything but is only probed: its answer makes it replicate again.
  if (progress.match < r.log.lastIndex() || progress.state === "probe") sendAppend(r, m.from);
  const { reads, lease } = decodeBeat(m.context);
  r.lease.receiveEcho(m.from, lease);
  r.readOnly.receiveAck(m.from, reads);
  answerConfirmedReads(r);
}

function handleSnapshotStatus(r: Raft, m: Message, progress: Progress): void {
  if (progress.state !== "snapshot") return;
  // A failed snapshot must not become the place to probe from.
  if (m.reject) progress.pendingSnapshot = 0;
  progress.becomeProbe();
  const outcome = m.reject ? "failed" : "succeeded";
  r.logger.debug(
    `${hex(r.id)} snapshot ${outcome}, resumed sending replication messages to ${hex(m.from)} [${progress.toString()}]`,
  );
  // Wait for the follower's own word, or for the next heartbeat to try again.
  progress.msgAppFlowPaused = true;
}

/** The follower to lead next is `m.from`: the request may come through others. */
function handleTransfer(r: Raft, m: Message, progress: Progress): void {
  const self = hex(r.id);
  const target = m.from;
  if (progress.isLearner) {
    r.logger.debug(`${self} is learner. Ignored transferring leadership`);
    return;
  }
  if (r.leadTransferee !== NONE) {
    if (r.leadTransferee === target) {
      r.logger.info(
        `${self} [term ${r.term}] transfer leadership to ${hex(target)} is in progress, ignores request to same node ${hex(target)}`,
      );
      return;
    }
    const aborted = hex(r.leadTransferee);
    r.leadTransferee = NONE;
    r.logger.info(`${self} [term ${r.term}] abort previous transferring leadership to ${aborted}`);
  }
  if (target === r.id) {
    r.logger.debug(`${self} is already leader. Ignored transferring leadership to self`);
    return;
  }
  startTransfer(r, target, progress);
}

/** Has one election timeout to succeed; meanwhile no proposals are taken. */
function startTransfer(r: Raft, target: number, progress: Progress): void {
  const self = hex(r.id);
  r.logger.info(`${self} [term ${r.term}] starts to transfer leadership to ${hex(target)}`);
  r.electionElapsed = 0;
  r.leadTransferee = target;
  if (progress.match !== r.log.lastIndex()) {
    sendAppend(r, target);
    return;
  }
  sendTimeoutNow(r, target);
  r.logger.info(
    `${self} sends MsgTimeoutNow to ${hex(target)} immediately as ${hex(target)} already has up-to-date log`,
  );
}
