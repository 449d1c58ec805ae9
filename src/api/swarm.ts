/** `/swarm`: founding, joining and leaving a swarm, its settings, and the keys of locked managers. */

import { EngineError } from "#base/error.ts";
import type { ClusterInfo } from "#wire/docker/swarm.ts";
import type { Cluster } from "#wire/gen/swarmkit/objects_pb.js";
import { backupRoutes } from "./backup.ts";
import type { ClusterPort, JoinRequest } from "./cluster-port.ts";
import {
  clusterInfoToJson,
  initRequestFromJson,
  joinRequestFromJson,
  swarmSpecFromJson,
  swarmToJson,
} from "./convert/swarm.ts";
import { joinTokenRoutes } from "./join-tokens.ts";
import type { ApiRequest, ApiResponse, Routes } from "./route.ts";
import { readBody, readBool, readVersion } from "./swarm-query.ts";
import { CALL, rpc } from "./swarm-rpc.ts";

export function swarmRoutes(cluster: ClusterPort): Routes {
  return [
    { method: "GET", path: "/swarm", handler: (_, response) => inspect(cluster, response) },
    {
      method: "POST",
      path: "/swarm/init",
      handler: async (request, response) => {
        const init = initRequestFromJson(await readBody(request));
        checkListenAddress(init.listenAddr);
        response.json(200, await cluster.init(init));
      },
    },
    {
      method: "POST",
      path: "/swarm/join",
      handler: async (request, response) => {
        const join = joinRequestFromJson(await readBody(request));
        checkJoin(join);
        await cluster.join(join);
        response.empty(200);
      },
    },
    {
      method: "POST",
      path: "/swarm/leave",
      handler: async (request, response) => {
        await cluster.leave(request.flag("force"));
        response.empty(200);
      },
    },
    {
      method: "POST",
      path: "/swarm/update",
      handler: (request, response) => update(cluster, request, response),
    },
    {
      method: "GET",
      path: "/swarm/unlockkey",
      handler: async (_, response) => {
        response.json(200, { UnlockKey: await cluster.unlockKey() });
      },
    },
    {
      method: "POST",
      path: "/swarm/unlock",
      handler: async (request, response) => {
        await cluster.unlock((await readBody(request)).text("UnlockKey"));
        response.empty(200);
      },
    },
    ...joinTokenRoutes(cluster),
    ...backupRoutes(cluster),
  ];
}

/** The swarm's part of `/info`; undefined on a node that is no manager, or cannot reach one. */
export async function readClusterSummary(
  cluster: ClusterPort,
): Promise<{ nodes: number; managers: number; cluster: ClusterInfo } | undefined> {
  if (!cluster.info().controlAvailable) return undefined;
  try {
    const control = cluster.control();
    const [{ clusters }, { nodes }] = await Promise.all([
      control.listClusters({}, CALL),
      control.listNodes({}, CALL),
    ]);
    const [found] = clusters;
    if (found === undefined) return undefined;
    const managers = nodes.filter(({ managerStatus }) => managerStatus !== undefined).length;
    return { nodes: nodes.length, managers, cluster: clusterInfoToJson(found) };
  } catch {
    // `/info` must answer without a leader too; the other calls tell what is wrong.
    return undefined;
  }
}

async function inspect(cluster: ClusterPort, response: ApiResponse): Promise<void> {
  response.json(200, swarmToJson(await theCluster(cluster)));
}

async function update(
  cluster: ClusterPort,
  request: ApiRequest,
  response: ApiResponse,
): Promise<void> {
  const clusterVersion = readVersion(request, "swarm");
  const rotation = {
    workerJoinToken: readBool(request, "rotateWorkerToken"),
    managerJoinToken: readBool(request, "rotateManagerToken"),
    managerUnlockKey: request.atLeast(25) && readBool(request, "rotateManagerUnlockKey"),
  };
  const spec = swarmSpecFromJson(await readBody(request));
  const { id: clusterId } = await theCluster(cluster);
  const change = { clusterId, clusterVersion, spec, rotation };
  await rpc(cluster.control().updateCluster(change, CALL));
  response.empty(200);
}

async function theCluster(cluster: ClusterPort): Promise<Cluster> {
  const control = cluster.control();
  const { clusters } = await rpc(control.listClusters({}, CALL));
  const [found] = clusters;
  if (found === undefined) throw new EngineError("not-found", "This node is not part of a swarm");
  return found;
}

function checkListenAddress(address: string): void {
  if (address === "") throw invalid('invalid ListenAddr "": invalid empty address');
}

function checkJoin(request: JoinRequest): void {
  checkListenAddress(request.listenAddr);
  if (request.remoteAddrs.length === 0) {
    throw invalid("at least 1 RemoteAddr is required to join");
  }
  if (request.remoteAddrs.includes("")) {
    throw invalid('invalid remoteAddr "": invalid empty address');
  }
}

function invalid(message: string): EngineError {
  return new EngineError("invalid-argument", message);
}
