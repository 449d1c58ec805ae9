/**
 * Messages of the consensus core as raftpb, the form in which managers send them, and back. What
 * comes from the network is checked here: types that only a node may send itself, ids and indexes
 * beyond 2^53 and unknown enum values are refused.
 */

import { create } from "@bufbuild/protobuf";
import { EngineError } from "#base/error.ts";
import {
  type ConfState,
  ENTRY_TYPE_NUMBERS,
  type Entry,
  isLocalMessage,
  MESSAGE_TYPE_NUMBERS,
  type Message,
  message,
  type SnapshotMetadata,
} from "#raft/index.ts";
import type {
  ConfState as ConfStatePb,
  Entry as EntryPb,
  Message as MessagePb,
  SnapshotMetadata as SnapshotMetadataPb,
  Snapshot as SnapshotPb,
} from "#wire/gen/raft/raftpb_pb.js";
import {
  ConfStateSchema,
  EntrySchema,
  EntryType as EntryTypePb,
  MessageSchema,
  MessageType,
  SnapshotMetadataSchema,
  SnapshotSchema,
} from "#wire/gen/raft/raftpb_pb.js";

const MESSAGE_NAMES = namesOf(MESSAGE_TYPE_NUMBERS);
const ENTRY_NAMES = namesOf(ENTRY_TYPE_NUMBERS);
const ENTRY_TYPES = {
  confChange: EntryTypePb.EntryConfChange,
  confChangeV2: EntryTypePb.EntryConfChangeV2,
} as const;

/** Fields that are zero are left out: the encoding is proto2, where they would take room. */
export function toRaftpb(m: Message): MessagePb {
  const pb = create(MessageSchema, { type: MessageType[m.type] });
  pb.to = BigInt(m.to);
  pb.from = BigInt(m.from);
  if (m.term !== 0) pb.term = BigInt(m.term);
  if (m.logTerm !== 0) pb.logTerm = BigInt(m.logTerm);
  if (m.index !== 0) pb.index = BigInt(m.index);
  if (m.commit !== 0) pb.commit = BigInt(m.commit);
  if (m.vote !== 0) pb.vote = BigInt(m.vote);
  if (m.reject) pb.reject = true;
  if (m.rejectHint !== 0) pb.rejectHint = BigInt(m.rejectHint);
  if (m.context.length > 0) pb.context = m.context;
  if (m.entries.length > 0) pb.entries = m.entries.map(entryToRaftpb);
  if (m.snapshot !== undefined) {
    const { data, metadata } = m.snapshot;
    pb.snapshot = create(SnapshotSchema, { data, metadata: snapshotMetadataToRaftpb(metadata) });
  }
  return pb;
}

/** Throws `invalid-argument` for what no member may send. */
export function fromRaftpb(pb: MessagePb): Message {
  const type = MESSAGE_NAMES.get(pb.type);
  if (type === undefined || isLocalMessage(type)) throw refused(`message type ${pb.type}`);
  return message({
    type,
    to: safe(pb.to),
    from: safe(pb.from),
    term: safe(pb.term),
    logTerm: safe(pb.logTerm),
    index: safe(pb.index),
    commit: safe(pb.commit),
    vote: safe(pb.vote),
    reject: pb.reject,
    rejectHint: safe(pb.rejectHint),
    context: pb.context,
    entries: pb.entries.map(entryFromRaftpb),
    ...(pb.snapshot === undefined ? {} : { snapshot: snapshotFromRaftpb(pb.snapshot) }),
  });
}

export function snapshotMetadataToRaftpb(metadata: SnapshotMetadata): SnapshotMetadataPb {
  return create(SnapshotMetadataSchema, {
    confState: confStateToRaftpb(metadata.confState),
    index: BigInt(metadata.index),
    term: BigInt(metadata.term),
  });
}

export function snapshotMetadataFromRaftpb(pb: SnapshotMetadataPb | undefined): SnapshotMetadata {
  if (pb?.confState === undefined) throw refused("a snapshot without membership");
  return {
    confState: confStateFromRaftpb(pb.confState),
    index: safe(pb.index),
    term: safe(pb.term),
  };
}

function snapshotFromRaftpb(pb: SnapshotPb) {
  return { data: pb.data, metadata: snapshotMetadataFromRaftpb(pb.metadata) };
}

function entryToRaftpb({ type, term, index, data }: Entry): EntryPb {
  const pb = create(EntrySchema);
  if (type !== "normal") pb.Type = ENTRY_TYPES[type];
  if (term !== 0) pb.Term = BigInt(term);
  if (index !== 0) pb.Index = BigInt(index);
  if (data.length > 0) pb.Data = data;
  return pb;
}

function entryFromRaftpb(pb: EntryPb): Entry {
  const type = ENTRY_NAMES.get(pb.Type);
  if (type === undefined) throw refused(`entry type ${pb.Type}`);
  return { type, term: safe(pb.Term), index: safe(pb.Index), data: pb.Data };
}

function confStateToRaftpb(state: ConfState): ConfStatePb {
  return create(ConfStateSchema, {
    voters: state.voters.map(BigInt),
    learners: state.learners.map(BigInt),
    votersOutgoing: state.votersOutgoing.map(BigInt),
    learnersNext: state.learnersNext.map(BigInt),
    autoLeave: state.autoLeave,
  });
}

function confStateFromRaftpb(pb: ConfStatePb): ConfState {
  return {
    voters: pb.voters.map(safe),
    learners: pb.learners.map(safe),
    votersOutgoing: pb.votersOutgoing.map(safe),
    learnersNext: pb.learnersNext.map(safe),
    autoLeave: pb.autoLeave,
  };
}

function safe(value: bigint): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw refused(`the number ${value}`);
  return Number(value);
}

function refused(what: string): EngineError {
  return new EngineError("invalid-argument", `a raft message holds ${what}, which is not accepted`);
}

function namesOf<Name extends string>(
  numbers: Readonly<Record<Name, number>>,
): ReadonlyMap<number, Name> {
  // Object.keys forgets the key type; the table's own keys are its names.
  return new Map((Object.keys(numbers) as Name[]).map((name) => [numbers[name], name]));
}
