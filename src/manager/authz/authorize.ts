/** The check that every call of every service passes before it runs. */

import { EngineError } from "#base/error.ts";
import { MANAGER_OU, WORKER_OU } from "#pki/profile.ts";
import type { Authorize, RpcContext } from "#platform/grpc/server.ts";
import {
  assertKnown,
  assertMember,
  assertStillManager,
  type ClusterIdentity,
  originOf,
} from "./caller.ts";
import { type Access, RULES } from "./rules.ts";

const ROLES: Readonly<Record<Exclude<Access, "anyone">, readonly string[]>> = {
  node: [WORKER_OU, MANAGER_OU],
  manager: [MANAGER_OU],
  member: [MANAGER_OU],
};

/**
 * `permission-denied` for methods without a rule and for callers that the rule does not name. The
 * local socket is guarded by its directory's mode and may call whatever has a rule.
 */
export function createAuthorize(cluster: ClusterIdentity): Authorize {
  return (context) => {
    const rule = RULES.get(context.path);
    if (rule === undefined) {
      throw new EngineError("permission-denied", `Permission denied: no rule for ${context.path}`);
    }
    // Nobody forwards what each manager answers itself.
    const origin = rule.answeredBy === "leader" ? originOf(context, cluster) : context;
    if (rule.access === "anyone" || context.local) return;
    assertMember(origin.peer, ROLES[rule.access], cluster);
    // What the leader answers is for the leader to judge: this manager may not have caught up yet.
    if (rule.access === "manager" && rule.answeredBy === "local") {
      assertStillManager(origin.peer, cluster);
    }
  };
}

/**
 * The rest of the check, on the leader, for a call that only it answers: its store says who is a node,
 * and whoever speaks as a manager, for itself or for others, must be one by now.
 */
export function authorizeAtLeader(
  context: RpcContext,
  origin: RpcContext,
  cluster: ClusterIdentity,
): void {
  if (context.local) return;
  if (origin !== context && context.peer !== undefined) assertStillManager(context.peer, cluster);
  const { access } = RULES.get(context.path) ?? {};
  if (origin.peer === undefined) return;
  if (access === "node") assertKnown(origin.peer, cluster);
  if (access === "manager") assertStillManager(origin.peer, cluster);
}
