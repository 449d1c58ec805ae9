/**
 * Networks of the whole swarm. One of them, the ingress network, carries the published ports; it
 * exists at most once. A network that anything is attached to stays.
 */

import { create } from "@bufbuild/protobuf";
import ipaddr from "ipaddr.js";
import { EngineError, isErrorCode, messageOf } from "#base/error.ts";
import { ADDRESS_PLUGINS_LEVEL } from "#model/feature-level.ts";
import { type Prefix, parsePrefix, prefixesOverlap } from "#model/ip.ts";
import { isIngress, isPredefined, PREDEFINED_LABEL } from "#model/network.ts";
import {
  isNodeLocal,
  isOfAddressPlugin,
  isOfPlugin,
  waitsForPlugin,
} from "#plan/allocator/network-table.ts";
import type { Tx } from "#store/types.ts";
import {
  type CreateNetworkRequest,
  type CreateNetworkResponse,
  CreateNetworkResponseSchema,
  type GetNetworkRequest,
  type GetNetworkResponse,
  GetNetworkResponseSchema,
  type ListNetworksRequest,
  type ListNetworksResponse,
  ListNetworksResponseSchema,
  type RemoveNetworkRequest,
  type RemoveNetworkResponse,
  RemoveNetworkResponseSchema,
} from "#wire/gen/swarmkit/control_pb.js";
import { type Network, NetworkSchema } from "#wire/gen/swarmkit/objects_pb.js";
import type { NetworkSpec } from "#wire/gen/swarmkit/specs_pb.js";
import { type Driver, type IPAMConfig, TaskState } from "#wire/gen/swarmkit/types_pb.js";
import { findCluster } from "../ca/cluster.ts";
import { type ControlContext, freshId, read, write } from "./context.ts";
import { hasLabels, hasOnePrefix, oneOf } from "./filters.ts";
import { checkDnsName } from "./names.ts";
import { ingressNetwork, needsIngress } from "./ports.ts";
import {
  alreadyExists,
  invalid,
  notFound,
  precondition,
  requiredId,
  unimplemented,
} from "./refusal.ts";

/** Marks the swarm's stand-ins for each node's own `host` and `bridge` networks. */
const BUILT_IN_DRIVERS = ["overlay", "bridge", "host", "macvlan", "ipvlan", "null"];
const BUILT_IN_IPAM = "default";

export async function createNetwork(
  context: ControlContext,
  request: CreateNetworkRequest,
): Promise<CreateNetworkResponse> {
  const network = await newNetwork(context, request.spec);
  return write(context, (tx) => {
    addNetwork(tx, network);
    return create(CreateNetworkResponseSchema, { network: tx.get("network", network.id) });
  });
}

/** Not stored yet; its spec is checked, and its plug-in asked. */
export async function newNetwork(
  context: ControlContext,
  spec: NetworkSpec | undefined,
): Promise<Network> {
  checkNetworkSpec(spec);
  await checkDrivers(context, spec);
  return create(NetworkSchema, { id: freshId(context), spec });
}

/** Refused for what others have. */
export function addNetwork(tx: Tx, network: Network): void {
  const present = network.spec?.ingress === true ? ingressNetwork(tx) : undefined;
  if (present !== undefined) {
    throw alreadyExists(`ingress network (${present.id}) is already present`);
  }
  const used = findCluster(tx)?.featureLevel ?? 0;
  if (isOfAddressPlugin(network) && used < ADDRESS_PLUGINS_LEVEL) {
    throw precondition(
      "an address plugin needs managers that all know of it: update the older ones, then create the network",
    );
  }
  refuseOverlap(tx, network);
  insert(tx, network);
}

export async function getNetwork(
  context: ControlContext,
  request: GetNetworkRequest,
): Promise<GetNetworkResponse> {
  const id = requiredId(request.networkId);
  const network = (await read(context)).get("network", id);
  if (network === undefined) throw notFound(`network ${id} not found`);
  return create(GetNetworkResponseSchema, { network });
}

