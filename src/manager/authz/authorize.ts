/** The check that every call of every service passes before it runs. */

import { EngineError } from "#base/error.ts";
import { MANAGER_OU, WORKER_OU } from "#pki/profile.ts";
import type { Authorize } from "#platform/grpc/server.ts";
import { assertMember, type ClusterIdentity, originOf } from "./caller.ts";
import { type Access, RULES } from "./rules.ts";

const ROLES: Readonly<Record<Exclude<Access, "anyone">, readonly string[]>> = {
  node: [WORKER_OU, MANAGER_OU],
  manager: [MANAGER_OU],
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
    const origin = originOf(context, cluster);
    if (rule.access === "anyone" || context.local) return;
    assertMember(origin.peer, ROLES[rule.access], cluster);
  };
}
