/**
 * Who is let in, and what happens to a certificate request in the store: state → what the leader
 * does next. A node that joins is PENDING until the cluster's policy, or an operator, accepted it; a
 * node that renews is RENEW and signed at once; ISSUED, FAILED and ROTATE are answers that the node
 * may read (ROTATE: use it, but ask again).
 */

import type { Cluster, Node } from "#wire/gen/swarmkit/objects_pb.js";
import { NodeSpec_Membership } from "#wire/gen/swarmkit/specs_pb.js";
import { IssuanceStatus_State, NodeRole } from "#wire/gen/swarmkit/types_pb.js";
import { equalSecrets } from "./join-token.ts";

export type IssuanceStep = "sign" | "await-acceptance" | "done";

export function nextIssuanceStep(node: Node): IssuanceStep {
  const state = node.certificate?.status?.state ?? IssuanceStatus_State.UNKNOWN;
  if (state === IssuanceStatus_State.RENEW) return "sign";
  if (state !== IssuanceStatus_State.PENDING) return "done";
  return node.spec?.membership === NodeSpec_Membership.ACCEPTED ? "sign" : "await-acceptance";
}

/** True when a node that waits for its certificate need not wait any longer. */
export function isFinal(state: IssuanceStatus_State): boolean {
  return (
    state === IssuanceStatus_State.ISSUED ||
    state === IssuanceStatus_State.FAILED ||
    state === IssuanceStatus_State.ROTATE
  );
}

export interface Admission {
  readonly role: NodeRole;
  readonly membership: NodeSpec_Membership;
}

/**
 * What a stranger with this token becomes; undefined when it is not let in. A token grants its role
 * at once, unless the cluster's acceptance policy has an entry for that role without `autoaccept`:
 * then an operator accepts each node. A worker may come without a token only where the policy has
 * an entry for workers that names no secret.
 */
export function admit(cluster: Cluster, token: string): Admission | undefined {
  const granted = roleOfToken(cluster, token);
  const policies = cluster.spec?.acceptancePolicy?.policies ?? [];
  const open = policies.some((policy) => policy.role === NodeRole.WORKER && !policy.secret);
  const role = granted ?? (token === "" && open ? NodeRole.WORKER : undefined);
  if (role === undefined) return undefined;
  const policy = policies.find((candidate) => candidate.role === role);
  const accepted = policy === undefined || policy.autoaccept;
  return {
    role,
    membership: accepted ? NodeSpec_Membership.ACCEPTED : NodeSpec_Membership.PENDING,
  };
}

/** The role that a token grants; undefined for a token that is not one of the cluster's. */
export function roleOfToken(cluster: Cluster, token: string): NodeRole | undefined {
  const tokens = cluster.rootCa?.joinTokens;
  if (tokens === undefined) return undefined;
  // Both are compared always, so that the time does not tell which kind of token it was.
  const manager = equalSecrets(tokens.manager, token) && tokens.manager !== "";
  const worker = equalSecrets(tokens.worker, token) && tokens.worker !== "";
  if (manager) return NodeRole.MANAGER;
  return worker ? NodeRole.WORKER : undefined;
}