export async function listNetworks(
  context: ControlContext,
  request: ListNetworksRequest,
): Promise<ListNetworksResponse> {
  const view = await read(context);
  const { filters } = request;
  const networks: Network[] = [];
  for (const network of view.all("network")) {
    const name = network.spec?.annotations?.name ?? "";
    const keep =
      filters === undefined ||
      (oneOf(name, filters.names) &&
        hasOnePrefix(name, filters.namePrefixes) &&
        hasOnePrefix(network.id, filters.idPrefixes) &&
        hasLabels(network.spec?.annotations?.labels, filters.labels));
    if (keep) networks.push(network);
  }
  return create(ListNetworksResponseSchema, { networks });
}

export async function removeNetwork(
  context: ControlContext,
  request: RemoveNetworkRequest,
): Promise<RemoveNetworkResponse> {
  const id = requiredId(request.networkId);
  const known = (await read(context)).get("network", id);
  if (known !== undefined && isOfPlugin(known)) return removeOfPlugin(context, known);
  return write(context, (tx) => {
    removableNetwork(tx, id);
    tx.delete("network", id);
    return create(RemoveNetworkResponseSchema);
  });
}

function removableNetwork(tx: Tx, id: string): Network {
  const network = tx.get("network", id);
  if (network === undefined) throw notFound(`network ${id} not found`);
  if (isPredefined(network)) {
    const name = network.spec?.annotations?.name ?? "";
    throw precondition(
      `network ${id} (${name}) is a swarm predefined network and cannot be removed`,
    );
  }
  if (isIngress(network)) refuseIngressInUse(tx);
  else refuseInUse(tx, id);
  return network;
}

/**
 * The plug-in hears of it first, and nobody can use the network meanwhile. Whatever ends it halfway
 * leaves a network that waits for its plug-in, and is given to it again.
 */
function removeOfPlugin(
  context: ControlContext,
  { id, spec }: Network,
): Promise<RemoveNetworkResponse> {
  const { plugins } = context;
  return plugins.alone(id, async () => {
    await write(context, (tx) => {
      const { driverState: _, ...network } = removableNetwork(tx, id);
      tx.update("network", { ...network, allocationError: waitsForPlugin(network) });
    });
    try {
      await plugins.free(spec?.driverConfig?.name ?? "", id);
    } catch (error) {
      throw precondition(
        `failed deleting Network: ${messageOf(error)}: the network stays until its plugin is there to hear of it`,
      );
    }
    return write(context, (tx) => {
      removableNetwork(tx, id);
      tx.delete("network", id);
      return create(RemoveNetworkResponseSchema);
    });
  });
}

/**
 * Told at once; the allocator would only leave the network without addresses. Networks that are each
 * node's own may lie wherever they like.
 */
function refuseOverlap(tx: Tx, wanted: Network): void {
  if (isNodeLocal(wanted)) return;
  const taken: Prefix[] = [];
  for (const network of tx.all("network")) {
    if (!isNodeLocal(network)) taken.push(...subnetsOf(network));
  }
  for (const subnet of subnetsOf(wanted)) {
    if (taken.some((other) => prefixesOverlap(subnet, other))) {
      throw precondition(
        "invalid pool request: Pool overlaps with other one on this address space",
      );
    }
    taken.push(subnet);
  }
}

/** As given, or as asked for by one that has yet to be given them. */
function subnetsOf({ ipam, spec }: Network): Prefix[] {
  return (ipam ?? spec?.ipam)?.configs.flatMap(({ subnet }) => parsePrefix(subnet) ?? []) ?? [];
}

function refuseIngressInUse(tx: Tx): void {
  for (const service of tx.all("service")) {
    if (!needsIngress(service.spec)) continue;
    throw precondition(
      `ingress network cannot be removed because service ${service.id} depends on it`,
    );
  }
}

