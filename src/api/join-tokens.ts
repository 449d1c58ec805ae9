/** `/swarm/tokens`: join tokens with bounds, beside the two that docker knows. Ours alone. */

import type { ClusterPort } from "./cluster-port.ts";
import { durationOf } from "./convert/common.ts";
import { joinTokenToJson } from "./convert/join-tokens.ts";
import { ROLES } from "./convert/nodes.ts";
import { invalid, named } from "./convert/refusal.ts";
import type { ApiRequest, ApiResponse, Routes } from "./route.ts";
import { readBody } from "./swarm-query.ts";
import { CALL, present, rpc } from "./swarm-rpc.ts";

export function joinTokenRoutes(cluster: ClusterPort): Routes {
  return [
    {
      method: "GET",
      path: "/swarm/tokens",
      handler: async (_, response) => {
        const { tokens } = await rpc(cluster.joinTokens().list({}, CALL));
        response.json(200, tokens.map(joinTokenToJson));
      },
    },
    {
      method: "POST",
      path: "/swarm/tokens/create",
      handler: (request, response) => createToken(cluster, request, response),
    },
    {
      method: "DELETE",
      path: "/swarm/tokens/{name}",
      handler: async (request, response) => {
        await rpc(cluster.joinTokens().remove({ name: request.params.name ?? "" }, CALL));
        response.empty(200);
      },
    },
  ];
}

async function createToken(
  cluster: ClusterPort,
  request: ApiRequest,
  response: ApiResponse,
): Promise<void> {
  const body = await readBody(request);
  const given = body.text("Role");
  if (given === "") throw invalid('invalid Role: ""');
  const role = named(ROLES, given, ROLES.worker, (value) => `invalid Role: ${value}`);
  const lifeNs = body.optionalInt64("ExpiresIn");
  const wanted = {
    name: body.text("Name"),
    role,
    labels: body.map("Labels"),
    identityLabels: body.map("IdentityLabels"),
    maxUses: body.uint32("MaxUses"),
    ...(lifeNs === undefined ? {} : { expiresIn: durationOf(lifeNs) }),
  };
  const { token } = await rpc(cluster.joinTokens().create(wanted, CALL));
  response.json(201, joinTokenToJson(present(token, "join token")));
}
