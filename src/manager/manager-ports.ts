/** What a manager stands on and what it is made of, as far as it does not bring it itself. */

import type { RpcChannel } from "#platform/grpc/client.ts";
import type { PeerIdentity, RpcServer, TlsMaterial } from "#platform/grpc/server.ts";
import type { RaftMemberStatus_Reachability } from "#wire/gen/swarmkit/types_pb.js";
import type { ClusterState } from "./state.ts";

/** Where services are registered; the manager decides which of them are forwarded. */
export type Registrar = Pick<RpcServer, "add">;

/** A member of the raft group, as this manager sees it. */
export interface Member {
  readonly raftId: bigint;
  readonly nodeId: string;
  /** "host:port" of its manager port. */
  readonly addr: string;
  readonly leader: boolean;
  /** False while a new member still catches up: it does not count in a majority. */
  readonly voter: boolean;
  readonly reachability: RaftMemberStatus_Reachability;
}

/** The membership of the raft group. Changes go through the leader: elsewhere `unavailable`. */
export interface Membership {
  list(): readonly Member[];
  /** Whether this member counts in a majority; not yet while it catches up, whatever it was before. */
  hasVote(): boolean;
  /** Whether enough of the others answer to go on without this member. */
  canRemove(nodeId: string): boolean;
  /** Resolves when the removal is committed; fine when it is gone already. */
  remove(nodeId: string): Promise<void>;
  /** Hands leadership to another member; rejects when none can take it. */
  transferLeadership(): Promise<void>;
  /** Calls back after changes; returns how to stop that. */
  onChange(listener: () => void): () => void;
}

/** This node's credentials; they change while the manager runs. */
export interface ManagerIdentity {
  readonly nodeId: string;
  readonly clusterId: string;
  readonly peer: PeerIdentity;
  /** PEM of the root that this node trusts. */
  readonly rootCert: string;
  tls(): TlsMaterial;
  onChange(listener: () => void): () => void;
}

/** A service or a loop of the manager. */
export interface ManagerPart {
  readonly name: string;
  register?(services: Registrar): void;
  /** Runs while this manager leads; a rejection ends the whole reign. */
  lead?(signal: AbortSignal): Promise<void>;
  close?(): Promise<void>;
}

/** What parts are given to build on. */
export interface PartContext {
  readonly state: ClusterState;
  readonly membership: Membership;
  readonly identity: ManagerIdentity;
  readonly channelTo: (address: string) => RpcChannel;
}
