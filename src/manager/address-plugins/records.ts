/** What the leader writes down of address plug-ins' answers: one transaction for each answer. */

import { create } from "@bufbuild/protobuf";
import type { GivenPool, PoolsRequest } from "#model/address-pool.ts";
import { parseIp, parsePrefix, prefixContains, prefixesOverlap } from "#model/ip.ts";
import {
  type AddressLease,
  changedLease,
  LEASE_KIND,
  LeaseState,
  leaseOf,
  newLease,
} from "#model/lease.ts";
import { canonicalIp } from "#plan/allocator/lease-stock.ts";
import {
  addressDriverOf,
  awaitsPools,
  isNodeLocal,
  isOfPlugin,
  waitsForPlugin,
  waitsForPools,
} from "#plan/allocator/network-table.ts";
import type { ReadView, Tx } from "#store/types.ts";
import type { Network } from "#wire/gen/swarmkit/objects_pb.js";
import {
  IPAMConfig_AddressFamily as Family,
  IPAMConfigSchema,
  IPAMOptionsSchema,
} from "#wire/gen/swarmkit/types_pb.js";

export interface Lease {
  readonly id: string;
  readonly lease: AddressLease;
}

export function leasesIn(view: ReadView): readonly Lease[] {
  const leases: Lease[] = [];
  for (const resource of view.find("resource", "kind", LEASE_KIND)) {
    const lease = leaseOf(resource);
    if (lease !== undefined) leases.push({ id: resource.id, lease });
  }
  return leases;
}

export function poolsRequestOf({ spec }: Network): PoolsRequest {
  const configs = spec?.ipam?.configs ?? [];
  return {
    options: spec?.ipam?.driver?.options ?? {},
    pools: configs.map(({ subnet, range, gateway, reserved }) => ({
      subnet,
      range,
      gateway,
      reserved,
    })),
    ipv6: spec?.ipv6Enabled === true,
  };
}

/** The network has its pools, or they go back and it says why; true in the first case. */
export function recordPools(
  tx: Tx,
  asked: Network,
  pools: readonly GivenPool[],
  newId: () => string,
): boolean {
  const network = tx.get("network", asked.id);
  const awaited = network !== undefined && awaitsPools(network);
  const overlap = awaited && pools.some((pool, at) => overlaps(tx, network.id, pool, pools, at));
  const state = awaited && !overlap ? LeaseState.GIVEN : LeaseState.RELEASING;
  const { options } = poolsRequestOf(asked);
  for (const pool of pools) {
    const { poolId, addressSpace, subnet, range, gateway, reserved } = pool;
    const family = subnet.includes(":") ? 6 : 4;
    const own = { poolId, addressSpace, subnet, range, gateway, reserved: [...reserved], options };
    const of = { driver: addressDriverOf(asked), networkId: asked.id, family, pool: true };
    tx.create("resource", newLease(newId(), { ...of, ...own, state }));
  }
  if (!awaited) return false;
  if (overlap) {
    noteNetwork(tx, network.id, "Pool overlaps with other one on this address space");
    return false;
  }
  tx.update("network", withPools(network, pools));
  return true;
}

function withPools(network: Network, pools: readonly GivenPool[]): Network {
  const { spec } = network;
  const name = addressDriverOf(network);
  const wished = poolsRequestOf(network).pools.flatMap((one) => Object.entries(one.reserved));
  const ipam = create(IPAMOptionsSchema, {
    driver: { name, options: spec?.ipam?.driver?.options ?? {} },
    configs: pools.map(({ subnet, range, gateway, reserved }) => {
      return create(IPAMConfigSchema, {
        family: subnet.includes(":") ? Family.IPV6 : Family.IPV4,
        subnet,
        range,
        gateway,
        reserved: Object.fromEntries(wished.filter(([, address]) => reserved.includes(address))),
      });
    }),
  });
  const allocationError = isOfPlugin(network) ? waitsForPlugin(network) : "";
  return { ...network, ipam, allocationError };
}

