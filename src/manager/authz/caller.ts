/**
 * Who is behind a call. A manager that forwards a call to the leader says in the metadata for whom
 * it asks; that is believed of managers of this cluster only. Names of the fields are SwarmKit's,
 * so that managers of both kinds can serve one cluster.
 */

import { EngineError, isErrorCode, messageOf } from "#base/error.ts";
import { MANAGER_OU } from "#pki/profile.ts";
import type { PeerIdentity, RpcContext } from "#platform/grpc/server.ts";
import { NodeRole } from "#wire/gen/swarmkit/types_pb.js";

const FORWARDED = "forwarded_cert";
const FORWARDED_CN = "forwarded_cert_cn";
const FORWARDED_OU = "forwarded_cert_ou";
const FORWARDED_ORG = "forwarded_cert_org";
const REMOTE_ADDRESS = "remote_addr";
const REDIRECT = "redirect";

/** What the caller is checked against; `removed` is asked per call. */
export interface ClusterIdentity {
  /** Empty until the node knows its cluster; then only `anyone` rules let a call in. */
  readonly clusterId: string;
  /** True for nodes whose certificate was revoked by their removal. */
  removed(nodeId: string): boolean;
  /**
   * The role that the store gives the node; undefined for those that it does not know. A demoted
   * manager keeps a certificate that says otherwise until it has the next one, and one of before a
   * restore, or whose ban was forgotten while an older certificate lives, is no node any more.
   */
  role(nodeId: string): NodeRole | undefined;
}

/**
 * The call as its origin made it: `peer` and `peerAddress` are those of the forwarded caller where
 * a manager forwarded it. Throws `permission-denied` when somebody else claims to forward.
 */
export function originOf(context: RpcContext, cluster: ClusterIdentity): RpcContext {
  if (context.local || context.metadata[FORWARDED] !== "true") return context;
  try {
    assertMember(context.peer, [MANAGER_OU], cluster);
  } catch (error) {
    const reason = EngineError.from(error).message;
    throw denied(`unauthorized forwarder role: ${reason}`);
  }
  const peer = {
    nodeId: context.metadata[FORWARDED_CN] ?? "",
    role: context.metadata[FORWARDED_OU] ?? "",
    clusterId: context.metadata[FORWARDED_ORG] ?? "",
  };
  return {
    ...context,
    peer: peer.nodeId === "" ? undefined : peer,
    peerAddress: context.metadata[REMOTE_ADDRESS] ?? context.peerAddress,
  };
}

/** True when a manager sent this call on; it is not sent on again. */
export function wasRedirected(context: RpcContext): boolean {
  return context.metadata[REDIRECT] !== undefined;
}

/** The metadata that makes the leader see the call as `context` shows it. */
export function forwardedMetadata(
  context: RpcContext,
  self: PeerIdentity,
  selfAddress: string,
): Readonly<Record<string, string>> {
  // A call over the local socket is this manager's own. For a stranger the fields are blank, but
  // present: without them the call would look as if this manager had made it.
  const peer = context.local ? self : context.peer;
  return {
    [FORWARDED]: "true",
    [FORWARDED_CN]: peer?.nodeId ?? "",
    [FORWARDED_OU]: peer?.role ?? "",
    [FORWARDED_ORG]: peer?.clusterId ?? "",
    [REMOTE_ADDRESS]: context.local ? selfAddress : context.peerAddress,
    [REDIRECT]: selfAddress,
  };
}

/** Throws `permission-denied` unless the peer is a node of the cluster in one of the roles. */
export function assertMember(
  peer: PeerIdentity | undefined,
  roles: readonly string[],
  cluster: ClusterIdentity,
): asserts peer is PeerIdentity {
  if (peer === undefined || peer.nodeId === "") {
    throw denied("unauthorized peer role: no client certificates in request");
  }
  if (!roles.includes(peer.role)) {
    throw denied(`remote certificate not part of OUs: [${roles.join(" ")}]`);
  }
  if (cluster.removed(peer.nodeId)) throw denied(`node ${peer.nodeId} was removed from swarm`);
  if (cluster.clusterId === "" || peer.clusterId !== cluster.clusterId) {
    throw denied(`remote certificate not part of organization: ${cluster.clusterId}`);
  }
}

/** Throws `permission-denied` for a certificate of a node that the store does not know. */
export function assertKnown(peer: PeerIdentity, cluster: ClusterIdentity): void {
  if (cluster.role(peer.nodeId) === undefined) {
    throw denied(`node ${peer.nodeId} is not part of this swarm`);
  }
}

/** The same, and for a node that was a manager only when its certificate was made. */
export function assertStillManager(peer: PeerIdentity, cluster: ClusterIdentity): void {
  assertKnown(peer, cluster);
  if (cluster.role(peer.nodeId) !== NodeRole.MANAGER) {
    throw denied(formerManager(peer.nodeId));
  }
}

function formerManager(nodeId: string): string {
  return `node ${nodeId} is no longer a manager`;
}

/** Whether the leader refused the manager that sent a call on, and not whoever had asked that one. */
export function refusedAsManager(error: unknown, nodeId: string): boolean {
  return (
    isErrorCode(error, "permission-denied") &&
    messageOf(error) === `Permission denied: ${formerManager(nodeId)}`
  );
}

/**
 * The node behind a call that only nodes may make: of its certificate, or this manager's own agent,
 * which comes by the local socket.
 */
export function callingNode(context: RpcContext, selfId: string): string {
  if (context.peer !== undefined) return context.peer.nodeId;
  if (context.local) return selfId;
  throw new EngineError("unauthenticated", "no client certificate in the request");
}

function denied(reason: string): EngineError {
  return new EngineError("permission-denied", `Permission denied: ${reason}`);
}
