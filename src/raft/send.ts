/** The way out for messages: addresses them, stamps the term, and picks the outbox. */

import { invariant } from "#base/invariant.ts";
import { type MessageInit, stamped } from "./message.ts";
import type { Raft } from "./raft.ts";
import { type MessageType, NONE } from "./types.ts";

/** Their term is that of the election, which may differ from ours: the sender sets it. */
const CARRIES_OWN_TERM: ReadonlySet<MessageType> = new Set([
  "MsgVote",
  "MsgVoteResp",
  "MsgPreVote",
  "MsgPreVoteResp",
]);

/** Forwarded on behalf of a client: no term, or a leader of a later term would ignore them. */
const CARRIES_NO_TERM: ReadonlySet<MessageType> = new Set(["MsgProp", "MsgReadIndex"]);

/**
 * Answers that count: a vote or an acknowledged entry. Rejections too, since they may rest on state
 * that a crash could still undo.
 */
const AFTER_APPEND: ReadonlySet<MessageType> = new Set([
  "MsgAppResp",
  "MsgVoteResp",
  "MsgPreVoteResp",
]);

export function send(r: Raft, init: MessageInit): void {
  const { type } = init;
  let term = init.term ?? 0;
  if (CARRIES_OWN_TERM.has(type)) {
    invariant(term !== 0, "election messages say which term they are about");
  } else {
    invariant(term === 0, "only election messages choose their term");
    if (!CARRIES_NO_TERM.has(type)) term = r.term;
  }
  const from = init.from === undefined || init.from === NONE ? r.id : init.from;
  const m = stamped(init, from, term);
  if (AFTER_APPEND.has(type)) {
    r.msgsAfterAppend.push(m);
  } else {
    invariant(m.to !== r.id, "only answers are addressed to oneself");
    r.msgs.push(m);
  }
}
