/**
 * One follower as the leader sees it, and how to serve it:
 *   probe      its log end is unknown: one append at a time, then wait;
 *   replicate  stream appends, ahead of the acknowledgements, within the inflight window;
 *   snapshot   what it needs is compacted: wait until the snapshot arrived.
 *
 * Invariants: 0 <= match < next; in snapshot state next = pendingSnapshot + 1.
 */

import { invariant } from "#base/invariant.ts";
import type { ProgressState, ProgressStatus } from "../status.ts";
import type { Inflights } from "./inflights.ts";

const STATE_NAMES: Readonly<Record<ProgressState, string>> = {
  probe: "StateProbe",
  replicate: "StateReplicate",
  snapshot: "StateSnapshot",
};

export interface ProgressInit {
  readonly match: number;
  readonly next: number;
  readonly isLearner: boolean;
  readonly recentActive: boolean;
}

export class Progress {
  /** Highest index known to be in the follower's log as in ours. */
  match: number;
  /** Index of the next entry to send. */
  next: number;
  state: ProgressState = "probe";
  /** Index of the snapshot that was sent, in snapshot state; else 0. */
  pendingSnapshot = 0;
  /** Heard from since the last quorum check; always true for the leader itself. */
  recentActive: boolean;
  /** Appends are held back until an answer or a heartbeat answer comes. */
  msgAppFlowPaused = false;
  isLearner: boolean;
  readonly inflights: Inflights;
  /** Highest commit index on its way; may fall when a message is known to be lost. */
  #sentCommit = 0;

  constructor(init: ProgressInit, inflights: Inflights) {
    this.match = init.match;
    this.next = init.next;
    this.isLearner = init.isLearner;
    this.recentActive = init.recentActive;
    this.inflights = inflights;
  }

  /** The same follower in another role; the window is shared because only one of the two lives on. */
  withRole(isLearner: boolean): Progress {
    const { match, next, recentActive } = this;
    const copy = new Progress({ match, next, isLearner, recentActive }, this.inflights);
    copy.state = this.state;
    copy.pendingSnapshot = this.pendingSnapshot;
    copy.msgAppFlowPaused = this.msgAppFlowPaused;
    copy.#sentCommit = this.#sentCommit;
    return copy;
  }

  becomeProbe(): void {
    // After a snapshot the follower's log ends where the snapshot does, unless it told us better.
    const known = this.state === "snapshot" ? this.pendingSnapshot : 0;
    this.#enter("probe");
    this.next = Math.max(this.match, known) + 1;
    this.#sentCommit = Math.min(this.#sentCommit, this.next - 1);
  }

  becomeReplicate(): void {
    this.#enter("replicate");
    this.next = this.match + 1;
  }

  becomeSnapshot(snapshotIndex: number): void {
    this.#enter("snapshot");
    this.pendingSnapshot = snapshotIndex;
    this.next = snapshotIndex + 1;
    this.#sentCommit = snapshotIndex;
  }

  /** `count` entries from `next` on were sent in one append. */
  sentEntries(count: number, bytes: number): void {
    invariant(this.state !== "snapshot", "no appends are sent while a snapshot is pending");
    if (this.state === "replicate") {
      if (count > 0) {
        this.next += count;
        this.inflights.add(this.next - 1, bytes);
      }
      // An append beyond a full window is a probe: the next one waits for a heartbeat answer.
      this.msgAppFlowPaused = this.inflights.isFull();
    } else if (count > 0) {
      this.msgAppFlowPaused = true;
    }
  }

  /** Whether sending commit index `commit` could tell the follower anything new. */
  canBumpCommit(commit: number): boolean {
    return commit > this.#sentCommit && this.#sentCommit < this.next - 1;
  }

  sentCommit(commit: number): void {
    this.#sentCommit = commit;
  }

  /** The follower acknowledged everything up to `index`; false if that is old news. */
  maybeUpdate(index: number): boolean {
    if (index <= this.match) return false;
    this.match = index;
    this.next = Math.max(this.next, index + 1);
    this.msgAppFlowPaused = false;
    return true;
  }

  /**
   * The follower refused the append after `rejected` and hints that its log may match at `hint`.
   * False if the refusal is old: the append it speaks of was acknowledged or overtaken.
   */
  maybeDecrTo(rejected: number, hint: number): boolean {
    if (this.state === "replicate") {
      if (rejected <= this.match) return false;
      this.next = this.match + 1;
    } else if (this.state === "snapshot") {
      // An answer to an append from before the snapshot, which replaces whatever the follower has.
      return false;
    } else {
      // In probe state there is one append at a time, and it starts at next.
      if (this.next - 1 !== rejected) return false;
      this.next = Math.max(Math.min(rejected, hint + 1), this.match + 1);
      this.msgAppFlowPaused = false;
    }
    this.#sentCommit = Math.min(this.#sentCommit, this.next - 1);
    return true;
  }

  isPaused(): boolean {
    return this.state === "snapshot" || this.msgAppFlowPaused;
  }

  toStatus(): ProgressStatus {
    return {
      state: this.state,
      match: this.match,
      next: this.next,
      isLearner: this.isLearner,
      recentActive: this.recentActive,
      paused: this.isPaused(),
      pendingSnapshot: this.pendingSnapshot,
      inflight: this.inflights.count,
      inflightFull: this.inflights.isFull(),
    };
  }

  toString(): string {
    return describeProgress(this.toStatus());
  }

  #enter(state: ProgressState): void {
    this.state = state;
    this.msgAppFlowPaused = false;
    this.pendingSnapshot = 0;
    this.inflights.reset();
  }
}

export function describeProgress(status: ProgressStatus): string {
  let text = `${STATE_NAMES[status.state]} match=${status.match} next=${status.next}`;
  if (status.isLearner) text += " learner";
  if (status.paused) text += " paused";
  if (status.pendingSnapshot > 0) text += ` pendingSnap=${status.pendingSnapshot}`;
  if (!status.recentActive) text += " inactive";
  if (status.inflight > 0) {
    text += ` inflight=${status.inflight}${status.inflightFull ? "[full]" : ""}`;
  }
  return text;
}
