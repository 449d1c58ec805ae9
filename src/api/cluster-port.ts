/**
 * What the Engine API knows of the swarm: this node's own part in it, and clients for the cluster's
 * services. `daemon/swarm-node/` implements it; tests of the API stand in a small object.
 *
 * The methods that change this node (`init`, `join`, `leave`, `unlock`) and the ones that hand out a
 * client reject or throw EngineErrors whose message is docker's own, ready for the HTTP body. The
 * calls made with a client reject with the EngineError of the RPC instead: its message has no
 * "rpc error: code = … desc = " in front, which is the API's to add where docker shows it.
 */

import type { RpcClient } from "#platform/grpc/client.ts";
import type { Deploy } from "#wire/gen/skep/deploy_pb.js";
import type { JoinTokens } from "#wire/gen/skep/identity_pb.js";
import type { Control } from "#wire/gen/swarmkit/control_pb.js";
import type { Logs } from "#wire/gen/swarmkit/logbroker_pb.js";
import type { ResourceAllocator } from "#wire/gen/swarmkit/resource_pb.js";
import type { ClusterSpec, NodeSpec_Availability } from "#wire/gen/swarmkit/specs_pb.js";
import type { Watch } from "#wire/gen/swarmkit/watch_pb.js";

export type LocalNodeState = "inactive" | "pending" | "active" | "error" | "locked";

export interface RemoteManager {
  readonly nodeId: string;
  /** "host:port" of the manager's control port. */
  readonly addr: string;
}

/** The node's own part of `GET /info`'s `Swarm`; nothing in it needs a manager to answer. */
export interface LocalSwarmInfo {
  readonly state: LocalNodeState;
  /** Empty while the node has no certificate. */
  readonly nodeId: string;
  /** The IP address that other nodes reach this one at; empty when not in a swarm. */
  readonly nodeAddr: string;
  /** True when this node is a manager whose control API answers. */
  readonly controlAvailable: boolean;
  /** Why the node is in state "error", or what last went wrong while it is "pending". */
  readonly error: string;
  readonly remoteManagers: readonly RemoteManager[];
  /** What an operator should look at, though the node goes on. */
  readonly warnings?: readonly string[];
}

export interface InitRequest {
  /** `<ip|interface>[:port]`; empty means 0.0.0.0:2377. */
  readonly listenAddr: string;
  /** `<ip|interface>[:port]`; empty means: the one address this system has. */
  readonly advertiseAddr: string;
  readonly dataPathAddr: string;
  /** 0 means 4789. */
  readonly dataPathPort: number;
  /** CIDRs; empty means 10.0.0.0/8. */
  readonly defaultAddrPool: readonly string[];
  /** Mask length of the networks cut out of the pool; 0 means 24. */
  readonly subnetSize: number;
  readonly forceNewCluster: boolean;
  /** Fields that are absent keep the swarm's defaults. */
  readonly spec: ClusterSpec;
  readonly autoLockManagers: boolean;
  readonly availability: NodeSpec_Availability;
}

export interface JoinRequest {
  readonly listenAddr: string;
  readonly advertiseAddr: string;
  readonly dataPathAddr: string;
  /** Managers to ask, `host[:port]`; at least one. */
  readonly remoteAddrs: readonly string[];
  readonly joinToken: string;
  readonly availability: NodeSpec_Availability;
}

/** As `InitRequest`, for a swarm that was. */
export interface RestoreRequest
  extends Pick<InitRequest, "listenAddr" | "advertiseAddr" | "dataPathAddr" | "availability"> {
  readonly backup: Uint8Array;
  /** "SWMBACKUP-1-…". */
  readonly key: string;
}

export interface ClusterPort {
  info(): LocalSwarmInfo;
  /** This node's id; empty when it is not in a swarm. */
  localNodeId(): string;
  /** Makes this node the first manager of a new swarm; resolves to its node id. */
  init(request: InitRequest): Promise<string>;
  /** Resolves once the node is active; after 20 s rejects, and goes on trying in the background. */
  join(request: JoinRequest): Promise<void>;
  leave(force: boolean): Promise<void>;
  /** The whole swarm at this moment in one file, sealed with the key ("SWMBACKUP-1-…"). */
  backup(key: string): Promise<Uint8Array>;
  /**
   * Tells this node of an address at which a manager of its swarm is ("host[:port]"); that it is one
   * is proven when it is asked.
   */
  reconnect(address: string): void;
  /** Makes this node the one manager of the swarm in a backup; resolves to its node id. */
  restore(request: RestoreRequest): Promise<string>;
  /** `unauthenticated` for a wrong key, `conflict` when the swarm is not locked. */
  unlock(key: string): Promise<void>;
  /** "SWMKEY-1-…", or "" when managers do not lock. */
  unlockKey(): Promise<string>;
  /** The cluster's Control service, served by the leader. Throws when this node is no manager. */
  control(): RpcClient<typeof Control>;
  /** Rollouts and explanations, served by the leader. Throws when this node is no manager. */
  deploy(): RpcClient<typeof Deploy>;
  /** Join tokens with bounds. Throws when this node is no manager. */
  joinTokens(): RpcClient<typeof JoinTokens>;
  /** Reads service and task logs. Throws when this node is no manager. */
  logs(): RpcClient<typeof Logs>;
  /** Follows the store of this manager. Throws when this node is no manager. */
  watch(): RpcClient<typeof Watch>;
  /** Attaches containers of this node to swarm networks; for any node that is in a swarm. */
  resources(): RpcClient<typeof ResourceAllocator>;
  /** Calls back after each change of `info()`; returns how to stop that. */
  onChange(listener: () => void): () => void;
}
