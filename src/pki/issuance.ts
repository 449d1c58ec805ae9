/**
 * Who is let in, and what happens to a certificate request in the store: state → what the leader
 * does next. A node that joins is PENDING until the cluster's policy, or an operator, accepted it; a
 * node that renews is RENEW and signed at once; ISSUED, FAILED and ROTATE are answers that the node
 * may read (ROTATE: use it, but ask again).
 */

import { err, ok, type Result } from "#base/result.ts";
import { msOfTimestamp } from "#model/time.ts";
import type { Cluster, Node } from "#wire/gen/swarmkit/objects_pb.js";
import { NodeSpec_Membership } from "#wire/gen/swarmkit/specs_pb.js";
import {
  IssuanceStatus_State,
  type NamedJoinToken,
  NodeRole,
} from "#wire/gen/swarmkit/types_pb.js";
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
  /** Labels that the node has from the start. */
  readonly labels: Readonly<Record<string, string>>;
  /** As `labels`, but for the operators of the root alone to give. */
  readonly identityLabels: Readonly<Record<string, string>>;
  /** The token that it came with, where that is counted. */
  readonly named?: NamedJoinToken;
}

/** Docker's sentence for whoever has no token that opens the cluster. */
const NO_TOKEN = "A valid join token is necessary to join this cluster";

/**
 * What a stranger with this token becomes, or why it is not let in. A token grants its role at once,
 * unless the cluster's acceptance policy has an entry for that role without `autoaccept`: then an
 * operator accepts each node. Where that is so for workers, and the entry names no secret, one may
 * also come without a token; it waits in any case.
 */
export function admit(cluster: Cluster, token: string, nowMs: number): Result<Admission> {
  const policies = cluster.spec?.acceptancePolicy?.policies ?? [];
  const named = namedToken(cluster, token);
  const role = named?.role ?? roleOfToken(cluster, token);
  if (role === undefined) {
    const waits = policies.some(
      (policy) => policy.role === NodeRole.WORKER && !policy.secret && !policy.autoaccept,
    );
    if (token !== "" || !waits) return err(NO_TOKEN);
    const membership = NodeSpec_Membership.PENDING;
    return ok({ role: NodeRole.WORKER, membership, labels: {}, identityLabels: {} });
  }
  const refusal = named && spent(named, nowMs);
  if (refusal !== undefined) return err(refusal);
  const policy = policies.find((candidate) => candidate.role === role);
  const accepted = policy === undefined || policy.autoaccept;
  const membership = accepted ? NodeSpec_Membership.ACCEPTED : NodeSpec_Membership.PENDING;
  const { labels = {}, identityLabels = {} } = named ?? {};
  return ok({ role, membership, labels, identityLabels, ...(named && { named }) });
}

/** Why nobody comes in with that token any more; undefined while it is good. */
function spent(token: NamedJoinToken, nowMs: number): string | undefined {
  const endMs = msOfTimestamp(token.expiresAt);
  if (endMs !== undefined && nowMs >= endMs) {
    return `join token ${token.name} expired at ${new Date(endMs).toISOString()}`;
  }
  if (token.maxUses > 0 && token.uses >= token.maxUses) {
    return `join token ${token.name} has been used ${token.uses} times, as often as it may be`;
  }
  return undefined;
}

/** The cluster's tokens after one more use of that one. */
export function withUse(cluster: Cluster, used: NamedJoinToken): NamedJoinToken[] {
  return cluster.namedJoinTokens.map((token) =>
    token.name === used.name ? { ...token, uses: token.uses + 1 } : token,
  );
}

/** The role that one of the cluster's two own tokens grants; undefined for any other. */
function roleOfToken(cluster: Cluster, token: string): NodeRole | undefined {
  const tokens = cluster.rootCa?.joinTokens;
  if (tokens === undefined) return undefined;
  // Both are compared always, so that the time does not tell which kind of token it was.
  const manager = equalSecrets(tokens.manager, token) && tokens.manager !== "";
  const worker = equalSecrets(tokens.worker, token) && tokens.worker !== "";
  if (manager) return NodeRole.MANAGER;
  return worker ? NodeRole.WORKER : undefined;
}

function namedToken(cluster: Cluster, token: string): NamedJoinToken | undefined {
  let found: NamedJoinToken | undefined;
  for (const candidate of cluster.namedJoinTokens) {
    if (equalSecrets(candidate.token, token) && token !== "") found = candidate;
  }
  return found;
}
