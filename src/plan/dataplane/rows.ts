/**
 * Objects of the store as rows of the tables (docs/network.md): what each says of a network. Pure
 * functions of one object each, so that a row changes only when its object did.
 */

import { create } from "@bufbuild/protobuf";
import { meshAddressesOf } from "#model/mesh-addresses.ts";
import { isIngress } from "#model/network.ts";
import { protocolName } from "#model/protocol.ts";
import { isCanary, isSetAside } from "#model/rollout.ts";
import { hasLetGo, holdsNode, isTerminal, isWanted, stateOf, taskName } from "#model/task.ts";
import {
  type NetworkTable,
  NetworkTableSchema,
  type Peer,
  PeerSchema,
  type ServiceEntry,
  ServiceEntrySchema,
  type TaskEndpoint,
} from "#wire/gen/skep/dataplane_pb.js";
import type {
  Network,
  NetworkAttachment,
  Node,
  Service,
  Task,
} from "#wire/gen/swarmkit/objects_pb.js";
import { EndpointSpec_ResolutionMode as Mode } from "#wire/gen/swarmkit/specs_pb.js";
import { TaskState } from "#wire/gen/swarmkit/types_pb.js";
import { withoutMask } from "../allocator/address-pool.ts";
import { addressDriverOf, driverOf, VNI_OPTION, vnisIn } from "../allocator/network-table.ts";
import { isIngressPort, networksOf } from "../allocator/service-endpoint.ts";

/** A service with this label, "true": the mesh on a node prefers the tasks of that node. */
export const LOCAL_FIRST_LABEL = "skep.mesh.local-first";
/** "early": tasks find each other under "tasks.NAME" before they are ready, as clusters need it. */
export const DISCOVERY_LABEL = "skep.discovery";
const ENCRYPTED_OPTION = "encrypted";
const SHORT_ID_LENGTH = 12;

/** The table of a network without rows. */
export function headerOf(network: Network): NetworkTable {
  const { spec, driverState } = network;
  const options = driverState?.options ?? spec?.driverConfig?.options ?? {};
  const vnis = vnisIn(options[VNI_OPTION]);
  return create(NetworkTableSchema, {
    networkId: network.id,
    name: spec?.annotations?.name ?? "",
    driver: driverOf(network),
    options,
    subnets: (network.ipam?.configs ?? []).map(({ subnet, gateway }, at) => ({
      subnet,
      gateway,
      vni: vnis[at] ?? 0,
    })),
    internal: spec?.internal ?? false,
    attachable: spec?.attachable ?? false,
    ipamDriver: addressDriverOf(network),
    ingress: isIngress(network),
    encrypted: ENCRYPTED_OPTION in options,
    labels: spec?.annotations?.labels ?? {},
    ...(network.meta?.createdAt === undefined ? {} : { createdAt: network.meta.createdAt }),
  });
}

/**
 * Networks of the swarm that a node serves, with its attachment to each. One without an address (the
 * network had none left) is served all the same: its tasks can be reached, if not from outside.
 */
export function servedBy(node: Node | undefined): ReadonlyMap<string, NetworkAttachment> {
  return byNetwork(node?.attachments ?? []);
}

/**
 * A task's attachments while it can be reached; networks that are the node's own give no address. One
 * that a manager has rejected runs until its node has heard of it.
 */
export function reachableBy(task: Task | undefined): ReadonlyMap<string, NetworkAttachment> {
  if (task === undefined || task.nodeId === "") return new Map();
  if (!holdsNode(task) && !isRejectedUnheard(task)) return new Map();
  return byNetwork(task.networks.filter(({ addresses }) => addresses.length > 0));
}

function byNetwork(attachments: readonly NetworkAttachment[]) {
  const found = new Map<string, NetworkAttachment>();
  for (const attachment of attachments) {
    const id = attachment.network?.id;
    if (id !== undefined) found.set(id, attachment);
  }
  return found;
}

export function peerOf(node: Node, { addresses, network }: NetworkAttachment): Peer {
  const { description, status } = node;
  const told = description?.dataPathAddr ?? "";
  // An engine that does not say is reached where it came from.
  const dataPathAddr = told === "" ? (status?.addr ?? "") : told;
  const outside = [dataPathAddr, ...(description?.addresses ?? [])];
  return create(PeerSchema, {
    nodeId: node.id,
    dataPathAddr,
    hostAddresses: isIngress(network) ? [...new Set(outside)] : [],
    addresses: addresses.map(withoutMask),
    publicKey: description?.wireguardPublicKey ?? new Uint8Array(),
    wireguardPort: description?.wireguardPort ?? 0,
  });
}

