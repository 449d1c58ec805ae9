/**
 * Printers for everything the core takes and gives, in the notation of etcd's transcripts: they make
 * logs readable and let published transcripts be compared line by line.
 */

import { asV2, decodeConfChange } from "./confchange/codec.ts";
import { isEmptyHardState, isEmptySnapshot } from "./message.ts";
import { describeBytes } from "./quote.ts";
import {
  type ConfChange,
  type ConfChangeSingle,
  type ConfChangeTransition,
  type ConfChangeType,
  type ConfState,
  type Entry,
  type EntryType,
  type HardState,
  LOCAL_APPEND_THREAD,
  LOCAL_APPLY_THREAD,
  type Message,
  NONE,
  type NodeId,
  type ReadState,
  type Ready,
  type Snapshot,
  type SoftState,
  type StateType,
  type StepError,
} from "./types.ts";

const STATE_NAMES: Readonly<Record<StateType, string>> = {
  follower: "StateFollower",
  candidate: "StateCandidate",
  leader: "StateLeader",
  preCandidate: "StatePreCandidate",
};

const ENTRY_TYPE_NAMES: Readonly<Record<EntryType, string>> = {
  normal: "EntryNormal",
  confChange: "EntryConfChange",
  confChangeV2: "EntryConfChangeV2",
};

const CHANGE_TYPE_NAMES: Readonly<Record<ConfChangeType, string>> = {
  addNode: "ConfChangeAddNode",
  removeNode: "ConfChangeRemoveNode",
  updateNode: "ConfChangeUpdateNode",
  addLearnerNode: "ConfChangeAddLearnerNode",
};

const CHANGE_LETTERS: Readonly<Record<ConfChangeType, string>> = {
  addNode: "v",
  removeNode: "r",
  updateNode: "u",
  addLearnerNode: "l",
};

const TRANSITION_NAMES: Readonly<Record<ConfChangeTransition, string>> = {
  auto: "ConfChangeTransitionAuto",
  jointImplicit: "ConfChangeTransitionJointImplicit",
  jointExplicit: "ConfChangeTransitionJointExplicit",
};

const STEP_ERRORS: Readonly<Record<StepError, string>> = {
  proposalDropped: "raft proposal dropped",
  localMessage: "raft: cannot step raft local message",
  peerNotFound: "raft: cannot step as peer not found",
};

/** Turns the payload of a normal entry into text; by default a quoted string. */
export type DescribeData = (data: Uint8Array) => string;

/** Node ids in logs are hexadecimal, as in etcd and SwarmKit. */
export function hex(id: NodeId): string {
  return id.toString(16);
}

export function describeState(state: StateType): string {
  return STATE_NAMES[state];
}

export function describeStepError(error: StepError): string {
  return STEP_ERRORS[error];
}

export function describeHardState(state: HardState): string {
  const vote = state.vote === NONE ? "" : ` Vote:${state.vote}`;
  return `Term:${state.term}${vote} Commit:${state.commit}`;
}

export function describeSoftState(state: SoftState): string {
  return `Lead:${state.lead} State:${describeState(state.raftState)}`;
}

export function describeConfState(state: ConfState): string {
  const { voters, votersOutgoing, learners, learnersNext, autoLeave } = state;
  return `Voters:${list(voters)} VotersOutgoing:${list(votersOutgoing)} Learners:${list(learners)} LearnersNext:${list(learnersNext)} AutoLeave:${autoLeave}`;
}

export function describeSnapshot(snapshot: Snapshot): string {
  const { index, term, confState } = snapshot.metadata;
  return `Index:${index} Term:${term} ConfState:${describeConfState(confState)}`;
}

/** The changes in the notation of `parseConfChanges`: `v1 l2 r3 u4`. */
export function describeChanges(changes: readonly ConfChangeSingle[]): string {
  return changes.map(({ type, nodeId }) => `${CHANGE_LETTERS[type]}${nodeId}`).join(" ");
}

