/** Join tokens with bounds in the API. */

import type { JoinToken } from "#wire/docker/swarm.ts";
import type { NamedJoinToken } from "#wire/gen/swarmkit/types_pb.js";
import { ROLES } from "./nodes.ts";
import { nameOf } from "./refusal.ts";
import { compact, mapOrNone, timeText } from "./write-json.ts";

export function joinTokenToJson(token: NamedJoinToken): JoinToken {
  return compact({
    Name: token.name,
    Token: token.token,
    Role: nameOf(ROLES, token.role, "worker"),
    Labels: token.labels,
    IdentityLabels: mapOrNone(token.identityLabels),
    MaxUses: token.maxUses,
    Uses: token.uses,
    CreatedAt: timeText(token.createdAt),
    ExpiresAt: token.expiresAt && timeText(token.expiresAt),
  });
}
