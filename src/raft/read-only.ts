/**
 * Linearizable reads that wait for proof that this node still leads. Reads are numbered in order of
 * arrival; a heartbeat carries the number of the newest one, and a follower that echoes it vouches
 * for all up to there. A quorum's echo confirms: exactly the arithmetic of commitment.
 */

import type { JointConfig } from "./quorum/joint.ts";
import type { Message, NodeId } from "./types.ts";

export interface PendingRead {
  readonly request: Message;
  /** The commit index when the read arrived: what it must see. */
  readonly index: number;
}

export class ReadOnly {
  readonly #acks = new Map<NodeId, number>();
  #unconfirmed: PendingRead[] = [];
  #confirmed = 0;

  /** Reads that wait. */
  get size(): number {
    return this.#unconfirmed.length;
  }

  /** The number of the newest read: a heartbeat that carries it confirms every waiting one. */
  get position(): number {
    return this.#confirmed + this.#unconfirmed.length;
  }

  add(index: number, request: Message): void {
    this.#unconfirmed.push({ request, index });
  }

  /** A member echoed a heartbeat that carried `position`. */
  receiveAck(from: NodeId, position: number): void {
    if (position > this.position) return;
    this.#acks.set(from, Math.max(this.#acks.get(from) ?? 0, position));
  }

  /** Takes out the reads that a quorum has confirmed by now. */
  takeConfirmed(voters: JointConfig): readonly PendingRead[] {
    const position = voters.committedIndex((id) => this.#acks.get(id));
    const count = Math.min(position - this.#confirmed, this.#unconfirmed.length);
    if (count <= 0) return [];
    this.#confirmed += count;
    return this.#unconfirmed.splice(0, count);
  }
}
