/**
 * Who the members are: raft id → node id and address, learnt from the context of membership entries
 * and from snapshots, the same on every member. Raft ids of removed members are remembered for ever,
 * because a removed member that does not know it keeps asking for votes.
 */

import { create } from "@bufbuild/protobuf";
import type { Random } from "#base/ports.ts";
import type { ConfChange, ConfState, NodeId } from "#raft/index.ts";
import { EMPTY_CONF_STATE } from "#raft/index.ts";
import { decodeMessage } from "#wire/decode.ts";
import { encodeMessage } from "#wire/encode.ts";
import { type RaftMember, RaftMemberSchema } from "#wire/gen/swarmkit/raft_pb.js";
import { type ClusterSnapshot, ClusterSnapshotSchema } from "#wire/gen/swarmkit/snapshot_pb.js";

export interface KnownMember {
  readonly raftId: NodeId;
  readonly nodeId: string;
  /** "host:port" of its manager port. */
  readonly addr: string;
}

export class Members {
  #members = new Map<NodeId, KnownMember>();
  #removed = new Set<NodeId>();
  #confState: ConfState = EMPTY_CONF_STATE;
  readonly #listeners = new Set<() => void>();

  /** The membership as of the last applied entry. */
  get confState(): ConfState {
    return this.#confState;
  }

  list(): readonly KnownMember[] {
    return [...this.#members.values()];
  }

  get(raftId: NodeId): KnownMember | undefined {
    return this.#members.get(raftId);
  }

  byNodeId(nodeId: string): KnownMember | undefined {
    return this.list().find((member) => member.nodeId === nodeId);
  }

  isRemoved(raftId: NodeId): boolean {
    return this.#removed.has(raftId);
  }

  isVoter(raftId: NodeId): boolean {
    const { voters, votersOutgoing } = this.#confState;
    return voters.includes(raftId) || votersOutgoing.includes(raftId);
  }

  isLearner(raftId: NodeId): boolean {
    return this.#confState.learners.includes(raftId);
  }

  /** Calls back after changes; returns how to stop that. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Whom to talk to before the log has told it: the answer to a join request. */
  learn(members: readonly KnownMember[]): void {
    for (const member of members) this.#members.set(member.raftId, member);
    this.#changed();
  }

  /** Applies a committed change, whose effect in the core is `confState`. */
  apply(change: ConfChange, confState: ConfState): void {
    this.#confState = confState;
    const named = memberOf(change.context);
    const singles = change.version === 1 ? [change] : change.changes;
    for (const { type, nodeId } of singles) {
      if (type === "removeNode") {
        this.#members.delete(nodeId);
        this.#removed.add(nodeId);
      } else if (named?.raftId === nodeId) {
        this.#members.set(nodeId, named);
      }
    }
    this.#changed();
  }

  /** Replaces everything by what a snapshot holds. */
  restore(snapshot: ClusterSnapshot | undefined, confState: ConfState): void {
    const members = (snapshot?.members ?? []).map(knownMember);
    this.#members = new Map(members.map((member) => [member.raftId, member]));
    this.#removed = new Set((snapshot?.removed ?? []).map(Number));
    this.#confState = confState;
    this.#changed();
  }

  snapshot(): ClusterSnapshot {
    return create(ClusterSnapshotSchema, {
      members: this.list().map(({ raftId, nodeId, addr }) => ({
        raftId: BigInt(raftId),
        nodeId,
        addr,
      })),
      removed: [...this.#removed].map(BigInt),
    });
  }

  /** A raft id that was never used: 52 random bits. */
  freshId(random: Random): NodeId {
    for (;;) {
      const id = freshRaftId(random);
      if (!this.#members.has(id) && !this.#removed.has(id)) return id;
    }
  }

  #changed(): void {
    for (const listener of this.#listeners) listener();
  }
}

export function freshRaftId(random: Random): NodeId {
  for (;;) {
    const bytes = random.bytes(7);
    let id = (bytes[0] ?? 0) & 0x0f;
    for (const byte of bytes.subarray(1)) id = id * 256 + byte;
    if (id !== 0) return id;
  }
}

/** The context of a membership entry. */
export function encodeMember({ raftId, nodeId, addr }: KnownMember): Uint8Array {
  return encodeMessage(
    RaftMemberSchema,
    create(RaftMemberSchema, { raftId: BigInt(raftId), nodeId, addr }),
  );
}

export function knownMember(member: RaftMember): KnownMember {
  return { raftId: Number(member.raftId), nodeId: member.nodeId, addr: member.addr };
}

function memberOf(context: Uint8Array): KnownMember | undefined {
  if (context.length === 0) return undefined;
  try {
    return knownMember(decodeMessage(RaftMemberSchema, context));
  } catch {
    // All members read the same bytes and come to the same answer: an unnamed member.
    return undefined;
  }
}

/** As operators and SwarmKit's logs write it. */
export function hexId(id: NodeId): string {
  return id.toString(16);
}