/** Tasks of services that are no more are on their way out. */
export function refuseInUse(tx: Tx, id: string): void {
  for (const service of tx.find("service", "network", id)) {
    throw precondition(`network ${id} is in use by service ${service.id}`);
  }
  for (const task of tx.find("task", "network", id)) {
    const state = task.status?.state ?? TaskState.NEW;
    if (task.desiredState > TaskState.RUNNING || state > TaskState.RUNNING) continue;
    if (task.serviceId !== "" && tx.get("service", task.serviceId) === undefined) continue;
    throw precondition(`network ${id} is in use by task ${task.id}`);
  }
}

function insert(tx: Tx, network: Network): void {
  try {
    tx.create("network", network);
  } catch (error) {
    if (!isErrorCode(error, "already-exists")) throw error;
    const name = network.spec?.annotations?.name ?? "";
    throw alreadyExists(`network with name ${name} already exists`);
  }
}

function checkNetworkSpec(spec: NetworkSpec | undefined): asserts spec is NetworkSpec {
  if (spec === undefined) throw invalid();
  if (spec.attachable && spec.ingress) throw invalid("ingress network cannot be attachable");
  checkDnsName(spec.annotations);
  if (PREDEFINED_LABEL in (spec.annotations?.labels ?? {})) {
    throw new EngineError(
      "permission-denied",
      `label ${PREDEFINED_LABEL} is for internally created predefined networks and cannot be applied by users`,
    );
  }
  if (spec.ingress) {
    if (spec.driverConfig !== undefined && spec.driverConfig.name !== "overlay") {
      throw unimplemented("only overlay driver is currently supported for ingress network");
    }
  } else {
    checkDriverName(spec.driverConfig);
  }
  if (spec.ipam === undefined) return;
  checkDriverName(spec.ipam.driver);
  if (spec.ipam.driver?.name === "null") {
    throw unimplemented("networks of the swarm have addresses: leave --ipam-driver null out");
  }
  for (const pool of spec.ipam.configs) checkPool(pool);
}

function checkDriverName(driver: Driver | undefined): void {
  if (driver?.name === "") throw invalid("driver name: if driver is specified name is required");
}

/** Asks the plug-ins. */
async function checkDrivers(
  context: ControlContext,
  { driverConfig, ingress, ipam }: NetworkSpec,
): Promise<void> {
  const addresses = ipam?.driver?.name ?? BUILT_IN_IPAM;
  if (addresses !== BUILT_IN_IPAM) await context.plugins.requireAddresses(addresses);
  const name = driverConfig?.name ?? "overlay";
  if (!ingress && !BUILT_IN_DRIVERS.includes(name)) await context.plugins.require(name);
}

function checkPool(pool: IPAMConfig): void {
  const { subnet, range, gateway } = pool;
  if (!ipaddr.isValidCIDR(subnet)) throw invalid(`ipam configuration: invalid subnet ${subnet}`);
  if (range !== "") {
    const base = range.slice(0, range.indexOf("/"));
    if (!ipaddr.isValidCIDR(range)) throw invalid(`ipam configuration: invalid range ${range}`);
    if (!contains(subnet, base)) {
      throw invalid(`ipam configuration: subnet ${subnet} does not contain range ${range}`);
    }
  }
  if (gateway !== "") {
    if (!isAddress(gateway)) throw invalid(`ipam configuration: invalid gateway ${gateway}`);
    if (!contains(subnet, gateway)) {
      throw invalid(`ipam configuration: subnet ${subnet} does not contain gateway ${gateway}`);
    }
  }
}

/** Four decimal parts or IPv6: ipaddr.js also reads "1" and "0x7f.1" as addresses. */
function isAddress(text: string): boolean {
  return ipaddr.IPv4.isValidFourPartDecimal(text) || ipaddr.IPv6.isValid(text);
}

function contains(subnet: string, address: string): boolean {
  const ip = ipaddr.parse(address);
  const [base, bits] = ipaddr.parseCIDR(subnet);
  return ip.kind() === base.kind() && ip.match([base, bits] as never);
}
