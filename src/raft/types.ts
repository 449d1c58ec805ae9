/**
 * The vocabulary of the consensus core: what is stored (entries, hard state, snapshots), what is
 * sent (messages), and what the core asks of its driver (`Ready`). Terms, names and numbers are
 * those of etcd/raft and raftpb, so that its published behaviour and its encodings carry over.
 *
 * Invariants: terms, indexes and node ids are safe integers (2^53 states at a million entries a
 * second last 285 years); node ids are never 0 and never one of the two local targets. Everything
 * here is immutable once made: entries and messages are shared between log, storage and network.
 */

/** A member of the group. Zero is `NONE`; the two largest safe integers are local targets. */
export type NodeId = number;

/** No node: "no leader", "no vote". */
export const NONE: NodeId = 0;
/** Target of `MsgStorageAppend` when storage writes are asynchronous. */
export const LOCAL_APPEND_THREAD: NodeId = Number.MAX_SAFE_INTEGER;
/** Target of `MsgStorageApply` when storage writes are asynchronous. */
export const LOCAL_APPLY_THREAD: NodeId = Number.MAX_SAFE_INTEGER - 1;
/** A size limit that never bites. */
export const NO_LIMIT = Number.MAX_SAFE_INTEGER;

/** `raftpb.EntryType` by name. */
export const ENTRY_TYPE_NUMBERS = { normal: 0, confChange: 1, confChangeV2: 2 } as const;
export type EntryType = keyof typeof ENTRY_TYPE_NUMBERS;

/** One position of the log. Empty `data` in a normal entry marks the start of a leader's term. */
export interface Entry {
  readonly term: number;
  readonly index: number;
  readonly type: EntryType;
  readonly data: Uint8Array;
}

/** What must survive a crash besides entries and snapshots. */
export interface HardState {
  readonly term: number;
  /** Who got our vote in `term`, or `NONE`. */
  readonly vote: NodeId;
  readonly commit: number;
}

export type StateType = "follower" | "candidate" | "leader" | "preCandidate";

/** Volatile facts that drivers log and act on; never stored. */
export interface SoftState {
  readonly lead: NodeId;
  readonly raftState: StateType;
}

/** A membership, as stored in snapshots. Joint while `votersOutgoing` is not empty. */
export interface ConfState {
  readonly voters: readonly NodeId[];
  readonly learners: readonly NodeId[];
  readonly votersOutgoing: readonly NodeId[];
  /** Voters of the outgoing half that become learners when the joint state is left. */
  readonly learnersNext: readonly NodeId[];
  readonly autoLeave: boolean;
}

export interface SnapshotMetadata {
  readonly confState: ConfState;
  readonly index: number;
  readonly term: number;
}

export interface Snapshot {
  readonly data: Uint8Array;
  readonly metadata: SnapshotMetadata;
}

/** `raftpb.ConfChangeType` by name. */
export const CONF_CHANGE_TYPE_NUMBERS = {
  addNode: 0,
  removeNode: 1,
  updateNode: 2,
  addLearnerNode: 3,
} as const;
export type ConfChangeType = keyof typeof CONF_CHANGE_TYPE_NUMBERS;

/** `raftpb.ConfChangeTransition` by name. */
export const CONF_CHANGE_TRANSITION_NUMBERS = {
  /** Simple protocol when one voter changes, joint consensus left automatically otherwise. */
  auto: 0,
  jointImplicit: 1,
  /** Joint until the application proposes an empty change. */
  jointExplicit: 2,
} as const;
export type ConfChangeTransition = keyof typeof CONF_CHANGE_TRANSITION_NUMBERS;

export interface ConfChangeSingle {
  readonly type: ConfChangeType;
  readonly nodeId: NodeId;
}

/** One change at a time, the form that SwarmKit's managers write. */
export interface ConfChangeV1 {
  readonly version: 1;
  /** Opaque to the core; 64 bits wide because other implementations fill it. */
  readonly id: bigint;
  readonly type: ConfChangeType;
  readonly nodeId: NodeId;
  readonly context: Uint8Array;
}

/** Any number of changes, through joint consensus where needed. No changes: leave the joint state. */
export interface ConfChangeV2 {
  readonly version: 2;
  readonly transition: ConfChangeTransition;
  readonly changes: readonly ConfChangeSingle[];
  readonly context: Uint8Array;
}

export type ConfChange = ConfChangeV1 | ConfChangeV2;

/** `raftpb.MessageType` by name. */
export const MESSAGE_TYPE_NUMBERS = {
  MsgHup: 0,
  MsgBeat: 1,
  MsgProp: 2,
  MsgApp: 3,
  MsgAppResp: 4,
  MsgVote: 5,
  MsgVoteResp: 6,
  MsgSnap: 7,
  MsgHeartbeat: 8,
  MsgHeartbeatResp: 9,
  MsgUnreachable: 10,
  MsgSnapStatus: 11,
  MsgCheckQuorum: 12,
  MsgTransferLeader: 13,
  MsgTimeoutNow: 14,
  MsgReadIndex: 15,
  MsgReadIndexResp: 16,
  MsgPreVote: 17,
  MsgPreVoteResp: 18,
  MsgStorageAppend: 19,
  MsgStorageAppendResp: 20,
  MsgStorageApply: 21,
  MsgStorageApplyResp: 22,
  MsgForgetLeader: 23,
} as const;
export type MessageType = keyof typeof MESSAGE_TYPE_NUMBERS;

