/** `/tasks`: what runs, ran or is to run, and its logs. */

import type { ClusterPort } from "./cluster-port.ts";
import { taskStateOf, taskToJson } from "./convert/tasks.ts";
import type { ApiRequest, ApiResponse, Routes } from "./route.ts";
import { streamTaskLogs } from "./service-logs.ts";
import { findNode, findService, findTask } from "./swarm-lookup.ts";
import { enumsOf, labelsOf, readFilters, valuesOf } from "./swarm-query.ts";
import { CALL, rpc } from "./swarm-rpc.ts";

const FILTERS = [
  "name",
  "id",
  "label",
  "service",
  "node",
  "desired-state",
  "runtime",
  // How docker's own clients wait for a service to converge.
  "_up-to-date",
];
/** Containers on attachable networks are tasks too, which nobody wants to see among the others. */
const DEFAULT_RUNTIMES = ["container", "plugin"];

export function taskRoutes(cluster: ClusterPort): Routes {
  return [
    {
      method: "GET",
      path: "/tasks",
      handler: (request, response) => list(cluster, request, response),
    },
    {
      method: "GET",
      path: "/tasks/{id}",
      handler: async (request, response) => {
        const task = await findTask(cluster.control(), request.params.id ?? "");
        response.json(200, taskToJson(task));
      },
    },
    {
      method: "GET",
      path: "/tasks/{id}/logs",
      handler: (request, response) => streamTaskLogs(cluster, request, response),
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
  const services = valuesOf(given, "service").map((input) => findService(control, input));
  const nodes = valuesOf(given, "node").map((input) => findNode(cluster, input));
  const runtimes = valuesOf(given, "runtime");
  const filters = {
    namePrefixes: valuesOf(given, "name"),
    idPrefixes: valuesOf(given, "id"),
    labels: labelsOf(given, "label"),
    serviceIds: (await Promise.all(services)).map(({ id }) => id),
    nodeIds: (await Promise.all(nodes)).map(({ id }) => id),
    runtimes: runtimes.length === 0 ? DEFAULT_RUNTIMES : runtimes,
    desiredStates: enumsOf(given, "desired-state", taskStateOf),
    upToDate: valuesOf(given, "_up-to-date").length > 0,
  };
  const { tasks } = await rpc(control.listTasks({ filters }, CALL));
  response.json(200, tasks.map(taskToJson));
}
