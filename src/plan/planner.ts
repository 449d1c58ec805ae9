/**
 * What a planner is. Planners are pure: they read and write through the transaction that they are
 * handed, and keep only mirrors of committed state that can be rebuilt by `start`. The leader's
 * reconciler (`manager/leader/`) runs all of them to a fixed point in ONE transaction per turn, so
 * that a new service is allocated, filled with tasks and scheduled in a single raft entry.
 *
 * If the entry is lost (leadership moved), the whole scope is thrown away and built anew: a planner
 * never has to undo.
 */

import type { Change, Tx } from "#store/types.ts";

export interface PlanContext {
  readonly tx: Tx;
  /**
   * Wall clock of this turn, milliseconds since the epoch; the same for all planners of a turn, and the
   * transaction's own: what an update makes is not older than its start.
   */
  readonly nowMs: number;
  newId(): string;
  /** An integer in [0, bound). */
  random(bound: number): number;
  /** Asks for a turn at this wall-clock time (milliseconds), even if nothing changes. */
  wakeAt(timeMs: number): void;
  /** The same transaction for writes on behalf of another actor than the planner's own name. */
  as(actor: string): Tx;
  /**
   * Whether the turn's transaction may grow further. Asked before each unit of work; when it says
   * no, the rest stays queued in the planner, and `step` is called again in a turn that follows at
   * once.
   */
  hasRoom(): boolean;
}

export interface Planner {
  /** The actor on whose behalf the planner writes. */
  readonly name: string;
  /** Looks at everything: called once, when the manager starts to lead. */
  start(context: PlanContext): void;
  /**
   * Reacts to what changed since its last call: committed changes of others (API, dispatcher) and
   * the uncommitted ones of planners in this same turn, its own included. The changes of one object
   * form a chain: `old` is the very value that the planner was told of before. Called at least once
   * in every turn, maybe without changes. Must converge.
   */
  step(context: PlanContext, changes: readonly Change[]): void;
}
