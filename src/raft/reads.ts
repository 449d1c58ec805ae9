/**
 * The leader's answer to linearizable reads: the commit index, once it is sure to be the newest.
 * Without a lease (`lease.ts`), or when it has run out, a quorum is asked.
 *
 * Unlike etcd, a single voter waits for the first commit of its term too: after a restart its stored
 * commit index may be behind what it had acknowledged.
 */

import { hex } from "./describe.ts";
import { message } from "./message.ts";
import type { Raft } from "./raft.ts";
import { broadcastHeartbeat, committedEntryInCurrentTerm } from "./replicate.ts";
import { send } from "./send.ts";
import { type Message, NONE } from "./types.ts";

/** Reads that wait at a leader; who asks beyond that asks again later. */
export const WAITING_READS_MAX = 4_096;

export function handleReadIndex(r: Raft, request: Message): void {
  if (r.pendingReads.length + r.readOnly.size >= WAITING_READS_MAX) {
    r.logger.warn(`${hex(r.id)} dropping a read: ${WAITING_READS_MAX} others wait already`);
    return;
  }
  if (committedEntryInCurrentTerm(r)) confirmRead(r, request);
  else r.pendingReads.push(request);
}

/** To be called after a commit of the leader's own term. */
export function releasePendingReads(r: Raft): void {
  if (r.pendingReads.length === 0) return;
  if (!committedEntryInCurrentTerm(r)) {
    r.logger.error(
      "pending MsgReadIndex should be released only after first commit in current term",
    );
    return;
  }
  const requests = r.pendingReads;
  r.pendingReads = [];
  for (const request of requests) confirmRead(r, request);
}

/** Answers the reads that a quorum has confirmed by now. */
export function answerConfirmedReads(r: Raft): void {
  for (const { request, index } of r.readOnly.takeConfirmed(r.tracker.config.voters)) {
    answerRead(r, request, index);
  }
}

function confirmRead(r: Raft, request: Message): void {
  if (r.tracker.isSingleton() || holdsLease(r)) {
    answerRead(r, request, r.log.committed);
    return;
  }
  r.readOnly.add(r.log.committed, request);
  r.readOnly.receiveAck(r.id, r.readOnly.position);
  broadcastHeartbeat(r);
}

function holdsLease(r: Raft): boolean {
  const { readOnlyOption, electionTick } = r.config;
  if (readOnlyOption !== "leaseBased") return false;
  return r.lease.holds(r.tracker.config.voters, r.id, Math.floor(electionTick / 2));
}

function answerRead(r: Raft, request: Message, index: number): void {
  const { from, entries } = request;
  if (from !== NONE && from !== r.id) {
    send(r, { type: "MsgReadIndexResp", to: from, index, entries });
    return;
  }
  acceptReadState(r, message({ type: "MsgReadIndexResp", index, entries }));
}

/** Hands the answer to the driver; a well-formed one carries the context as its only entry. */
export function acceptReadState(r: Raft, response: Message): void {
  const [context] = response.entries;
  if (context === undefined || response.entries.length !== 1) {
    r.logger.error(
      `${hex(r.id)} invalid format of MsgReadIndexResp from ${hex(response.from)}, entries count: ${response.entries.length}`,
    );
    return;
  }
  r.readStates.push({ index: response.index, requestCtx: context.data });
}
