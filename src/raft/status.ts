/** What a node tells about itself: for operators, metrics and the driver. Copies, never live state. */

import type { TrackerConfig } from "./tracker/config.ts";
import type { HardState, NodeId, SoftState } from "./types.ts";

/** How a leader serves one follower: find its place, stream, or wait for a snapshot. */
export type ProgressState = "probe" | "replicate" | "snapshot";

export interface ProgressStatus {
  readonly state: ProgressState;
  readonly match: number;
  readonly next: number;
  readonly isLearner: boolean;
  /** Heard from since the last quorum check. */
  readonly recentActive: boolean;
  readonly paused: boolean;
  /** Index of the snapshot on its way, 0 if none. */
  readonly pendingSnapshot: number;
  readonly inflight: number;
  readonly inflightFull: boolean;
}

export interface BasicStatus {
  readonly id: NodeId;
  readonly hardState: HardState;
  readonly softState: SoftState;
  readonly applied: number;
  /** Who is to lead next while a transfer runs, else `NONE`. */
  readonly leadTransferee: NodeId;
}

export interface Status extends BasicStatus {
  readonly config: TrackerConfig;
  /** Members in id order; empty unless this node leads. */
  readonly progress: ReadonlyMap<NodeId, ProgressStatus>;
}