export function describeConfChange(change: ConfChange): string {
  const { transition, changes, context } = asV2(change);
  const parts = [`transition:${TRANSITION_NAMES[transition]}`];
  for (const { type, nodeId } of changes) {
    parts.push(`changes:{type:${CHANGE_TYPE_NAMES[type]} node_id:${nodeId}}`);
  }
  if (context.length > 0) parts.push(`context:${describeBytes(context)}`);
  return parts.join(" ");
}

export function describeEntry(entry: Entry, describeData: DescribeData = describeBytes): string {
  const body = describeBody(entry, describeData);
  const name = ENTRY_TYPE_NAMES[entry.type];
  return `${entry.term}/${entry.index} ${name}${body === "" ? "" : ` ${body}`}`;
}

export function describeEntries(entries: readonly Entry[], describeData?: DescribeData): string {
  return entries.map((entry) => `${describeEntry(entry, describeData)}\n`).join("");
}

export function describeMessage(m: Message, describeData?: DescribeData): string {
  return describeIndented("", m, describeData);
}

export function describeReady(ready: Ready, describeData?: DescribeData): string {
  const { softState, hardState, readStates, entries, snapshot, committedEntries } = ready;
  let text = "";
  if (softState !== undefined) text += `${describeSoftState(softState)}\n`;
  if (hardState !== undefined && !isEmptyHardState(hardState)) {
    text += `HardState ${describeHardState(hardState)}\n`;
  }
  if (readStates.length > 0) {
    text += `ReadStates [${readStates.map(describeReadState).join(" ")}]\n`;
  }
  if (entries.length > 0) text += `Entries:\n${describeEntries(entries, describeData)}`;
  if (snapshot !== undefined && !isEmptySnapshot(snapshot)) {
    text += `Snapshot ${describeSnapshot(snapshot)}\n`;
  }
  if (committedEntries.length > 0) {
    text += `CommittedEntries:\n${describeEntries(committedEntries, describeData)}`;
  }
  if (ready.messages.length > 0) {
    const lines = ready.messages.map((m) => `${describeMessage(m, describeData)}\n`);
    text += `Messages:\n${lines.join("")}`;
  }
  return text === "" ? "<empty Ready>" : `Ready MustSync=${ready.mustSync}:\n${text}`;
}

function describeIndented(indent: string, m: Message, describeData?: DescribeData): string {
  let text = `${indent}${target(m.from)}->${target(m.to)} ${m.type} Term:${m.term} Log:${m.logTerm}/${m.index}`;
  if (m.reject) text += ` Rejected (Hint: ${m.rejectHint})`;
  if (m.commit !== 0) text += ` Commit:${m.commit}`;
  if (m.vote !== NONE) text += ` Vote:${m.vote}`;
  const [only] = m.entries;
  if (m.entries.length === 1 && only !== undefined) {
    text += ` Entries:[${describeEntry(only, describeData)}]`;
  } else if (m.entries.length > 1) {
    const lines = m.entries.map((entry) => `\n${indent}  ${describeEntry(entry, describeData)}`);
    text += ` Entries:[${lines.join("")}\n${indent}]`;
  }
  if (m.snapshot !== undefined && !isEmptySnapshot(m.snapshot)) {
    text += `\n${indent}  Snapshot: ${describeSnapshot(m.snapshot)}`;
  }
  if (m.responses.length > 0) {
    const lines = m.responses.map(
      (response) => `\n${describeIndented(`${indent}  `, response, describeData)}`,
    );
    text += ` Responses:[${lines.join("")}\n${indent}]`;
  }
  return text;
}

function describeBody(entry: Entry, describeData: DescribeData): string {
  if (entry.type === "normal") return describeData(entry.data);
  const change = decodeConfChange(entry);
  return change.ok ? describeChanges(asV2(change.value).changes) : change.error;
}

function describeReadState(state: ReadState): string {
  return `{${state.index} ${list([...state.requestCtx])}}`;
}

function target(id: NodeId): string {
  if (id === NONE) return "None";
  if (id === LOCAL_APPEND_THREAD) return "AppendThread";
  return id === LOCAL_APPLY_THREAD ? "ApplyThread" : hex(id);
}

function list(numbers: readonly number[]): string {
  return `[${numbers.join(" ")}]`;
}
