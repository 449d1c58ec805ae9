/**
 * Linearizable reads that wait for proof that this node still leads. Reads are numbered in order of
 * arrival; a heartbeat carries the number of the newest one, and a follower that echoes it vouches
 * for all up to there. A quorum's echo confirms: exactly the arithmetic of commitment.
 */

import { EMPTY_BYTES } from "./message.ts";
import type { JointConfig } from "./quorum/joint.ts";
import type { Message, NodeId } from "./types.ts";

export interface PendingRead {
  readonly request: Message;
  /** The commit index when the read arrived: what it must see. */
  readonly index: number;
}

const CONTEXT_BYTES = 8;

export class ReadOnly {
  readonly #acks = new Map<NodeId, number>();
  #unconfirmed: PendingRead[] = [];
  #confirmed = 0;

  add(index: number, request: Message): void {
    this.#unconfirmed.push({ request, index });
  }

  /** What heartbeats must carry to confirm every waiting read; empty when none waits. */
  heartbeatContext(): Uint8Array {
    if (this.#unconfirmed.length === 0) return EMPTY_BYTES;
    const context = new Uint8Array(CONTEXT_BYTES);
    const newest = BigInt(this.#confirmed + this.#unconfirmed.length);
    new DataView(context.buffer).setBigUint64(0, newest, true);
    return context;
  }

  /** A member echoed a heartbeat's context. */
  receiveAck(from: NodeId, context: Uint8Array): void {
    if (context.length !== CONTEXT_BYTES) return;
    const view = new DataView(context.buffer, context.byteOffset, CONTEXT_BYTES);
    const position = Number(view.getBigUint64(0, true));
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
