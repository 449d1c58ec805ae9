/**
 * Configuration of one raft node, with defaults for a LAN. Everything that the core may not have of
 * its own (entropy, storage, a log) comes in here; ticks are counted by the driver.
 */

import { invariant } from "#base/invariant.ts";
import {
  LOCAL_APPEND_THREAD,
  LOCAL_APPLY_THREAD,
  NO_LIMIT,
  NONE,
  type NodeId,
  type RaftLogger,
  type Storage,
} from "./types.ts";

/** `safe` asks a quorum for every read; `leaseBased` trusts clocks (`lease.ts`), needs `checkQuorum`. */
export type ReadOnlyOption = "safe" | "leaseBased";

export interface RaftConfig {
  readonly id: NodeId;
  readonly storage: Storage;
  /** An integer in [0, bound): draws the randomized election timeout. */
  readonly random: (bound: number) => number;
  readonly logger: RaftLogger;
  /** Last index that the state machine already applied, 0 if unknown. Only set on restart. */
  readonly applied: number;

  /** A follower that hears nothing for this many ticks, up to twice as many, campaigns. */
  readonly electionTick: number;
  readonly heartbeatTick: number;

  /** Storage work goes out as messages to local targets, so that it can be pipelined. */
  readonly asyncStorageWrites: boolean;
  /** Bytes of entries per MsgApp; one entry always fits. */
  readonly maxSizePerMsg: number;
  /** Bytes of committed entries given out and not yet applied. */
  readonly maxCommittedSizePerReady: number;
  /** Payload bytes that a leader accepts beyond the commit index before it drops proposals. */
  readonly maxUncommittedEntriesSize: number;
  /** MsgApps in flight to one follower. */
  readonly maxInflightMsgs: number;
  /** Bytes in flight to one follower; at least `maxSizePerMsg`. */
  readonly maxInflightBytes: number;

  /** A leader that does not hear from a quorum within an election timeout steps down. */
  readonly checkQuorum: boolean;
  /** Ask whether an election can be won before disturbing the term. */
  readonly preVote: boolean;
  readonly readOnlyOption: ReadOnlyOption;
  /** Followers refuse proposals instead of passing them to the leader. */
  readonly disableProposalForwarding: boolean;
  /** Only for drivers that check membership changes themselves. */
  readonly disableConfChangeValidation: boolean;
  /** A leader that was removed or demoted becomes a follower at once. */
  readonly stepDownOnRemoval: boolean;
}

/** Discards every line. */
export const SILENT_LOGGER: RaftLogger = {
  debug: ignore,
  info: ignore,
  warn: ignore,
  error: ignore,
};

/** Everything but identity, storage and entropy. */
export const RAFT_DEFAULTS = {
  logger: SILENT_LOGGER,
  applied: 0,
  electionTick: 10,
  heartbeatTick: 1,
  asyncStorageWrites: false,
  maxSizePerMsg: 1024 * 1024,
  maxCommittedSizePerReady: 16 * 1024 * 1024,
  maxUncommittedEntriesSize: 64 * 1024 * 1024,
  maxInflightMsgs: 256,
  maxInflightBytes: NO_LIMIT,
  checkQuorum: true,
  preVote: true,
  readOnlyOption: "safe",
  disableProposalForwarding: false,
  disableConfChangeValidation: false,
  stepDownOnRemoval: true,
} as const satisfies Omit<RaftConfig, "id" | "storage" | "random">;

export function isLocalTarget(id: NodeId): boolean {
  return id === LOCAL_APPEND_THREAD || id === LOCAL_APPLY_THREAD;
}

/** A wrong configuration is a bug of the caller: there is no state yet to go on with. */
export function ensureValidConfig(config: RaftConfig): void {
  invariant(config.id !== NONE && Number.isSafeInteger(config.id), "raft id is a positive integer");
  invariant(!isLocalTarget(config.id), "raft id is not a local target");
  invariant(config.heartbeatTick > 0, "heartbeatTick is positive");
  invariant(config.electionTick > config.heartbeatTick, "electionTick exceeds heartbeatTick");
  invariant(config.maxInflightMsgs > 0, "maxInflightMsgs is positive");
  invariant(config.maxSizePerMsg >= 0, "maxSizePerMsg is not negative");
  invariant(config.maxCommittedSizePerReady > 0, "maxCommittedSizePerReady is positive");
  invariant(config.maxUncommittedEntriesSize > 0, "maxUncommittedEntriesSize is positive");
  invariant(
    config.maxInflightBytes >= config.maxSizePerMsg,
    "maxInflightBytes holds at least one message",
  );
  invariant(
    config.readOnlyOption !== "leaseBased" || config.checkQuorum,
    "leaseBased reads need checkQuorum",
  );
}

function ignore(): void {}