/**
 * One message, flat like raftpb's: a field that a type does not use is zero or empty. Make them with
 * `message()`, which gives every message the same shape.
 */
export interface Message {
  readonly type: MessageType;
  readonly to: NodeId;
  readonly from: NodeId;
  /** Zero for messages that never leave the node, and for forwarded proposals and reads. */
  readonly term: number;
  /** MsgApp: term of the entry at `index`. MsgAppResp rejected: term at `rejectHint`. */
  readonly logTerm: number;
  /** MsgApp: index before the first entry. MsgAppResp: last index matched, or the one rejected. */
  readonly index: number;
  readonly entries: readonly Entry[];
  readonly commit: number;
  /** MsgStorageAppend only: with `term` and `commit` the hard state to store, all zero if unchanged. */
  readonly vote: NodeId;
  readonly snapshot: Snapshot | undefined;
  readonly reject: boolean;
  /** MsgAppResp rejected: where the sender's log may match. */
  readonly rejectHint: number;
  /** Heartbeats: the read-index position. Votes: marks a leadership transfer. */
  readonly context: Uint8Array;
  /** MsgStorageAppend and MsgStorageApply: what to deliver once the work is done. */
  readonly responses: readonly Message[];
}

/** The answer to `readIndex`: once `index` is applied, a read with this context is linearizable. */
export interface ReadState {
  readonly index: number;
  readonly requestCtx: Uint8Array;
}

/**
 * What the core wants done, in this order unless storage writes are asynchronous:
 *  1. store `snapshot`, `entries` and `hardState`; fsync if `mustSync` or with a snapshot;
 *  2. only then send `messages`;
 *  3. apply `snapshot` and `committedEntries`, calling `applyConfChange` for membership entries;
 *  4. call `advance()`.
 * With asynchronous writes, send `messages` at once: those to the local targets carry the work of
 * steps 1 and 3 and the responses to deliver afterwards, and `advance()` is never called.
 */
export interface Ready {
  /** Undefined when unchanged since the last Ready. */
  readonly softState: SoftState | undefined;
  /** Undefined when unchanged since the last Ready. */
  readonly hardState: HardState | undefined;
  readonly readStates: readonly ReadState[];
  readonly entries: readonly Entry[];
  readonly snapshot: Snapshot | undefined;
  readonly committedEntries: readonly Entry[];
  /** After a MsgSnap is delivered or lost, the driver must call `reportSnapshot`. */
  readonly messages: readonly Message[];
  /**
   * Whether `hardState` and `entries` must be synced: false when only the commit index moved. A
   * `snapshot` must always be, since its receipt is acknowledged.
   */
  readonly mustSync: boolean;
}

/** Why the core refused a message; the node's state is as if it had not come. */
export type StepError =
  /** No leader, forwarding disabled, a transfer under way, or the uncommitted tail is full. */
  | "proposalDropped"
  /** A message type that may only come from inside this node. */
  | "localMessage"
  /** A response from a node outside the membership. */
  | "peerNotFound";

export type SnapshotStatus = "finish" | "failure";

/** A log line of the core, already formatted. `base/ports` `Log` fits. */
export interface RaftLogger {
  debug(message: string): void;
  info(message: string): void;
  warn(message: string): void;
  error(message: string): void;
}

/** Everything before the first index was compacted; or nothing is there yet. */
export type OutOfLog = "compacted" | "unavailable";

/**
 * The stable log as the core reads it. Reads must be synchronous: keep the tail in memory. Entries
 * must not be changed after they were given out; returned arrays belong to the caller.
 */
export interface Storage {
  /**
   * What was saved last; `confState` is that of the latest snapshot. A driver that makes up a first
   * snapshot must save a hard state of its term with it: no log is of a later term than its node.
   */
  initialState(): { readonly hardState: HardState; readonly confState: ConfState };
  /** Entries in [lo, hi), cut at `maxSize` bytes (`entriesSize`), but at least one. */
  entries(lo: number, hi: number, maxSize: number): readonly Entry[] | OutOfLog;
  /** Term of an index in [firstIndex-1, lastIndex]. */
  term(index: number): number | OutOfLog;
  lastIndex(): number;
  /** First index that `entries` can still give; older ones live in the snapshot. */
  firstIndex(): number;
  /**
   * The latest snapshot, or word that it is still being made. A new member refuses one that is older
   * than the change that added it, so take one after each membership change.
   */
  snapshot(): Snapshot | "temporarilyUnavailable";
}
