/** The Control service of `docker.swarmkit.v1` as handlers for the RPC server. */

import type { RpcHandlers } from "#platform/grpc/server.ts";
import { Deploy } from "#wire/gen/skep/deploy_pb.js";
import { JoinTokens } from "#wire/gen/skep/identity_pb.js";
import { Control } from "#wire/gen/swarmkit/control_pb.js";
import type { ManagerPart } from "../manager-ports.ts";
import { getCluster, listClusters, updateCluster } from "./clusters.ts";
import { createConfig, getConfig, listConfigs, removeConfig, updateConfig } from "./configs.ts";
import type { ControlContext } from "./context.ts";
import { deployHandlers } from "./deploy.ts";
import { joinTokenHandlers } from "./join-tokens.ts";
import { createNetwork, getNetwork, listNetworks, removeNetwork } from "./networks.ts";
import { getNode, listNodes, removeNode, updateNode } from "./nodes.ts";
import { unimplemented } from "./refusal.ts";
import { createSecret, getSecret, listSecrets, removeSecret, updateSecret } from "./secrets.ts";
import { listServiceStatuses } from "./service-statuses.ts";
import {
  createService,
  getService,
  listServices,
  removeService,
  updateService,
} from "./services.ts";
import { getTask, listTasks, removeTask } from "./tasks.ts";

type Handlers = RpcHandlers<typeof Control>;

/** The service as a part of a manager. */
export function controlPart(context: ControlContext): ManagerPart {
  return {
    name: "control",
    register: (services) => {
      services.add(Control, controlHandlers(context));
      services.add(Deploy, deployHandlers(context));
      services.add(JoinTokens, joinTokenHandlers(context));
    },
  };
}

export function controlHandlers(context: ControlContext): Handlers {
  const bind =
    <Request, Response>(handler: (context: ControlContext, request: Request) => Response) =>
    (request: Request) =>
      handler(context, request);
  return {
    getCluster: bind(getCluster),
    listClusters: bind(listClusters),
    updateCluster: bind(updateCluster),
    getNode: bind(getNode),
    listNodes: bind(listNodes),
    updateNode: bind(updateNode),
    removeNode: bind(removeNode),
    createService: bind(createService),
    getService: bind(getService),
    listServiceStatuses: bind(listServiceStatuses),
    listServices: bind(listServices),
    updateService: bind(updateService),
    removeService: bind(removeService),
    getTask: bind(getTask),
    listTasks: bind(listTasks),
    removeTask: bind(removeTask),
    createNetwork: bind(createNetwork),
    getNetwork: bind(getNetwork),
    listNetworks: bind(listNetworks),
    removeNetwork: bind(removeNetwork),
    createSecret: bind(createSecret),
    getSecret: bind(getSecret),
    listSecrets: bind(listSecrets),
    updateSecret: bind(updateSecret),
    removeSecret: bind(removeSecret),
    createConfig: bind(createConfig),
    getConfig: bind(getConfig),
    listConfigs: bind(listConfigs),
    updateConfig: bind(updateConfig),
    removeConfig: bind(removeConfig),
    ...NOT_SERVED,
  };
}

function refuse(what: string): () => never {
  return () => {
    throw unimplemented(`${what} are not supported by this manager`);
  };
}

const volumes = refuse("cluster volumes");
const extensions = refuse("extensions");
const resources = refuse("extension resources");

/** Kinds that docker's API does not show (extensions, resources) or needs CSI for (volumes). */
const NOT_SERVED = {
  createVolume: volumes,
  getVolume: volumes,
  listVolumes: () => ({ volumes: [] }),
  updateVolume: volumes,
  removeVolume: volumes,
  createExtension: extensions,
  getExtension: extensions,
  removeExtension: extensions,
  createResource: resources,
  getResource: resources,
  listResources: () => ({ resources: [] }),
  updateResource: resources,
  removeResource: resources,
} satisfies Partial<Handlers>;
