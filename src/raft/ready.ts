/**
 * The storage messages of asynchronous mode, and the answers that end a Ready in either mode.
 *
 * The answer to an append says "the log up to this entry is stable" and carries the term in which it
 * was asked. If the term has changed when it returns, it is ignored: entries could since have been
 * replaced and replaced back, with the middle write still under way (an ABA). Such entries are
 * confirmed by the next append, which every change of term brings: that is why the answer always
 * names the end of the log, not the end of its own entries.
 */

import { isEmptyHardState, isEmptySnapshot, message } from "./message.ts";
import type { Raft } from "./raft.ts";
import {
  type Entry,
  LOCAL_APPEND_THREAD,
  LOCAL_APPLY_THREAD,
  type Message,
  type Ready,
} from "./types.ts";

/** The work of storing a Ready, if there is any or if messages wait for earlier work. */
export function storageAppend(r: Raft, ready: Ready): Message | undefined {
  const { entries, snapshot, hardState } = ready;
  const changed = hardState !== undefined && !isEmptyHardState(hardState);
  const hasWork = entries.length > 0 || changed || !isEmptySnapshot(snapshot);
  if (!hasWork && r.msgsAfterAppend.length === 0) return undefined;
  const answer = storageAppendAnswer(r, ready);
  return message({
    type: "MsgStorageAppend",
    to: LOCAL_APPEND_THREAD,
    from: r.id,
    entries,
    snapshot,
    ...(changed ? hardState : {}),
    // The own acknowledgement last: handling a leader's self-addressed answers before it finds their
    // terms still in the unstable log.
    responses: answer === undefined ? r.msgsAfterAppend : [...r.msgsAfterAppend, answer],
  });
}

/** What to step once a Ready is stored; undefined if nothing in it was unstable. */
export function storageAppendAnswer(r: Raft, ready: Ready): Message | undefined {
  const { snapshot } = ready;
  const hasUnstable = r.log.unstable.length > 0;
  if (!hasUnstable && isEmptySnapshot(snapshot)) return undefined;
  const last = hasUnstable ? r.log.lastEntryId() : { index: 0, term: 0 };
  return message({
    type: "MsgStorageAppendResp",
    to: r.id,
    from: LOCAL_APPEND_THREAD,
    term: r.term,
    index: last.index,
    logTerm: last.term,
    snapshot,
  });
}

export function storageApply(r: Raft, entries: readonly Entry[]): Message {
  return message({
    type: "MsgStorageApply",
    to: LOCAL_APPLY_THREAD,
    from: r.id,
    entries,
    responses: [storageApplyAnswer(r, entries)],
  });
}

/** What to step once entries are applied. */
export function storageApplyAnswer(r: Raft, entries: readonly Entry[]): Message {
  return message({
    type: "MsgStorageApplyResp",
    to: r.id,
    from: LOCAL_APPLY_THREAD,
    entries,
  });
}
