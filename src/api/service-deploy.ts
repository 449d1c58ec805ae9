/**
 * `/services/{id}/promote`, `/abort` and `/explain`, `/nodes/{id}/explain`: what docker's API has no
 * call for. The first three are about the update that the service is in the middle of.
 */

import type { ExplainServiceResponse, NodeTask } from "#wire/gen/skep/deploy_pb.js";
import type { ClusterPort } from "./cluster-port.ts";
import type { Routes } from "./route.ts";
import { findNode, findService } from "./swarm-lookup.ts";
import { CALL, rpc } from "./swarm-rpc.ts";

export function serviceDeployRoutes(cluster: ClusterPort): Routes {
  return [
    {
      method: "POST",
      path: "/services/{id}/promote",
      handler: async (request, response) => {
        const { id: serviceId } = await findService(cluster.control(), request.params.id ?? "");
        await rpc(cluster.deploy().promoteService({ serviceId }, CALL));
        response.json(200, { Warnings: null });
      },
    },
    {
      method: "POST",
      path: "/services/{id}/abort",
      handler: async (request, response) => {
        const { id: serviceId } = await findService(cluster.control(), request.params.id ?? "");
        await rpc(cluster.deploy().abortService({ serviceId }, CALL));
        response.json(200, { Warnings: null });
      },
    },
    {
      method: "GET",
      path: "/services/{id}/explain",
      handler: async (request, response) => {
        const { id: serviceId } = await findService(cluster.control(), request.params.id ?? "");
        response.json(200, toJson(await rpc(cluster.deploy().explainService({ serviceId }, CALL))));
      },
    },
    {
      method: "GET",
      path: "/nodes/{id}/explain",
      handler: async (request, response) => {
        const { id: nodeId } = await findNode(cluster, request.params.id ?? "");
        const told = await rpc(cluster.deploy().explainNode({ nodeId }, CALL));
        response.json(200, {
          TakesNone: told.takesNone,
          Refused: told.refused.map(nodeTask),
          Waiting: told.waiting.map(nodeTask),
          LeftOut: told.leftOut,
        });
      },
    },
  ];
}

function nodeTask({ taskId, name, state, refusedBy, reasons }: NodeTask) {
  return { TaskID: taskId, Name: name, State: state, RefusedBy: refusedBy, Reasons: reasons };
}

function toJson({ waits, tasks }: ExplainServiceResponse) {
  return {
    Waits: waits,
    Tasks: tasks.map((task) => ({
      TaskID: task.taskId,
      Name: task.name,
      State: task.state,
      DesiredState: task.desiredState,
      Summary: task.summary,
      Error: task.error,
      Nearest: task.nearest,
      Refusals: task.refusals.map(({ filter, nodes, text }) => ({
        Filter: filter,
        Nodes: nodes,
        Text: text,
      })),
      Nodes: task.nodes.map(({ nodeId, hostname, refusedBy, lacks }) => ({
        NodeID: nodeId,
        Hostname: hostname,
        RefusedBy: refusedBy,
        Lacks: lacks,
      })),
    })),
  };
}
