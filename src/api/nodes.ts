/** `/nodes`: the machines of the swarm. */

import { NodeSpec_Membership } from "#wire/gen/swarmkit/specs_pb.js";
import type { ClusterPort } from "./cluster-port.ts";
import { MEMBERSHIPS, nodeSpecFromJson, nodeToJson, ROLES } from "./convert/nodes.ts";
import type { ApiRequest, ApiResponse, Routes } from "./route.ts";
import { findNode } from "./swarm-lookup.ts";
import { enumsOf, labelsOf, readBody, readFilters, readVersion, valuesOf } from "./swarm-query.ts";
import { CALL, rpc } from "./swarm-rpc.ts";

const FILTERS = ["name", "id", "label", "role", "membership", "node.label"];

export function nodeRoutes(cluster: ClusterPort): Routes {
  return [
    {
      method: "GET",
      path: "/nodes",
      handler: (request, response) => list(cluster, request, response),
    },
    {
      method: "GET",
      path: "/nodes/{id}",
      handler: async (request, response) => {
        response.json(200, nodeToJson(await findNode(cluster, request.params.id ?? "")));
      },
    },
    {
      method: "DELETE",
      path: "/nodes/{id}",
      handler: async (request, response) => {
        const { id: nodeId } = await findNode(cluster, request.params.id ?? "");
        const force = request.flag("force");
        await rpc(cluster.control().removeNode({ nodeId, force }, CALL));
        response.empty(200);
      },
    },
    {
      method: "POST",
      path: "/nodes/{id}/update",
      handler: (request, response) => update(cluster, request, response),
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
    nodeLabels: labelsOf(given, "node.label"),
    roles: enumsOf(given, "role", (name) => member(ROLES, name)),
    memberships: enumsOf(given, "membership", (name) => member(MEMBERSHIPS, name)),
  };
  const { nodes } = await rpc(control.listNodes({ filters }, CALL));
  response.json(200, nodes.map(nodeToJson));
}

async function update(
  cluster: ClusterPort,
  request: ApiRequest,
  response: ApiResponse,
): Promise<void> {
  const nodeVersion = readVersion(request, "node");
  const body = await readBody(request);
  const node = await findNode(cluster, request.params.id ?? "");
  const spec = nodeSpecFromJson(body, node.spec?.membership ?? NodeSpec_Membership.ACCEPTED);
  await rpc(cluster.control().updateNode({ nodeId: node.id, nodeVersion, spec }, CALL));
  response.empty(200);
}

function member<T>(names: Readonly<Record<string, T>>, name: string): T | undefined {
  const lower = name.toLowerCase();
  return Object.hasOwn(names, lower) ? names[lower] : undefined;
}
