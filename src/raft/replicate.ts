/** The leader's side of replication: appends, snapshots and heartbeats to followers; commitment. */

import { invariant } from "#base/invariant.ts";
import { encodeBeat } from "./beat-context.ts";
import { hex } from "./describe.ts";
import { payloadSize } from "./entries.ts";
import { isEmptySnapshot } from "./message.ts";
import type { Raft } from "./raft.ts";
import { send } from "./send.ts";
import type { Progress } from "./tracker/progress.ts";
import type { Entry, NodeId } from "./types.ts";

/** Sends the next append, even one without entries: it tells the commit index, and it probes. */
export function sendAppend(r: Raft, to: NodeId): void {
  maybeSendAppend(r, to, true);
}

/** Sends the next append if the follower can take one; without `sendIfEmpty` only with entries. */
export function maybeSendAppend(r: Raft, to: NodeId, sendIfEmpty: boolean): boolean {
  const progress = r.tracker.progress.get(to);
  if (progress === undefined || progress.isPaused()) return false;
  const prevIndex = progress.next - 1;
  const prevTerm = r.log.term(prevIndex);
  if (typeof prevTerm !== "number") return maybeSendSnapshot(r, to, progress);
  const entries = nextEntries(r, progress);
  if (entries !== "compacted" && entries.length === 0 && !sendIfEmpty) return false;
  if (entries === "compacted") return maybeSendSnapshot(r, to, progress);
  const commit = r.log.committed;
  send(r, { type: "MsgApp", to, index: prevIndex, logTerm: prevTerm, entries, commit });
  progress.sentEntries(entries.length, payloadSize(entries));
  progress.sentCommit(commit);
  return true;
}

/**
 * A full window sends no entries but still appends: if everything in flight was lost, the empty
 * append gets an answer that frees the window.
 */
function nextEntries(r: Raft, progress: Progress): readonly Entry[] | "compacted" {
  if (progress.state === "replicate" && progress.inflights.isFull()) return [];
  return r.log.entries(progress.next, r.config.maxSizePerMsg);
}

function maybeSendSnapshot(r: Raft, to: NodeId, progress: Progress): boolean {
  if (!progress.recentActive) {
    r.logger.debug(`ignore sending snapshot to ${hex(to)} since it is not recently active`);
    return false;
  }
  const snapshot = r.log.snapshot();
  if (snapshot === "temporarilyUnavailable") {
    r.logger.debug(
      `${hex(r.id)} failed to send snapshot to ${hex(to)} because snapshot is temporarily unavailable`,
    );
    return false;
  }
  invariant(!isEmptySnapshot(snapshot), "a compacted log has a snapshot");
  const { index, term } = snapshot.metadata;
  r.logger.debug(
    `${hex(r.id)} [firstindex: ${r.log.firstIndex()}, commit: ${r.log.committed}] sent snapshot[index: ${index}, term: ${term}] to ${hex(to)} [${progress.toString()}]`,
  );
  progress.becomeSnapshot(index);
  r.logger.debug(
    `${hex(r.id)} paused sending replication messages to ${hex(to)} [${progress.toString()}]`,
  );
  send(r, { type: "MsgSnap", to, snapshot });
  return true;
}

export function broadcastAppend(r: Raft): void {
  for (const id of r.tracker.progress.keys()) {
    if (id !== r.id) sendAppend(r, id);
  }
}

/** Heartbeats to everyone, carrying what waiting reads and the lease need. */
export function broadcastHeartbeat(r: Raft): void {
  const reads = r.readOnly.size > 0 ? r.readOnly.position : 0;
  const lease = r.config.readOnlyOption === "leaseBased" ? r.lease.stamp : 0;
  const context = encodeBeat({ reads, lease });
  for (const [id, progress] of r.tracker.progress) {
    if (id === r.id) continue;
    // A follower must not commit what it may not have: no further than its matching log.
    const commit = Math.min(progress.match, r.log.committed);
    send(r, { type: "MsgHeartbeat", to: id, commit, context });
    progress.sentCommit(commit);
  }
}

export function sendTimeoutNow(r: Raft, to: NodeId): void {
  r.lease.giveUp();
  send(r, { type: "MsgTimeoutNow", to });
}

/** Commits what a quorum holds. Returns whether the commit index moved. */
export function maybeCommit(r: Raft): boolean {
  return r.log.maybeCommit({ term: r.term, index: r.tracker.committed() });
}

/** Whether the commit index is of this term: only then is it surely the newest one. */
export function committedEntryInCurrentTerm(r: Raft): boolean {
  return r.log.termOrZero(r.log.committed) === r.term;
}
