/** A raft member as the rest of a manager sees it, and what it is made from. */

import type { Clock, Log, Random } from "#base/ports.ts";
import type { RpcChannel } from "#platform/grpc/client.ts";
import type { RpcContext } from "#platform/grpc/server.ts";
import type { KeyRing } from "#platform/wal/key-ring.ts";
import type { NodeId } from "#raft/index.ts";
import type { Change, ReadView } from "#store/types.ts";
import type { JoinRequest } from "#wire/gen/swarmkit/raft_pb.js";
import type { Membership, Registrar } from "../manager-ports.ts";
import type { Actor, ClusterState } from "../state.ts";
import type { DiskOptions } from "./disk.ts";
import type { AloneReport } from "./going-alone.ts";

export interface RaftNodeOptions {
  /** Directory of the log and the snapshots; nobody else's. */
  readonly dir: string;
  readonly keys: KeyRing;
  readonly nodeId: string;
  /** "host:port" under which the other members reach this one; asked for when it is needed. */
  readonly addr: () => string;
  /** A shared channel to a manager's port; the caller owns it. */
  readonly channelTo: (addr: string) => RpcChannel;
  /** Managers that may take this one in, for a disk that never took part; else a new group. */
  readonly join?: (() => readonly string[]) | undefined;
  /**
   * Whether it may begin a new group where it has no log and nobody to join; true unless told. A member
   * that has lost its log must not: it would lead an empty swarm, and vote as it never had.
   */
  readonly mayFound?: boolean | undefined;
  /** Makes this member the only one, after the majority was lost for good. */
  readonly forceNewCluster?: boolean | undefined;
  /** The node id that the transport vouches for; default: that of the caller's certificate. */
  readonly callerOf?: ((context: RpcContext) => string | undefined) | undefined;
  /** Throws if the group can't take in whoever asks so; the leader asks, of what is stored. */
  readonly checkJoin?: ((view: ReadView, request: JoinRequest) => void) | undefined;
  /** Throws if the actor may not make the change. */
  readonly checkChange?: ((actor: Actor, change: Change) => void) | undefined;
  /** The disk failed or an invariant broke: log it and end the process. */
  readonly onFatal: (error: unknown) => void;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly tickMs?: number | undefined;
  readonly electionTicks?: number | undefined;
  readonly snapshotEvery?: number | undefined;
  readonly keepEntries?: number | undefined;
  readonly segmentBytes?: number | undefined;
  readonly chunkBytes?: number | undefined;
  readonly fs?: DiskOptions["fs"];
  /** Told how long things took. */
  readonly timings?: RaftTimings | undefined;
}

/** What is worth a histogram; all in seconds. */
export interface RaftTimings {
  /** From the proposal of a change until it was applied here; or that its outcome is not known. */
  transaction(seconds: number, outcome: "applied" | "lost"): void;
  /** A snapshot of the store, encoded and on disk. */
  snapshot(seconds: number): void;
}

/** Where a member stands, for operators and tests. */
export interface RaftNodeStatus {
  /** Undefined before the member has its place in a group. */
  readonly raftId: NodeId | undefined;
  readonly term: number;
  /** Node ids of the members that vote, and of those that only learn yet. */
  readonly voters: readonly string[];
  readonly learners: readonly string[];
  /** Index of the newest applied entry. */
  readonly applied: number;
  /** Index of the oldest entry that the log in memory still has. */
  readonly firstIndex: number;
  /** Index of the newest entry that is known to be committed. */
  readonly committed: number;
  /** Whether it leads in this term, with all applied that was decided before. */
  readonly leads: boolean;
  /** Whether this member knows who leads. */
  readonly hasLeader: boolean;
  /** Leaders that were heard of since the start, each time anew. */
  readonly leaderChanges: number;
  /** Changes that wait for their commit. */
  readonly pending: number;
}

export interface RaftNode {
  readonly state: ClusterState;
  readonly membership: Membership;
  /** Set if this process went on alone, without the rest of its group. */
  readonly alone: AloneReport | undefined;
  status(): RaftNodeStatus;
  register(services: Registrar): void;
  /** Takes part. Resolves when the member is in the group, not when there is a leader. */
  run(): Promise<void>;
  /** Resolves when the group has removed this member. */
  readonly removed: Promise<void>;
  /**
   * Resolves when nothing is on disk any more that the key ring's current key does not open; rejects
   * when that is not so yet, to be tried again.
   */
  reseal(): Promise<void>;
  /** Lets another lead if this one does; resolves when it is known what became of what was under way. */
  handOver(): Promise<void>;
  /** Hands leadership over if it has it, and lets go of everything. */
  close(): Promise<void>;
  /** Lets go of everything at once, as if the process had died. */
  kill(): Promise<void>;
}
