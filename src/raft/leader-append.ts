/** The leader's reaction to a follower's answer to an append: go on, go back, commit. */

import { hex } from "./describe.ts";
import type { Raft } from "./raft.ts";
import { releasePendingReads } from "./reads.ts";
import {
  broadcastAppend,
  maybeCommit,
  maybeSendAppend,
  sendAppend,
  sendTimeoutNow,
} from "./replicate.ts";
import type { Progress } from "./tracker/progress.ts";
import type { Message } from "./types.ts";

export function handleAppendResponse(r: Raft, m: Message, progress: Progress): void {
  progress.recentActive = true;
  if (m.index > r.log.lastIndex()) {
    // Whoever holds entries of our term that we never made is no member to count on.
    r.logger.error(
      `${hex(r.id)} ignoring MsgAppResp from ${hex(m.from)} for index ${m.index}, beyond its own log's end at ${r.log.lastIndex()}`,
    );
    return;
  }
  if (m.reject) handleRejected(r, m, progress);
  else handleAccepted(r, m, progress);
}

/**
 * The follower's log does not have our entry at `m.index`. It named the last place that may match,
 * and our own terms may tell that an earlier one is the first that can: at most one probe per term.
 */
function handleRejected(r: Raft, m: Message, progress: Progress): void {
  const self = hex(r.id);
  const from = hex(m.from);
  r.logger.debug(
    `${self} received MsgAppResp(rejected, hint: (index ${m.rejectHint}, term ${m.logTerm})) from ${from} for index ${m.index}`,
  );
  const hint =
    m.logTerm > 0 ? r.log.findConflictByTerm(m.rejectHint, m.logTerm).index : m.rejectHint;
  if (!progress.maybeDecrTo(m.index, hint)) return;
  r.logger.debug(`${self} decreased progress of ${from} to [${progress.toString()}]`);
  if (progress.state === "replicate") progress.becomeProbe();
  sendAppend(r, m.from);
}

function handleAccepted(r: Raft, m: Message, progress: Progress): void {
  const { index, from } = m;
  // An answer that confirms what we knew still tells that a probe arrived.
  const confirms = progress.match === index && progress.state === "probe";
  if (!progress.maybeUpdate(index) && !confirms) return;
  resumeFlow(r, m, progress);
  if (maybeCommit(r)) {
    releasePendingReads(r);
    broadcastAppend(r);
  } else if (from !== r.id && progress.canBumpCommit(r.log.committed)) {
    // The next heartbeat would tell the commit index too, only later.
    sendAppend(r, from);
  }
  if (from !== r.id) {
    // The answer may have made room for several messages.
    while (maybeSendAppend(r, from, false));
  }
  if (from === r.leadTransferee && progress.match === r.log.lastIndex()) {
    r.logger.info(`${hex(r.id)} sent MsgTimeoutNow to ${hex(from)} after received MsgAppResp`);
    sendTimeoutNow(r, from);
  }
}

function resumeFlow(r: Raft, m: Message, progress: Progress): void {
  switch (progress.state) {
    case "probe":
      progress.becomeReplicate();
      break;
    case "replicate":
      progress.inflights.freeUpTo(m.index);
      break;
    case "snapshot":
      // Whatever snapshot it got and from whom: if our log continues it, appends can.
      if (progress.match + 1 < r.log.firstIndex()) break;
      r.logger.debug(
        `${hex(r.id)} recovered from needing snapshot, resumed sending replication messages to ${hex(m.from)} [${progress.toString()}]`,
      );
      progress.becomeProbe();
      progress.becomeReplicate();
      break;
  }
}
