/**
 * raft: the consensus core. A pure state machine in etcd/raft's terms: it is fed ticks, messages and
 * proposals, and answers with `Ready` batches of what to store, send and apply.
 *
 * Owns: elections, log replication, commitment, membership change, linearizable reads.
 * Refuses: IO, clocks, entropy, threads, and any knowledge of what the entries mean.
 */

export type { EncodedConfChange } from "./confchange/codec.ts";
export { asV2, decodeConfChange, encodeConfChange } from "./confchange/codec.ts";
export type { RaftConfig, ReadOnlyOption } from "./config.ts";
export { isLocalTarget, RAFT_DEFAULTS, SILENT_LOGGER } from "./config.ts";
export {
  describeConfChange,
  describeConfState,
  describeEntries,
  describeEntry,
  describeHardState,
  describeMessage,
  describeReady,
  describeSnapshot,
  describeSoftState,
  describeState,
  describeStepError,
} from "./describe.ts";
export { entriesSize, entrySize } from "./entries.ts";
export { MemoryStorage } from "./memory-storage.ts";
export type { MessageInit } from "./message.ts";
export {
  EMPTY_BYTES,
  EMPTY_CONF_STATE,
  EMPTY_HARD_STATE,
  EMPTY_SNAPSHOT,
  isEmptyHardState,
  isEmptySnapshot,
  isLocalMessage,
  isMemberOf,
  isResponseMessage,
  message,
  sameConfState,
  sameHardState,
} from "./message.ts";
export { RawNode } from "./rawnode.ts";
export type { Peer } from "./start.ts";
export type { BasicStatus, ProgressState, ProgressStatus, Status } from "./status.ts";
export type {
  ConfChange,
  ConfChangeSingle,
  ConfChangeTransition,
  ConfChangeType,
  ConfChangeV1,
  ConfChangeV2,
  ConfState,
  Entry,
  EntryType,
  HardState,
  Message,
  MessageType,
  NodeId,
  OutOfLog,
  RaftLogger,
  ReadState,
  Ready,
  Snapshot,
  SnapshotMetadata,
  SnapshotStatus,
  SoftState,
  StateType,
  StepError,
  Storage,
} from "./types.ts";
export {
  CONF_CHANGE_TRANSITION_NUMBERS,
  CONF_CHANGE_TYPE_NUMBERS,
  ENTRY_TYPE_NUMBERS,
  LOCAL_APPEND_THREAD,
  LOCAL_APPLY_THREAD,
  MESSAGE_TYPE_NUMBERS,
  NO_LIMIT,
  NONE,
} from "./types.ts";
