/**
 * The leader's lease: for how long no other leader can have been elected, so that its own commit
 * index answers reads without asking anybody (`readOnlyOption: "leaseBased"`).
 *
 * Every heartbeat carries the leader's tick count, and a follower echoes it. A follower that took a
 * heartbeat in refuses its vote for `electionTick` ticks, whatever becomes of its role or process
 * meanwhile; so the lease runs from the tick at which a quorum's heartbeats were *sent*, and lasts
 * half as long as the promise. That a quorum answered since the last quorum check is not enough: the
 * check comes late by up to one election timeout, and by then others may lead.
 *
 * What it trusts: that no member's clock runs half again as fast as the leader's, and that a driver
 * whose process was held up gives all ticks that it missed before anything else. Where that is not
 * given, use `safe`.
 */

import type { JointConfig } from "./quorum/joint.ts";
import type { NodeId } from "./types.ts";

export class Lease {
  /** Ticks since this node leads, from 1 on. */
  #now = 1;
  /** The newest tick whose heartbeat a member has echoed. */
  readonly #echoes = new Map<NodeId, number>();
  #isGivenUp = false;

  /** What heartbeats carry now. */
  get stamp(): number {
    return this.#now;
  }

  tick(): void {
    this.#now++;
  }

  receiveEcho(from: NodeId, stamp: number): void {
    if (stamp > this.#now) return;
    this.#echoes.set(from, Math.max(this.#echoes.get(from) ?? 0, stamp));
  }

  /** A successor was told to stand at once, in spite of all promises: for good, in this term. */
  giveUp(): void {
    this.#isGivenUp = true;
  }

  holds(voters: JointConfig, self: NodeId, lengthTicks: number): boolean {
    if (this.#isGivenUp) return false;
    const sentAt = voters.committedIndex((id) => (id === self ? this.#now : this.#echoes.get(id)));
    return sentAt > 0 && this.#now - sentAt < lengthTicks;
  }
}
