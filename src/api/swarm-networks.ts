/**
 * Networks of the swarm for the `/networks` routes, which show them beside those of this host. On a
 * node that is no manager there are none to list, and none to make.
 */

import { EngineError, isErrorCode } from "#base/error.ts";
import { isPredefined } from "#model/network.ts";
import type {
  NetworkCreateResponse,
  NetworkInspect,
  NetworkServiceInfo,
} from "#wire/docker/networks.ts";
import type { Network, Node, Service, Task } from "#wire/gen/swarmkit/objects_pb.js";
import { PortConfig_PublishMode, TaskState } from "#wire/gen/swarmkit/types_pb.js";
import type { ClusterPort } from "./cluster-port.ts";
import { networkSpecFromJson, networkToJson } from "./convert/networks.ts";
import { readJson } from "./convert/read-json.ts";
import type { ApiVersion } from "./route.ts";
import { findNetwork } from "./swarm-lookup.ts";
import { CALL, present, rpc } from "./swarm-rpc.ts";

const PREDEFINED_NAMES: readonly string[] = ["bridge", "host", "none", "default"];

export interface SwarmNetworks {
  /** All but the swarm's stand-ins for each node's own networks; undefined on a node that is no manager. */
  list(): Promise<readonly NetworkInspect[] | undefined>;
  /** By id, name or id prefix; undefined when there is none, or no manager to ask. */
  inspect(input: string, verbose: boolean): Promise<NetworkInspect | undefined>;
  /** Takes the body of `POST /networks/create`. Throws what `ClusterPort.control` throws. */
  create(body: unknown, version: ApiVersion): Promise<NetworkCreateResponse>;
  /** `not-found` when the swarm has no such network. */
  remove(input: string): Promise<void>;
}

export function swarmNetworks(cluster: ClusterPort): SwarmNetworks {
  return {
    list: async () => {
      if (!cluster.info().controlAvailable) return undefined;
      const { networks } = await rpc(cluster.control().listNetworks({}, CALL));
      return networks.filter((network) => !isPredefined(network)).map(networkToJson);
    },
    inspect: async (input, verbose) => {
      if (!cluster.info().controlAvailable) return undefined;
      const network = await findOrNone(cluster, input);
      if (network === undefined) return undefined;
      const shown = networkToJson(network);
      return verbose ? { ...shown, ...(await attachedTo(cluster, network)) } : shown;
    },
    create: async (body, version) => {
      const control = cluster.control();
      const spec = networkSpecFromJson(readJson(body, version.minor));
      const name = spec.annotations?.name ?? "";
      if (PREDEFINED_NAMES.includes(name)) {
        throw new EngineError(
          "forbidden",
          `${name} is a pre-defined network and cannot be created`,
        );
      }
      const { network } = await rpc(control.createNetwork({ spec }, CALL));
      return { Id: present(network, "network").id, Warning: "" };
    },
    remove: async (input) => {
      const control = cluster.control();
      const { id: networkId } = await findNetwork(control, input);
      await rpc(control.removeNetwork({ networkId }, CALL));
    },
  };
}

async function findOrNone(cluster: ClusterPort, input: string): Promise<Network | undefined> {
  try {
    return await findNetwork(cluster.control(), input);
  } catch (error) {
    if (isErrorCode(error, "not-found")) return undefined;
    throw error;
  }
}

/** The verbose view: which services are on the network, with which tasks, on which nodes. */
async function attachedTo(
  cluster: ClusterPort,
  network: Network,
): Promise<Pick<NetworkInspect, "Services" | "Peers">> {
  const control = cluster.control();
  const [{ services }, { tasks }, { nodes }] = await Promise.all([
    rpc(control.listServices({}, CALL)),
    rpc(control.listTasks({ filters: { desiredStates: [TaskState.RUNNING] } }, CALL)),
    rpc(control.listNodes({}, CALL)),
  ]);
  const nodesById = new Map(nodes.map((node) => [node.id, node]));
  const live = tasks.flatMap((task) => {
    const address = addressOn(task, network.id);
    const running = task.status?.state === TaskState.RUNNING;
    return running && address !== undefined ? [{ task, address }] : [];
  });
  const shown: Record<string, NetworkServiceInfo> = {};
  for (const service of services) {
    const mine = live.filter(({ task }) => task.serviceId === service.id);
    const vip = service.endpoint?.virtualIps.find(({ networkId }) => networkId === network.id);
    if (mine.length === 0 && vip === undefined) continue;
    shown[service.spec?.annotations?.name ?? service.id] = {
      VIP: bare(vip?.addr ?? ""),
      Ports: portsOf(service),
      LocalLBIndex: 0,
      Tasks: mine.map(({ task, address }) => ({
        Name: nameOf(task),
        EndpointID: task.id,
        EndpointIP: address,
        Info: { "Host IP": nodesById.get(task.nodeId)?.status?.addr ?? "" },
      })),
    };
  }
  const serving = new Set(live.map(({ task }) => task.nodeId));
  const peers = nodes.filter(({ id }) => serving.has(id)).map(peerOf);
  return { Services: shown, Peers: peers };
}

function addressOn(task: Task, networkId: string): string | undefined {
  const attachment = task.networks.find(({ network }) => network?.id === networkId);
  return attachment === undefined ? undefined : bare(attachment.addresses[0] ?? "");
}

function portsOf(service: Service): string[] {
  return (service.endpoint?.ports ?? [])
    .filter(({ publishMode }) => publishMode === PortConfig_PublishMode.INGRESS)
    .map(({ targetPort, publishedPort }) => `Target: ${targetPort}, Publish: ${publishedPort}`);
}

function nameOf(task: Task): string {
  const slot = task.slot === 0n ? task.nodeId : String(task.slot);
  return `${task.serviceAnnotations?.name ?? ""}.${slot}.${task.id}`;
}

function peerOf(node: Node) {
  const { hostname = node.id } = node.description ?? {};
  return { Name: `${hostname}-${node.id.slice(0, 12)}`, IP: node.status?.addr ?? "" };
}

/** An address without its prefix length. */
function bare(cidr: string): string {
  return cidr.split("/", 1)[0] ?? "";
}
