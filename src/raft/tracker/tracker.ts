/**
 * The membership with what is known of each member: replication progress and votes. It answers what
 * a quorum has acknowledged, who is alive, and how an election stands; it decides nothing itself.
 *
 * Invariant: `progress` holds exactly the voters of both halves and the learners, in id order.
 */

import type { VoteResult } from "../quorum/majority.ts";
import type { NodeId } from "../types.ts";
import { EMPTY_TRACKER_CONFIG, type TrackerConfig } from "./config.ts";
import { Inflights } from "./inflights.ts";
import { Progress } from "./progress.ts";

export type ProgressMap = ReadonlyMap<NodeId, Progress>;

/** A membership together with its progress: what a membership change maps to its successor. */
export interface Membership {
  readonly config: TrackerConfig;
  readonly progress: ProgressMap;
}

export interface Tally {
  readonly granted: number;
  readonly rejected: number;
  readonly result: VoteResult;
}

export class ProgressTracker implements Membership {
  readonly maxInflightMsgs: number;
  readonly maxInflightBytes: number;
  #config: TrackerConfig = EMPTY_TRACKER_CONFIG;
  #progress: ProgressMap = new Map();
  #votes = new Map<NodeId, boolean>();
  readonly #matchOf = (id: NodeId): number | undefined => this.#progress.get(id)?.match;

  constructor(maxInflightMsgs: number, maxInflightBytes: number) {
    this.maxInflightMsgs = maxInflightMsgs;
    this.maxInflightBytes = maxInflightBytes;
  }

  get config(): TrackerConfig {
    return this.#config;
  }

  get progress(): ProgressMap {
    return this.#progress;
  }

  switchTo(membership: Membership): void {
    this.#config = membership.config;
    this.#progress = membership.progress;
  }

  /** Forgets all replication state: a new term starts from `lastIndex` and knows only itself. */
  resetProgress(self: NodeId, lastIndex: number): void {
    const fresh = new Map<NodeId, Progress>();
    for (const [id, { isLearner }] of this.#progress) {
      const match = id === self ? lastIndex : 0;
      const inflights = new Inflights(this.maxInflightMsgs, this.maxInflightBytes);
      const init = { match, next: lastIndex + 1, isLearner, recentActive: false };
      fresh.set(id, new Progress(init, inflights));
    }
    this.#progress = fresh;
  }

  /** The leader is the only voter, so that its own word is a quorum. */
  isSingleton(): boolean {
    return this.#config.voters.incoming.size === 1 && !this.#config.voters.isJoint;
  }

  /** Highest index that the voters have acknowledged, by quorum. */
  committed(): number {
    return this.#config.voters.committedIndex(this.#matchOf);
  }

  /** Whether a quorum was heard from since the flags were last cleared. */
  quorumActive(): boolean {
    const active = new Map<NodeId, boolean>();
    for (const [id, progress] of this.#progress) {
      active.set(id, progress.recentActive);
    }
    return this.#config.voters.voteResult(active) === "won";
  }

  resetVotes(): void {
    this.#votes.clear();
  }

  /** The first answer of a voter counts; repeats are ignored. */
  recordVote(id: NodeId, granted: boolean): void {
    if (!this.#votes.has(id)) this.#votes.set(id, granted);
  }

  tallyVotes(): Tally {
    let granted = 0;
    let rejected = 0;
    for (const [id, progress] of this.#progress) {
      const vote = progress.isLearner ? undefined : this.#votes.get(id);
      if (vote === true) granted++;
      else if (vote === false) rejected++;
    }
    return { granted, rejected, result: this.#config.voters.voteResult(this.#votes) };
  }
}
