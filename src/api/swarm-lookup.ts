/**
 * Finds swarm objects by what users call them: the full id, else the exact name, else a prefix of
 * the id that only one has.
 */

import { EngineError } from "#base/error.ts";
import type {
  Config,
  Network,
  Node,
  Secret,
  Service,
  Task,
} from "#wire/gen/swarmkit/objects_pb.js";
import type { ClusterPort } from "./cluster-port.ts";
import { CALL, rpc, rpcOrNone } from "./swarm-rpc.ts";

export type ControlClient = ReturnType<ClusterPort["control"]>;

/** One of the two filters is set. */
type Wanted = { readonly names: string[] } | { readonly idPrefixes: string[] };

interface Lookup<T> {
  readonly noun: string;
  byId(id: string): Promise<T | undefined>;
  list(filters: Wanted): Promise<readonly T[]>;
}

async function resolve<T>(input: string, lookup: Lookup<T>): Promise<T> {
  const exact = await lookup.byId(input);
  if (exact !== undefined) return exact;
  let found = await lookup.list({ names: [input] });
  if (found.length === 0) found = await lookup.list({ idPrefixes: [input] });
  const [first] = found;
  if (first === undefined) {
    throw new EngineError("not-found", `${lookup.noun} ${input} not found`);
  }
  if (found.length > 1) {
    const count = found.length;
    throw new EngineError(
      "invalid-argument",
      `${lookup.noun} ${input} is ambiguous (${count} matches found)`,
    );
  }
  return first;
}

/** `self` is the node that is asked. */
export function findNode(cluster: ClusterPort, input: string): Promise<Node> {
  const control = cluster.control();
  return resolve(input === "self" ? cluster.localNodeId() : input, {
    noun: "node",
    byId: async (nodeId) => (await rpcOrNone(control.getNode({ nodeId }, CALL)))?.node,
    list: async (filters) => (await rpc(control.listNodes({ filters }, CALL))).nodes,
  });
}

export function findService(control: ControlClient, input: string): Promise<Service> {
  return resolve(input, {
    noun: "service",
    byId: async (serviceId) => (await rpcOrNone(control.getService({ serviceId }, CALL)))?.service,
    list: async (filters) => (await rpc(control.listServices({ filters }, CALL))).services,
  });
}

export function findTask(control: ControlClient, input: string): Promise<Task> {
  return resolve(input, {
    noun: "task",
    byId: async (taskId) => (await rpcOrNone(control.getTask({ taskId }, CALL)))?.task,
    list: async (filters) => (await rpc(control.listTasks({ filters }, CALL))).tasks,
  });
}

export function findNetwork(control: ControlClient, input: string): Promise<Network> {
  return resolve(input, {
    noun: "network",
    byId: async (networkId) => (await rpcOrNone(control.getNetwork({ networkId }, CALL)))?.network,
    list: async (filters) => (await rpc(control.listNetworks({ filters }, CALL))).networks,
  });
}

export function findSecret(control: ControlClient, input: string): Promise<Secret> {
  return resolve(input, {
    noun: "secret",
    byId: async (secretId) => (await rpcOrNone(control.getSecret({ secretId }, CALL)))?.secret,
    list: async (filters) => (await rpc(control.listSecrets({ filters }, CALL))).secrets,
  });
}

export function findConfig(control: ControlClient, input: string): Promise<Config> {
  return resolve(input, {
    noun: "config",
    byId: async (configId) => (await rpcOrNone(control.getConfig({ configId }, CALL)))?.config,
    list: async (filters) => (await rpc(control.listConfigs({ filters }, CALL))).configs,
  });
}
