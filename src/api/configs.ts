/** `/configs`. */

import type { ClusterPort } from "./cluster-port.ts";
import { configSpecFromJson, configToJson } from "./convert/payloads.ts";
import type { ApiRequest, ApiResponse, Routes } from "./route.ts";
import { refuseEarlyTemplating } from "./secrets.ts";
import { findConfig } from "./swarm-lookup.ts";
import { labelsOf, readBody, readFilters, readVersion, valuesOf } from "./swarm-query.ts";
import { CALL, present, rpc } from "./swarm-rpc.ts";

const FILTERS = ["name", "id", "label"];

export function configRoutes(cluster: ClusterPort): Routes {
  return [
    {
      method: "GET",
      path: "/configs",
      handler: (request, response) => list(cluster, request, response),
    },
    {
      method: "POST",
      path: "/configs/create",
      handler: async (request, response) => {
        const control = cluster.control();
        const body = await readBody(request);
        refuseEarlyTemplating(request, body, "config");
        const spec = configSpecFromJson(body);
        const { config } = await rpc(control.createConfig({ spec }, CALL));
        response.json(201, { ID: present(config, "config").id });
      },
    },
    {
      method: "GET",
      path: "/configs/{id}",
      handler: async (request, response) => {
        const config = await findConfig(cluster.control(), request.params.id ?? "");
        response.json(200, configToJson(config));
      },
    },
    {
      method: "DELETE",
      path: "/configs/{id}",
      handler: async (request, response) => {
        const control = cluster.control();
        const { id: configId } = await findConfig(control, request.params.id ?? "");
        await rpc(control.removeConfig({ configId }, CALL));
        response.empty(204);
      },
    },
    {
      method: "POST",
      path: "/configs/{id}/update",
      handler: async (request, response) => {
        const control = cluster.control();
        const configVersion = readVersion(request, "config");
        const spec = configSpecFromJson(await readBody(request));
        const { id: configId } = await findConfig(control, request.params.id ?? "");
        await rpc(control.updateConfig({ configId, configVersion, spec }, CALL));
        response.empty(200);
      },
    },
  ];
}

async function list(
  cluster: ClusterPort,
  request: ApiRequest,
  response: ApiResponse,
): Promise<void> {
  const control = cluster.control();
  const given = readFilters(request, FILTERS);
  const filters = {
    namePrefixes: valuesOf(given, "name"),
    idPrefixes: valuesOf(given, "id"),
    labels: labelsOf(given, "label"),
  };
  const { configs } = await rpc(control.listConfigs({ filters }, CALL));
  response.json(200, configs.map(configToJson));
}
