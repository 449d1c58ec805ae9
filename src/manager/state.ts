/**
 * The port through which every part of a manager reads and writes the replicated store. The raft
 * node (`manager/raft/`) implements it; tests use the single-member `manager/raft/local-state.ts`.
 */

import { EngineError } from "#base/error.ts";
import type { ChangeBatch, ReadView, Tx } from "#store/types.ts";

/** Which component writes; task state transitions are checked against it (`model/task-states.ts`). */
export type Actor =
  | "api"
  | "allocator"
  | "orchestrator"
  | "scheduler"
  | "restart"
  | "updater"
  | "reaper"
  | "enforcer"
  | "dispatcher"
  | "ca"
  | "membership"
  | "leader";

/**
 * The change was surely not made, and will not be: whoever wanted it may ask another leader, or this
 * one again. Known within one process; to others it is a refusal like any other of its code.
 */
export class NotMade extends EngineError {
  constructor(message: string) {
    super("unavailable", message);
  }
}

export interface LeaderInfo {
  readonly nodeId: string;
  /** "host:port" of its manager port. */
  readonly addr: string;
}

export interface WatchOptions {
  readonly signal: AbortSignal;
  /** Replays from after this index; `out-of-range` ("watch from version unavailable") if too old. */
  readonly resumeFrom?: number;
}

export interface ClusterState {
  /** The newest state that this manager has applied; may lag behind the leader. */
  view(): ReadView;
  /** A view that contains everything acknowledged before the call (read-index). */
  linearizable(): Promise<ReadView>;
  /**
   * Runs `write` against the newest state including what is still on its way, proposes its changes
   * as one entry and resolves when they are committed and applied here. `write` must be synchronous
   * and may be run only once. Leader only: otherwise `NotMade`. An empty change set
   * is not proposed, but still waits for what it read to be committed, and so does a refusal: an
   * exception of `write`. Refusals, and the API's empty changes, are told only by a manager that a
   * majority says still leads: they are answers to a question, and must not be outdated.
   */
  update<T>(actor: Actor, write: (tx: Tx) => T): Promise<T>;
  /** Batches in commit order, each exactly once, starting after the view at the time of the call. */
  watch(options: WatchOptions): AsyncIterable<ChangeBatch>;
  /** The view and the batches after it, with nothing lost in between. */
  viewAndWatch(options: WatchOptions): { view: ReadView; batches: AsyncIterable<ChangeBatch> };
  /** Wall clock of the swarm, milliseconds: never behind what is stored (`swarm-clock.ts`). */
  nowMs(): number;
  /**
   * The first batch after the index that is applied here, if it is there yet: what a watch will tell
   * of, for whoever must know it already now.
   */
  batchAfter(index: number): ChangeBatch | "unavailable" | undefined;
  isLeader(): boolean;
  /** Who was elected, as far as known here; it does not lead before it says so itself. */
  leader(): LeaderInfo | undefined;
  /** Whether enough voters were heard in that time for an election to end well. */
  hearsMajority(withinMs: number): boolean;
  /**
   * Calls `lead` each time this manager becomes leader and has applied all entries of earlier
   * terms; the signal is aborted when it stops leading. Rejections of `lead` make it step down.
   */
  onLeadership(lead: (signal: AbortSignal) => Promise<void>): void;
}
