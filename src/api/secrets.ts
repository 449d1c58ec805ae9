/** `/secrets`. Values go in; none comes out. */

import { EngineError } from "#base/error.ts";
import type { ClusterPort } from "./cluster-port.ts";
import { secretSpecFromJson, secretToJson } from "./convert/payloads.ts";
import type { JsonObject } from "./convert/read-json.ts";
import type { ApiRequest, ApiResponse, Routes } from "./route.ts";
import { findSecret } from "./swarm-lookup.ts";
import { labelsOf, readBody, readFilters, readVersion, valuesOf } from "./swarm-query.ts";
import { CALL, present, rpc } from "./swarm-rpc.ts";

const FILTERS = ["names", "name", "id", "label"];

export function secretRoutes(cluster: ClusterPort): Routes {
  return [
    {
      method: "GET",
      path: "/secrets",
      handler: (request, response) => list(cluster, request, response),
    },
    {
      method: "POST",
      path: "/secrets/create",
      handler: async (request, response) => {
        const control = cluster.control();
        const body = await readBody(request);
        refuseEarlyTemplating(request, body, "secret");
        const spec = secretSpecFromJson(body);
        const { secret } = await rpc(control.createSecret({ spec }, CALL));
        response.json(201, { ID: present(secret, "secret").id });
      },
    },
    {
      method: "GET",
      path: "/secrets/{id}",
      handler: async (request, response) => {
        const secret = await findSecret(cluster.control(), request.params.id ?? "");
        response.json(200, secretToJson(secret));
      },
    },
    {
      method: "DELETE",
      path: "/secrets/{id}",
      handler: async (request, response) => {
        const control = cluster.control();
        const { id: secretId } = await findSecret(control, request.params.id ?? "");
        await rpc(control.removeSecret({ secretId }, CALL));
        response.empty(204);
      },
    },
    {
      method: "POST",
      path: "/secrets/{id}/update",
      handler: async (request, response) => {
        const control = cluster.control();
        const secretVersion = readVersion(request, "secret");
        const spec = secretSpecFromJson(await readBody(request));
        const { id: secretId } = await findSecret(control, request.params.id ?? "");
        await rpc(control.updateSecret({ secretId, secretVersion, spec }, CALL));
        response.empty(200);
      },
    },
  ];
}

/** Before 1.37 templates were unknown: a client that sends one would get it unexpanded. */
export function refuseEarlyTemplating(
  request: ApiRequest,
  body: JsonObject,
  noun: "secret" | "config",
): void {
  if (request.atLeast(37) || !body.has("Templating")) return;
  const { major, minor } = request.version;
  throw new EngineError(
    "invalid-argument",
    `${noun} templating is not supported on the specified API version: ${major}.${minor}`,
  );
}

async function list(
  cluster: ClusterPort,
  request: ApiRequest,
  response: ApiResponse,
): Promise<void> {
  const control = cluster.control();
  const given = readFilters(request, FILTERS);
  const filters = {
    names: valuesOf(given, "names"),
    namePrefixes: valuesOf(given, "name"),
    idPrefixes: valuesOf(given, "id"),
    labels: labelsOf(given, "label"),
  };
  const { secrets } = await rpc(control.listSecrets({ filters }, CALL));
  response.json(200, secrets.map(secretToJson));
}
