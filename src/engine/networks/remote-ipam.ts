/**
 * Addresses from a plug-in (Docker's `IpamDriver` protocol): a network's pools with their gateways, and
 * the addresses of endpoints. Everything that it gives is written down by the caller, and given back.
 */

import { EngineError, isErrorCode } from "#base/error.ts";
import { newHexId } from "#base/ids.ts";
import type { Log, Random } from "#base/ports.ts";
import { parseIp, parsePrefix, prefixContains } from "#model/ip.ts";
import type { EndpointSettings } from "#wire/docker/networks.ts";
import { canonicalAddress, formatPrefix, networkOf } from "./ipam.ts";
import type { EndpointRecord, HeldAddress, IpamRecord, NetworkRecord } from "./records.ts";
import {
  callQuietly,
  PATIENT,
  type Patience,
  type Remote,
  type RemoteAnswer,
  remoteOf,
  textIn,
} from "./remote-call.ts";
import type { NetworkOptions, NetworkState } from "./state.ts";

const GATEWAY = "com.docker.network.gateway";
const MAC_ADDRESS = "com.docker.network.endpoint.macaddress";

/** Options of the request for an address that will be a router's. */
export const GATEWAY_REQUEST = { RequestAddressType: GATEWAY } as const;

/** What a plug-in has given for one endpoint. */
export interface Given {
  /** With prefix length. */
  readonly ipv4?: string;
  readonly ipv6?: string;
  /** The plug-in was told of it, so the endpoint must have it. */
  readonly mac?: string;
  readonly held: readonly HeldAddress[];
}

export function hasRemoteIpam({ ipamDriver }: Pick<NetworkRecord, "ipamDriver">): boolean {
  return ipamDriver !== "default" && ipamDriver !== "null";
}

/** Whose plug-ins are asked, and where it is told what they did not hear. */
export interface PluginHost {
  readonly options: Pick<NetworkOptions, "plugins">;
  readonly log: Log;
}

/** What pools are asked for with. */
export type PoolsRecord = Pick<
  NetworkRecord,
  "ipamDriver" | "ipamOptions" | "ipam" | "ipv4" | "ipv6"
>;

/** The pools that the record wishes for, and one of each family that it names none of; all or none. */
export async function requestPools(
  state: PluginHost,
  record: PoolsRecord,
  scope: "Local" | "Global" = "Local",
): Promise<readonly IpamRecord[]> {
  const remote = remoteOf(state, record.ipamDriver, "IpamDriver");
  const spaces = await remote.call("GetDefaultAddressSpaces", {});
  const addressSpace = textIn(spaces, `${scope}DefaultAddressSpace`);
  const got: IpamRecord[] = [];
  try {
    for (const wish of wishesOf(record)) {
      const { pool, gateway } = await requestPool(remote, addressSpace, wish, record);
      const at = got.push(pool) - 1;
      const routed = await requestGateway(remote, pool, wish.gateway, gateway);
      got[at] = routed;
      await requestAuxiliary(remote, routed);
    }
    return got;
  } catch (error) {
    await releasePools(state, { ...record, ipam: got });
    throw error;
  }
}

type Wish = Partial<IpamRecord> & { readonly v6: boolean };

function wishesOf({ ipam, ipv4 = true, ipv6 }: PoolsRecord): readonly Wish[] {
  const named = ipam.map((pool) => ({ ...pool, v6: pool.subnet.includes(":") }));
  return [false, true].flatMap((v6) => {
    if (!(v6 ? ipv6 : ipv4)) return [];
    const chosen = named.filter((wish) => wish.v6 === v6);
    return chosen.length > 0 ? chosen : [{ v6 }];
  });
}