/** Whether the task could take part in the balance. */
export function isReady(task: Task): boolean {
  return stateOf(task) === TaskState.RUNNING && !isToEnd(task);
}

/** Whether the task shall have no traffic any more, by the word of a manager or of its node. */
export function isToEnd(task: Task): boolean {
  return !isWanted(task) || task.status?.withdrawn === true || isRejectedUnheard(task);
}

function isRejectedUnheard(task: Task): boolean {
  return isTerminal(task) && !hasLetGo(task);
}

/** The task on a network; `service` is the one that it belongs to, if that is still there. */
export function endpointOf(
  task: Task,
  attachment: NetworkAttachment,
  service: Service | undefined,
): TaskEndpoint {
  const { name, aliases } = namesOf(task, attachment);
  // Written out: one is made for each change of a task, and `create` takes its time.
  return {
    $typeName: "skep.v1.TaskEndpoint",
    taskId: task.id,
    nodeId: task.nodeId,
    addresses: attachment.addresses.map(withoutMask),
    serviceId: task.serviceId,
    slot: task.slot,
    name,
    aliases,
    ready: isReady(task) && !isSetAside(service?.rollout, task),
    canary: isCanary(service, task),
    withdrawn: isToEnd(task) || isSetAside(service?.rollout, task),
  };
}

/**
 * A task of a service shares its aliases with all of the service, which has them in its own row; a
 * container that was attached by itself has its own, its name first.
 */
function namesOf(task: Task, { aliases }: NetworkAttachment): { name: string; aliases: string[] } {
  if (task.spec?.runtime.case !== "attachment") return { name: taskName(task), aliases: [] };
  const shortId = task.spec.runtime.value.containerId.slice(0, SHORT_ID_LENGTH);
  const [name = shortId, ...others] = aliases;
  return { name, aliases: [...new Set([...others, shortId])].filter((alias) => alias !== name) };
}

/**
 * The rows of a service by network: where it has a virtual address or where its tasks shall be, and
 * the ingress network if the mesh publishes it.
 */
export function entriesOf(
  service: Service,
  find: (target: string) => Network | undefined,
): ReadonlyMap<string, ServiceEntry> {
  const virtualIps = virtualIpsOf(service);
  const aliases = new Map<string, string[]>();
  for (const config of networksOf(service.spec)) {
    const id = find(config.target)?.id;
    if (id !== undefined) aliases.set(id, [...(aliases.get(id) ?? []), ...config.aliases]);
  }
  const entries = new Map<string, ServiceEntry>();
  for (const id of new Set([...virtualIps.keys(), ...aliases.keys()])) {
    const ingress = isIngress(find(id));
    entries.set(
      id,
      create(ServiceEntrySchema, {
        serviceId: service.id,
        name: service.spec?.annotations?.name ?? "",
        aliases: aliases.get(id) ?? [],
        virtualIps: virtualIps.get(id) ?? [],
        ports: ingress ? (service.endpoint?.ports ?? []).filter(isIngressPort) : [],
        localFirst: service.spec?.annotations?.labels[LOCAL_FIRST_LABEL] === "true",
        canaryShare: service.rollout?.canaryShare ?? 0,
        earlyNames: service.spec?.annotations?.labels[DISCOVERY_LABEL] === "early",
        addresses: ingress ? answersOn(service) : {},
      }),
    );
  }
  return entries;
}

/** By port, where the service's labels say that it answers. */
function answersOn(service: Service): Record<string, { cidrs: string[] }> {
  const labels = service.spec?.annotations?.labels ?? {};
  const found: Record<string, { cidrs: string[] }> = {};
  for (const { protocol, publishedPort } of (service.endpoint?.ports ?? []).filter(isIngressPort)) {
    const name = protocolName(protocol);
    const cidrs = meshAddressesOf(labels, name, publishedPort);
    if (cidrs.length > 0) found[`${name}/${publishedPort}`] = { cidrs: [...cidrs] };
  }
  return found;
}

function virtualIpsOf({ spec, endpoint }: Service): Map<string, string[]> {
  const found = new Map<string, string[]>();
  // Until the allocator has let them go, a service that became dnsrr still holds its addresses.
  if ((spec?.endpoint?.mode ?? Mode.VIP) !== Mode.VIP) return found;
  for (const { networkId, addr } of endpoint?.virtualIps ?? []) {
    found.set(networkId, [...(found.get(networkId) ?? []), withoutMask(addr)]);
  }
  return found;
}
