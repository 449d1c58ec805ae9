/**
 * Decisions that need two majorities at once: the incoming and the outgoing half of a membership
 * change. Outside of a change the outgoing half is empty and does not count. Immutable.
 */

import type { NodeId } from "../types.ts";
import { type AckedIndex, MajorityConfig, type VoteResult, type Votes } from "./majority.ts";

export class JointConfig {
  readonly incoming: MajorityConfig;
  readonly outgoing: MajorityConfig;
  #union: MajorityConfig | undefined;

  constructor(incoming: MajorityConfig, outgoing: MajorityConfig = MajorityConfig.EMPTY) {
    this.incoming = incoming;
    this.outgoing = outgoing;
  }

  get isJoint(): boolean {
    return this.outgoing.size > 0;
  }

  /** Voters of either half, ascending. */
  get ids(): readonly NodeId[] {
    return this.union().ids;
  }

  has(id: NodeId): boolean {
    return this.incoming.has(id) || this.outgoing.has(id);
  }

  union(): MajorityConfig {
    this.#union ??= this.isJoint
      ? new MajorityConfig([...this.incoming.ids, ...this.outgoing.ids])
      : this.incoming;
    return this.#union;
  }

  committedIndex(acked: AckedIndex): number {
    return Math.min(this.incoming.committedIndex(acked), this.outgoing.committedIndex(acked));
  }

  voteResult(votes: Votes): VoteResult {
    const incoming = this.incoming.voteResult(votes);
    const outgoing = this.outgoing.voteResult(votes);
    if (incoming === outgoing) return incoming;
    return incoming === "lost" || outgoing === "lost" ? "lost" : "pending";
  }

  toString(): string {
    const incoming = this.incoming.toString();
    return this.isJoint ? `${incoming}&&${this.outgoing.toString()}` : incoming;
  }
}