async function requestPool(
  remote: Remote,
  addressSpace: string,
  { subnet: wished = "", range, auxiliary, v6 }: Wish,
  { ipamOptions }: PoolsRecord,
): Promise<{ readonly pool: IpamRecord; readonly gateway: string | undefined }> {
  const answer = await remote.call("RequestPool", {
    AddressSpace: addressSpace,
    Pool: wished,
    SubPool: range ?? "",
    Options: ipamOptions ?? {},
    V6: v6,
  });
  const [poolId, text] = [textIn(answer, "PoolID"), textIn(answer, "Pool")];
  const subnet = parsePrefix(text);
  if (subnet === undefined || (subnet.family === 6) !== v6) {
    await remote.call("ReleasePool", { PoolID: poolId }).catch(() => undefined);
    throw new EngineError("internal", `the plugin ${remote.name} gave no usable pool: "${text}"`);
  }
  const data = answer["Data"];
  const told =
    typeof data === "object" && data !== null ? textIn(data as RemoteAnswer, GATEWAY) : "";
  const pool = {
    subnet: formatPrefix(networkOf(subnet)),
    ...(range === undefined ? {} : { range }),
    ...(auxiliary === undefined ? {} : { auxiliary }),
    poolId,
    addressSpace,
  };
  return { pool, gateway: told === "" ? undefined : canonicalAddress(bare(told)) };
}

/** One that the user chose is asked for in any case; else the one that came with the pool, else any. */
async function requestGateway(
  remote: Remote,
  pool: IpamRecord,
  wished: string | undefined,
  told: string | undefined,
): Promise<IpamRecord> {
  if (wished === undefined && told !== undefined) return { ...pool, gateway: told };
  try {
    const { address } = await requestAddress(remote, pool, wished ?? "", GATEWAY_REQUEST);
    return { ...pool, gateway: bare(address) };
  } catch (error) {
    const { code, message } = EngineError.from(error, "internal");
    throw new EngineError(code, `failed to allocate gateway (${wished ?? ""}): ${message}`, {
      cause: error,
    });
  }
}

async function requestAuxiliary(remote: Remote, pool: IpamRecord): Promise<void> {
  for (const address of Object.values(pool.auxiliary ?? {})) {
    await requestAddress(remote, pool, address, {});
  }
}

export async function requestAddress(
  remote: Remote,
  { poolId = "", subnet }: Pick<IpamRecord, "poolId" | "subnet">,
  wished: string,
  Options: Readonly<Record<string, string>>,
): Promise<{ readonly address: string; readonly held: HeldAddress }> {
  const body = { PoolID: poolId, Address: wished, Options };
  const text = textIn(await remote.call("RequestAddress", body), "Address");
  const prefix = parsePrefix(text);
  const pool = parsePrefix(subnet);
  const address = canonicalAddress(bare(text));
  if (prefix === undefined || address === undefined || pool?.family !== prefix.family) {
    throw new EngineError(
      "internal",
      `the plugin ${remote.name} gave no usable address: "${text}"`,
    );
  }
  return {
    address: `${address}/${prefix.length}`,
    held: { driver: remote.name, poolId, address },
  };
}

/** Nothing of it is left, as far as the plug-in is there to hear of it. */
export async function releasePools(
  state: PluginHost,
  record: Pick<NetworkRecord, "ipamDriver" | "ipam">,
): Promise<void> {
  if (!hasRemoteIpam(record)) return;
  const remote = remoteOf(state, record.ipamDriver, "IpamDriver");
  for (const pool of record.ipam) await releasePool(state, remote, pool);
}

/** False when the plug-in may not have heard of all of it. */
export async function releasePool(
  host: PluginHost,
  remote: Remote,
  { poolId, gateway, auxiliary }: IpamRecord,
): Promise<boolean> {
  if (poolId === undefined) return true;
  let heard = true;
  for (const address of [...Object.values(auxiliary ?? {}), gateway]) {
    if (address === undefined) continue;
    const body = { PoolID: poolId, Address: address };
    heard = (await callQuietly(host, remote, "ReleaseAddress", body)) && heard;
  }
  return (await callQuietly(host, remote, "ReleasePool", { PoolID: poolId })) && heard;
}