function overlaps(
  tx: Tx,
  networkId: string,
  pool: GivenPool,
  others: readonly GivenPool[],
  at: number,
): boolean {
  const prefix = parsePrefix(pool.subnet);
  if (prefix === undefined) return true;
  const taken = others.slice(0, at).map(({ subnet }) => subnet);
  for (const network of tx.all("network")) {
    if (network.id === networkId || isNodeLocal(network)) continue;
    const configs = (network.ipam ?? network.spec?.ipam)?.configs ?? [];
    taken.push(...configs.map(({ subnet }) => subnet));
  }
  for (const { lease } of leasesIn(tx)) if (lease.pool) taken.push(lease.subnet);
  return taken.some((subnet) => {
    const other = parsePrefix(subnet);
    return other !== undefined && prefixesOverlap(prefix, other);
  });
}

/**
 * The lease is given, or the address goes back because nobody waits for it any more. Returns why it
 * cannot be used, if so: then the plug-in keeps it, since it is somebody else's here.
 */
export function recordAddress(
  tx: Tx,
  id: string,
  asked: AddressLease,
  pool: AddressLease,
  text: string,
  newLeaseId: () => string,
): string | undefined {
  const address = canonicalIp(text);
  const [ip, prefix] = [parseIp(address ?? ""), parsePrefix(pool.subnet)];
  if (address === undefined || ip === undefined || prefix === undefined) {
    return `the plug-in gave no usable address: "${text}"`;
  }
  const given = { poolId: pool.poolId, subnet: pool.subnet, address, error: "" };
  if (!prefixContains(prefix, ip)) {
    const stray = { ...asked, ...given, state: LeaseState.RELEASING };
    tx.create("resource", newLease(newLeaseId(), stray));
    return `the plug-in gave ${address}, which is not in its pool ${pool.subnet}`;
  }
  const taken = leasesIn(tx).some(
    ({ lease }) =>
      lease.networkId === asked.networkId &&
      [lease.address, lease.gateway, ...lease.reserved].some(
        (one) => one !== "" && canonicalIp(one) === address,
      ),
  );
  if (taken) return `the plug-in gave ${address} twice`;
  const resource = tx.get("resource", id);
  const lease = resource && leaseOf(resource);
  if (resource !== undefined && lease?.state === LeaseState.ASKING) {
    tx.update("resource", changedLease(resource, { ...given, state: LeaseState.GIVEN }));
  } else {
    const late = { ...asked, ...given, state: LeaseState.RELEASING };
    tx.create("resource", newLease(newLeaseId(), late));
  }
  noteAddresses(tx, asked.networkId, "");
  return undefined;
}

/** Those that are to be asked for now: a leader that ends meanwhile leaves them ASKING. */
export function markAsking(tx: Tx, ids: readonly string[]): Lease[] {
  return ids.flatMap((id) => {
    const resource = tx.get("resource", id);
    const lease = resource && leaseOf(resource);
    if (resource === undefined || lease?.state !== LeaseState.WANTED) return [];
    const asking = changedLease(resource, { state: LeaseState.ASKING });
    tx.update("resource", asking);
    return [{ id, lease: leaseOf(asking) ?? lease }];
  });
}

/** Nothing came of it; `error` is noted where those who wait look for it. */
export function backToWanted(tx: Tx, id: string, error: string): void {
  const resource = tx.get("resource", id);
  const lease = resource && leaseOf(resource);
  if (resource === undefined || lease?.state !== LeaseState.ASKING) return;
  const own = lease.wish === "" ? "" : error;
  tx.update("resource", changedLease(resource, { state: LeaseState.WANTED, error: own }));
  if (lease.wish === "" && error !== "") noteAddresses(tx, lease.networkId, error);
}

/** Why the network's plug-in gives no addresses: on its first pool, for all who wait. */
export function noteAddresses(tx: Tx, networkId: string, error: string): void {
  for (const { id, lease } of leasesIn(tx)) {
    if (!lease.pool || lease.networkId !== networkId) continue;
    const resource = tx.get("resource", id);
    if (resource !== undefined && lease.error !== error) {
      tx.update("resource", changedLease(resource, { error }));
    }
    return;
  }
}

export function noteNetwork(tx: Tx, networkId: string, reason: string): void {
  const network = tx.get("network", networkId);
  if (network === undefined || !awaitsPools(network)) return;
  const allocationError = `${waitsForPools(network)}: ${reason}`;
  if (allocationError !== network.allocationError) {
    tx.update("network", { ...network, allocationError });
  }
}
