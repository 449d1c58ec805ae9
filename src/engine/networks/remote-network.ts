/**
 * Networks of plug-ins (Docker's `NetworkDriver` protocol): made and removed. A network is on disk as
 * unfinished before a plug-in hears of it, so that a crash in between leaves nothing with the plug-in
 * that nobody knows of.
 */

import { EngineError, isErrorCode } from "#base/error.ts";
import { parsePrefix } from "#model/ip.ts";
import type { NetworkCreateBody } from "#wire/docker/networks.ts";
import { PluginRefusal } from "../plugins/client.ts";
import { overlaps } from "./ipam.ts";
import type { IpamRecord, NetworkRecord } from "./records.ts";
import { callQuietly, HASTY, remoteOf } from "./remote-call.ts";
import { hasRemoteIpam, releasePools, requestPools } from "./remote-ipam.ts";
import type { NetworkState } from "./state.ts";
import { findLocal } from "./state.ts";

export const OWN_DRIVERS: readonly string[] = [
  "bridge",
  "host",
  "ipvlan",
  "macvlan",
  "null",
  "overlay",
];
const OWN_IPAM: readonly string[] = ["", "default", "null"];

const GENERIC = "com.docker.network.generic";

/** Which plug-ins a request needs: they are there, and can do it. */
export async function findDrivers(
  state: NetworkState,
  body: NetworkCreateBody,
): Promise<{ readonly network?: string; readonly ipam?: string }> {
  const { Driver = "", ConfigOnly, ConfigFrom, IPAM } = body;
  const from = ConfigFrom?.Network ?? "";
  const config = from === "" ? undefined : findLocal(state, from)?.record;
  const ipam = config?.ipamDriver ?? IPAM?.Driver ?? "";
  const { plugins } = state.options;
  const remoteIpam = !OWN_IPAM.includes(ipam) && plugins !== undefined;
  if (remoteIpam) await plugins.get(ipam, "IpamDriver");
  const own = ConfigOnly || Driver === "" || OWN_DRIVERS.includes(Driver) || plugins === undefined;
  if (!own) await requireLocalScope(state, Driver);
  return { ...(own ? {} : { network: Driver }), ...(remoteIpam ? { ipam } : {}) };
}

/** The plug-in makes networks of the whole swarm: they are the managers' to make. */
export class GlobalScope extends EngineError {
  constructor(plugin: string) {
    super("forbidden", `the plugin "${plugin}" is for networks of a whole swarm (scope global)`);
  }
}

async function requireLocalScope(state: NetworkState, name: string): Promise<void> {
  const { Scope } = await remoteOf(state, name, "NetworkDriver").call("GetCapabilities", {});
  if (Scope === "local") return;
  if (Scope === "global") {
    throw new GlobalScope(name);
  }
  throw new EngineError(
    "internal",
    `invalid capability: expecting "local" or "global", got ${JSON.stringify(Scope)}`,
  );
}

export function usesPlugins(record: NetworkRecord): boolean {
  return record.configOnly !== true && (record.remote === true || hasRemoteIpam(record));
}

/** The record with the pools that an address plug-in gave; as it was when it is not a plug-in's. */
export async function withPools(
  state: NetworkState,
  record: NetworkRecord,
): Promise<NetworkRecord> {
  if (!hasRemoteIpam(record) || record.configOnly === true) return record;
  const complete = { ...record, ipam: await requestPools(state, record) };
  if (record.remote === true || !overlapsOthers(state, complete)) return complete;
  await releasePools(state, complete);
  throw new EngineError("forbidden", "Pool overlaps with other one on this address space");
}

/** Two bridges of one subnet would take each other's packets; a plug-in may know how to. */
function overlapsOthers({ networks }: NetworkState, { ipam }: NetworkRecord): boolean {
  const mine = ipam.flatMap(({ subnet }) => parsePrefix(subnet) ?? []);
  const theirs = [...networks.values()]
    .filter(({ record }) => record.bridge !== "")
    .flatMap(({ record }) => record.ipam.flatMap(({ subnet }) => parsePrefix(subnet) ?? []));
  return mine.some((one) => theirs.some((other) => overlaps(one, other)));
}

/** Tells the plug-in of the network; nothing to do for drivers of our own. */
export async function createRemote(state: NetworkState, record: NetworkRecord): Promise<void> {
  if (record.remote !== true) return;
  const { id, driver, options, internal, ipv4 = true, ipv6 } = record;
  const data = (six: boolean) =>
    record.ipam.filter(({ subnet }) => subnet.includes(":") === six).map(poolData);
  const v4 = data(false);
  await remoteOf(state, driver, "NetworkDriver").call("CreateNetwork", {
    NetworkID: id,
    Options: {
      [GENERIC]: options,
      "com.docker.network.enable_ipv4": ipv4,
      "com.docker.network.enable_ipv6": ipv6,
      ...(internal ? { "com.docker.network.internal": true } : {}),
    },
    // As docker's own driver "null" says that it gives no addresses.
    IPv4Data: record.ipamDriver === "null" ? [{ AddressSpace: "null", Pool: "0.0.0.0/0" }] : v4,
    IPv6Data: data(true),
  });
}

function poolData({ subnet, gateway, auxiliary, addressSpace }: IpamRecord) {
  const length = subnet.split("/")[1] ?? "";
  const named = Object.entries(auxiliary ?? {});
  return {
    AddressSpace: addressSpace ?? "LocalDefault",
    Pool: subnet,
    ...(gateway === undefined ? {} : { Gateway: `${gateway}/${length}` }),
    ...(named.length === 0
      ? {}
      : { AuxAddresses: Object.fromEntries(named.map(([name, at]) => [name, `${at}/${length}`])) }),
  };
}

/**
 * Takes the network from the plug-in. One that answers with an error has nothing to keep, as docker
 * sees it; one that cannot be asked may have, so then the network stays.
 */
export async function deleteRemote(state: NetworkState, record: NetworkRecord): Promise<void> {
  if (record.remote !== true) return;
  const { id, name, driver } = record;
  try {
    await remoteOf(state, driver, "NetworkDriver").call("DeleteNetwork", { NetworkID: id }, HASTY);
  } catch (error) {
    if (error instanceof PluginRefusal) {
      state.log.warn("driver error deleting network", { network: name, plugin: driver, error });
      return;
    }
    const { code, message } = EngineError.from(error, "internal");
    const absent = isErrorCode(error, "not-found");
    throw new EngineError(
      absent ? "failed-precondition" : code,
      `failed deleting Network: ${message}: the network stays until its plugin is there to hear of it`,
      { cause: error },
    );
  }
}

/** A network that was not finished; `error` is what kept it from it, if we know. */
export async function forgetRemote(
  state: NetworkState,
  record: NetworkRecord,
  error?: unknown,
): Promise<void> {
  // Who has refused to make it does not have it.
  if (record.remote === true && !(error instanceof PluginRefusal)) {
    const remote = remoteOf(state, record.driver, "NetworkDriver");
    await callQuietly(state, remote, "DeleteNetwork", { NetworkID: record.id });
  }
  await releasePools(state, record);
}
