/**
 * One member of a raft group, as its driver sees it: feed it ticks, messages and proposals, then
 * carry out each `Ready`. Synchronous and single-owner; it never performs IO.
 */

import type { RaftConfig } from "./config.ts";
import type { BasicStatus, Status } from "./status.ts";
import type {
  ConfChange,
  ConfState,
  Message,
  NodeId,
  Ready,
  SnapshotStatus,
  StepError,
} from "./types.ts";

/** A first member of a group, for `bootstrap`. */
export interface Peer {
  readonly id: NodeId;
  /** Travels in the membership entry that adds the peer. */
  readonly context: Uint8Array;
}

/** Signatures first; the body lands with the core. */
export declare class RawNode {
  constructor(config: RaftConfig);
  /** One step of the logical clock. */
  tick(): void;
  /** Start an election now. */
  campaign(): StepError | undefined;
  propose(data: Uint8Array): StepError | undefined;
  /** Several entries at once, replicated in one message. */
  proposeBatch(batch: readonly Uint8Array[]): StepError | undefined;
  proposeConfChange(change: ConfChange): StepError | undefined;
  /** To be called when a committed membership entry is applied; returns the membership to store. */
  applyConfChange(change: ConfChange): ConfState;
  /** A message from another member, or a response from the local storage. */
  step(message: Message): StepError | undefined;
  /** Linearizable read: a `ReadState` with this context comes in a later Ready. May be lost. */
  readIndex(ctx: Uint8Array): void;
  transferLeader(transferee: NodeId): void;
  /** Follower only: stop trusting the current leader, so that others may win our vote. */
  forgetLeader(): void;
  reportUnreachable(id: NodeId): void;
  reportSnapshot(id: NodeId, status: SnapshotStatus): void;
  hasReady(): boolean;
  ready(): Ready;
  /** The last Ready is stored, sent and applied. Not with asynchronous storage writes. */
  advance(): void;
  basicStatus(): BasicStatus;
  status(): Status;
  /** Appends and commits the entries that make `peers` the first members; empty storage only. */
  bootstrap(peers: readonly Peer[]): void;
}