/** Addresses of an endpoint, of each family that the network has; undefined = not a plug-in's to give. */
export async function requestAddresses(
  state: NetworkState,
  record: NetworkRecord,
  settings: EndpointSettings,
): Promise<Given | undefined> {
  if (!hasRemoteIpam(record) || record.configOnly === true) return undefined;
  const remote = remoteOf(state, record.ipamDriver, "IpamDriver");
  const mac = await macFor(remote, settings, state.options.random);
  const options: Readonly<Record<string, string>> = mac === undefined ? {} : { [MAC_ADDRESS]: mac };
  const held: HeldAddress[] = [];
  const request = async (six: boolean) => {
    const { IPv4Address = "", IPv6Address = "" } = settings.IPAMConfig ?? {};
    const pools = record.ipam.filter(({ subnet }) => subnet.includes(":") === six);
    if (pools.length === 0) return undefined;
    const given = await fromPools(remote, pools, six ? IPv6Address : IPv4Address, options);
    held.push(given.held);
    return given.address;
  };
  try {
    const ipv4 = await request(false);
    const ipv6 = await request(true);
    return {
      ...(ipv4 === undefined ? {} : { ipv4 }),
      ...(ipv6 === undefined ? {} : { ipv6 }),
      ...(mac === undefined ? {} : { mac }),
      held,
    };
  } catch (error) {
    await releaseHeld(state, [{ held }]);
    throw error;
  }
}

export interface IpamCapabilities {
  /** It gives an address to a MAC address. */
  readonly needsMac: boolean;
  /** It remembers nothing of what it gave. */
  readonly forgets: boolean;
}

export async function capabilities(
  remote: Remote,
  patience: Patience = PATIENT,
): Promise<IpamCapabilities> {
  try {
    const answer = await remote.call("GetCapabilities", {}, patience);
    const { RequiresMACAddress, RequiresRequestReplay } = answer;
    return { needsMac: RequiresMACAddress === true, forgets: RequiresRequestReplay === true };
  } catch (error) {
    // Plug-ins from before capabilities have none.
    if (!isErrorCode(error, "unimplemented")) throw error;
    return { needsMac: false, forgets: false };
  }
}

/** Some plug-ins give an address to a MAC address, and say so. */
async function macFor(
  remote: Remote,
  { MacAddress = "" }: EndpointSettings,
  random: Random,
): Promise<string | undefined> {
  const { needsMac } = await capabilities(remote);
  if (MacAddress !== "") return MacAddress.toLowerCase();
  if (!needsMac) return undefined;
  return `02:42:${newHexId(random, 4).match(/../g)?.join(":") ?? ""}`;
}

/** The pool that the wished address is of, else the first that has one left. */
async function fromPools(
  remote: Remote,
  pools: readonly IpamRecord[],
  wished: string,
  options: Readonly<Record<string, string>>,
) {
  const ip = wished === "" ? undefined : parseIp(wished);
  const fitting = pools.filter(({ subnet }) => {
    const prefix = parsePrefix(subnet);
    return ip === undefined || (prefix !== undefined && prefixContains(prefix, ip));
  });
  let last: unknown = new EngineError(
    "invalid-argument",
    `invalid endpoint settings:\nno configured subnet contains IP address ${wished}`,
  );
  for (const pool of fitting) {
    try {
      return await requestAddress(remote, pool, wished, options);
    } catch (error) {
      last = error;
    }
  }
  throw last;
}

/** False when a plug-in may not have heard of all of it. */
export async function releaseHeld(
  state: NetworkState,
  holders: readonly Pick<EndpointRecord, "held">[],
): Promise<boolean> {
  let heard = true;
  for (const { driver, poolId, address } of holders.flatMap(({ held }) => held ?? [])) {
    const remote = remoteOf(state, driver, "IpamDriver");
    const body = { PoolID: poolId, Address: address };
    if (!(await callQuietly(state, remote, "ReleaseAddress", body))) heard = false;
  }
  return heard;
}

function bare(address: string): string {
  return address.split("/")[0] ?? address;
}
