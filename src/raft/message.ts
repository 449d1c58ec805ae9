/**
 * Makers and predicates for the values of `types.ts`. Every message is made by `message()`, so that
 * all have one shape (fast property access) and no field is ever forgotten or undefined by accident.
 */

import {
  type ConfState,
  type Entry,
  type HardState,
  type Message,
  type MessageType,
  NONE,
  type NodeId,
  type Snapshot,
} from "./types.ts";

export const EMPTY_BYTES: Uint8Array = new Uint8Array(0);
export const EMPTY_HARD_STATE: HardState = { term: 0, vote: NONE, commit: 0 };
export const EMPTY_CONF_STATE: ConfState = {
  voters: [],
  learners: [],
  votersOutgoing: [],
  learnersNext: [],
  autoLeave: false,
};
export const EMPTY_SNAPSHOT: Snapshot = {
  data: EMPTY_BYTES,
  metadata: { confState: EMPTY_CONF_STATE, index: 0, term: 0 },
};
const ZERO: Message = {
  type: "MsgHup",
  to: NONE,
  from: NONE,
  term: 0,
  logTerm: 0,
  index: 0,
  entries: [],
  commit: 0,
  vote: NONE,
  snapshot: undefined,
  reject: false,
  rejectHint: 0,
  context: EMPTY_BYTES,
  responses: [],
};

export interface MessageInit extends Partial<Message> {
  readonly type: MessageType;
}

/**
 * A message with every field that `init` leaves out set to zero. Spreading over a full one keeps the
 * shape and is several times as fast as asking for each field: this is the hottest line of the core.
 */
export function message(init: MessageInit): Message {
  return { ...ZERO, ...init };
}

/** The message with its sender and term. */
export function stamped(init: MessageInit, from: NodeId, term: number): Message {
  return { ...ZERO, ...init, from, term };
}

/** An entry as a proposal carries it: the leader gives it term and index. */
export function proposedEntry(data: Uint8Array, type: Entry["type"] = "normal"): Entry {
  return { term: 0, index: 0, type, data };
}

export function isEmptyHardState(state: HardState): boolean {
  return state.term === 0 && state.vote === NONE && state.commit === 0;
}

export function sameHardState(a: HardState, b: HardState): boolean {
  return a.term === b.term && a.vote === b.vote && a.commit === b.commit;
}

export function isEmptySnapshot(snapshot: Snapshot | undefined): boolean {
  return snapshot === undefined || snapshot.metadata.index === 0;
}

const LOCAL_MESSAGES: ReadonlySet<MessageType> = new Set([
  "MsgHup",
  "MsgBeat",
  "MsgUnreachable",
  "MsgSnapStatus",
  "MsgCheckQuorum",
  "MsgStorageAppend",
  "MsgStorageAppendResp",
  "MsgStorageApply",
  "MsgStorageApplyResp",
]);

const RESPONSE_MESSAGES: ReadonlySet<MessageType> = new Set([
  "MsgAppResp",
  "MsgVoteResp",
  "MsgHeartbeatResp",
  "MsgUnreachable",
  "MsgReadIndexResp",
  "MsgPreVoteResp",
  "MsgStorageAppendResp",
  "MsgStorageApplyResp",
]);

/** Types that only this node's own driver or storage may send: refuse them from the network. */
export function isLocalMessage(type: MessageType): boolean {
  return LOCAL_MESSAGES.has(type);
}

export function isResponseMessage(type: MessageType): boolean {
  return RESPONSE_MESSAGES.has(type);
}

/** Whether the node has a place in the configuration: it votes, did, or learns. */
export function isMemberOf({ voters, learners, votersOutgoing }: ConfState, id: NodeId): boolean {
  // Future learners are outgoing voters, so they need no look of their own.
  return [voters, learners, votersOutgoing].some((ids) => ids.includes(id));
}

/** Same members in each role, whatever their order. */
export function sameConfState(a: ConfState, b: ConfState): boolean {
  return (
    a.autoLeave === b.autoLeave &&
    sameMembers(a.voters, b.voters) &&
    sameMembers(a.learners, b.learners) &&
    sameMembers(a.votersOutgoing, b.votersOutgoing) &&
    sameMembers(a.learnersNext, b.learnersNext)
  );
}

function sameMembers(a: readonly number[], b: readonly number[]): boolean {
  if (a.length !== b.length) return false;
  const members = new Set(a);
  return b.every((id) => members.has(id));
}
