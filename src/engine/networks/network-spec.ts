/** `POST /networks/create` checked and completed: what docker refuses is refused in its words. */

import { EngineError } from "#base/error.ts";
import { type Prefix, parseIp, parsePrefix, prefixContains } from "#model/ip.ts";
import type { IpamPool, NetworkCreateBody } from "#wire/docker/networks.ts";
import {
  canonicalAddress,
  cutSubnet,
  formatPrefix,
  isUsable,
  networkOf,
  nextAddress,
  overlaps,
  type SubnetPool,
} from "./ipam.ts";
import { OPTION } from "./network.ts";
import { hasParent, PARENT_OPTION, parentOf } from "./parent.ts";
import type { IpamRecord, NetworkRecord } from "./records.ts";

export const PREDEFINED: readonly string[] = ["bridge", "host", "none", "default"];
const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;
const INTERFACE_NAME = /^[^\s/:%]{1,15}$/;

export interface SpecContext {
  readonly id: string;
  readonly created: string;
  readonly pools: readonly SubnetPool[];
  /** Subnets of our networks: no two overlap. */
  readonly networkSubnets: readonly Prefix[];
  /** Subnets that the host itself knows: those that nobody chose keep clear of them. */
  readonly hostSubnets: readonly Prefix[];
  /** A /64 that is this network's own, for IPv6 without a chosen subnet. */
  readonly localIpv6: string;
  /** Names of the plug-ins that were found for the driver and for the addresses. */
  readonly plugins: { readonly network?: string; readonly ipam?: string };
  /** A network of this host by name, to take the configuration from. */
  configOf(name: string): NetworkRecord | undefined;
}

export function networkRecordOf(body: NetworkCreateBody, context: SpecContext): NetworkRecord {
  const { Name: name } = body;
  checkName(name);
  const from = body.ConfigFrom?.Network ?? "";
  if (body.ConfigOnly) return configRecord(body, context);
  const wanted = from === "" ? body : withConfig(body, context.configOf(from), from);
  const driver = driverOf(wanted, context);
  const ipamDriver = ipamDriverOf(wanted, context);
  const remote = driver === context.plugins.network;
  const options = { ...wanted.Options };
  const [ipv4, ipv6] = [wanted.EnableIPv4 ?? true, wanted.EnableIPv6 ?? false];
  if (!ipv4 && !ipv6) {
    throw new EngineError("invalid-argument", "IPv4 or IPv6 must be enabled");
  }
  if (!remote) checkMtu(options);
  const parentless = hasParent(driver) && (options[PARENT_OPTION] ?? "") === "";
  const internal = (wanted.Internal ?? false) || parentless;
  const pools = wanted.IPAM?.Config ?? [];
  const ipam =
    ipamDriver === context.plugins.ipam || (remote && ipamDriver === "null")
      ? wishedPools(pools)
      : planIpam(pools, { ...context, ipv4, ipv6, internal });
  return {
    version: 1,
    id: context.id,
    name,
    driver,
    ...(remote ? { remote } : {}),
    created: context.created,
    ipv4,
    ipv6,
    ...(from === "" ? {} : { configFrom: from }),
    internal,
    attachable: wanted.Attachable ?? false,
    ipamDriver,
    ipamOptions: wanted.IPAM?.Options ?? null,
    ipam: ipam.records,
    userSubnet: ipam.chosen,
    options,
    labels: { ...wanted.Labels },
    bridge: remote ? "" : interfaceOf(driver, options, context.id),
  };
}

function checkMtu(options: Readonly<Record<string, string>>): void {
  const text = options[OPTION.mtu];
  if (text === undefined) return;
  if (!/^[+-]?\d+$/.test(text)) {
    const reason = `strconv.Atoi: parsing ${JSON.stringify(text)}: invalid syntax`;
    throw new EngineError(
      "invalid-argument",
      `failed to parse ${OPTION.mtu} value: ${text} (${reason})`,
    );
  }
  if (Number(text) < 0) throw new EngineError("invalid-argument", `invalid MTU number: ${text}`);
}

function interfaceOf(
  driver: string,
  options: Readonly<Record<string, string>>,
  id: string,
): string {
  if (hasParent(driver)) return parentOf(driver, options, id);
  return interfaceName(options[OPTION.bridgeName], id);
}

function driverOf({ Driver, Ingress }: NetworkCreateBody, { plugins }: SpecContext): string {
  const driver = Driver === undefined || Driver === "" ? "bridge" : Driver;
  if (driver === "host" || driver === "null") {
    throw new EngineError("forbidden", `only one instance of "${driver}" network is allowed`);
  }
  if (driver !== "bridge" && !hasParent(driver) && driver !== plugins.network) {
    throw new EngineError("not-found", `plugin "${driver}" not found`);
  }
  if (Ingress === true) {
    throw new EngineError("forbidden", "Ingress network can only be global scope network");
  }
  return driver;
}

function ipamDriverOf({ IPAM }: NetworkCreateBody, { plugins }: SpecContext): string {
  const driver = IPAM?.Driver ?? "";
  if (driver !== "" && driver === plugins.ipam) return driver;
  if (["", "default", "null"].includes(driver)) return driver === "" ? "default" : driver;
  throw new EngineError("not-found", `plugin "${driver}" not found`);
}

/** What `--config-only` keeps: settings for other networks, and nothing in the kernel. */
function configRecord(body: NetworkCreateBody, context: SpecContext): NetworkRecord {
  if ((body.ConfigFrom?.Network ?? "") !== "") {
    throw new EngineError(
      "invalid-argument",
      "a configuration network cannot depend on another configuration network",
    );
  }
  const pools = wishedPools(body.IPAM?.Config ?? []);
  return {
    version: 1,
    id: context.id,
    name: body.Name,
    driver: "null",
    created: context.created,
    ipv4: body.EnableIPv4 ?? true,
    ipv6: body.EnableIPv6 ?? false,
    configOnly: true,
    internal: body.Internal ?? false,
    attachable: body.Attachable ?? false,
    ipamDriver: ipamDriverOf(body, context),
    ipamOptions: body.IPAM?.Options ?? null,
    ipam: pools.records,
    userSubnet: pools.chosen,
    options: { ...body.Options },
    labels: { ...body.Labels },
    bridge: "",
  };
}

/** Chosen subnets for somebody else to give, as far as they are well-formed. */
function wishedPools(pools: readonly IpamPool[]) {
  const records = pools.flatMap((pool) =>
    (pool.Subnet ?? "") === "" ? [] : [chosenPool(pool, [], false)],
  );
  return { records, chosen: records.length > 0 };
}

function withConfig(
  body: NetworkCreateBody,
  config: NetworkRecord | undefined,
  name: string,
): NetworkCreateBody {
  if (config === undefined) throw new EngineError("not-found", `network ${name} not found`);
  if (!config.configOnly) {
    throw new EngineError("forbidden", `${name} is not a configuration network`);
  }
  const own = (body.IPAM?.Config ?? []).length > 0 || Object.keys(body.Options ?? {}).length > 0;
  if (own) {
    throw new EngineError(
      "forbidden",
      "user supplied configurations are not supported if the network depends on a configuration network",
    );
  }
  return {
    ...body,
    Internal: config.internal,
    EnableIPv4: config.ipv4 ?? true,
    EnableIPv6: config.ipv6,
    Options: config.options,
    Labels: { ...config.labels, ...body.Labels },
    IPAM: {
      Driver: config.ipamDriver,
      Options: config.ipamOptions,
      Config: config.ipam.map(({ subnet, range, gateway, auxiliary }) => ({
        Subnet: subnet,
        ...(range === undefined ? {} : { IPRange: range }),
        ...(gateway === undefined ? {} : { Gateway: gateway }),
        ...(auxiliary === undefined ? {} : { AuxiliaryAddresses: auxiliary }),
      })),
    },
  };
}

function checkName(name: string): void {
  if (name === undefined || name === "") {
    throw new EngineError("invalid-argument", "invalid name: name is empty");
  }
  if (PREDEFINED.includes(name)) {
    throw new EngineError("forbidden", `operation is not permitted on predefined ${name} network `);
  }
  if (!NAME.test(name)) {
    throw new EngineError(
      "invalid-argument",
      `invalid network name "${name}": only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed`,
    );
  }
}

function interfaceName(chosen: string | undefined, id: string): string {
  if (chosen === undefined || chosen === "") return `br-${id.slice(0, 12)}`;
  // It becomes part of commands and rules.
  if (!INTERFACE_NAME.test(chosen) || !/^[\w.-]+$/.test(chosen) || chosen.startsWith(".")) {
    throw new EngineError("invalid-argument", `invalid interface name: ${chosen}`);
  }
  return chosen;
}

interface IpamContext extends SpecContext {
  readonly ipv4: boolean;
  readonly ipv6: boolean;
  readonly internal: boolean;
}

/** Chosen subnets as they are, and one of the pools per family where none is chosen. */
function planIpam(
  pools: readonly IpamPool[],
  context: IpamContext,
): { readonly records: readonly IpamRecord[]; readonly chosen: boolean } {
  const taken = [...context.networkSubnets];
  const chosen: IpamRecord[] = [];
  for (const pool of pools) {
    if ((pool.Subnet ?? "") === "") continue;
    const record = chosenPool(pool, taken);
    const subnet = parsePrefix(record.subnet);
    if (subnet?.family === 6 && !context.ipv6) continue;
    if (subnet?.family === 4 && !context.ipv4) continue;
    if (subnet !== undefined) taken.push(subnet);
    chosen.push(record);
  }
  const hasFamily = (six: boolean) => chosen.some(({ subnet }) => subnet.includes(":") === six);
  const records = [...chosen];
  if (context.ipv4 && !hasFamily(false))
    records.unshift(withGateway(cutIpv4(pools, taken, context)));
  if (context.ipv6 && !hasFamily(true)) records.push(withGateway({ subnet: context.localIpv6 }));
  return { records, chosen: chosen.length > 0 };
}

function cutIpv4(
  pools: readonly IpamPool[],
  taken: readonly Prefix[],
  context: IpamContext,
): { subnet: string } {
  const orphan = pools.find(({ Subnet, Gateway, IPRange }) => !Subnet && (Gateway || IPRange));
  if (orphan !== undefined) {
    throw new EngineError(
      "invalid-argument",
      "every ip-range or gateway must have a corresponding subnet",
    );
  }
  const subnet = cutSubnet(context.pools, [...taken, ...context.hostSubnets]);
  if (subnet === undefined) {
    throw new EngineError(
      "resource-exhausted",
      "could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network",
    );
  }
  return { subnet };
}

/** `route` false leaves a gateway that nobody chose to whoever uses the pool. */
function chosenPool(pool: IpamPool, taken: readonly Prefix[], route = true): IpamRecord {
  const parsed = parsePrefix(pool.Subnet ?? "");
  if (parsed === undefined) {
    throw new EngineError(
      "invalid-argument",
      `invalid network config:\ninvalid subnet ${pool.Subnet}: invalid CIDR block notation`,
    );
  }
  const subnet = networkOf(parsed);
  if (taken.some((other) => overlaps(subnet, other))) {
    throw new EngineError("forbidden", "Pool overlaps with other one on this address space");
  }
  const range = chosenRange(pool.IPRange, subnet);
  const gateway = chosenAddress("gateway", pool.Gateway, subnet);
  const auxiliary = Object.fromEntries(
    Object.entries(pool.AuxiliaryAddresses ?? {}).map(([name, address]) => [
      name,
      chosenAddress("auxiliary address", address, subnet) ?? "",
    ]),
  );
  const record: IpamRecord = {
    subnet: formatPrefix(subnet),
    ...(range === undefined ? {} : { range }),
    ...(gateway === undefined ? {} : { gateway }),
    ...(Object.keys(auxiliary).length === 0 ? {} : { auxiliary }),
  };
  return route ? withGateway(record) : record;
}

function chosenRange(text: string | undefined, subnet: Prefix): string | undefined {
  if (text === undefined || text === "") return undefined;
  const range = parsePrefix(text);
  if (range === undefined || !prefixContains(subnet, range) || range.length < subnet.length) {
    throw new EngineError(
      "invalid-argument",
      `invalid ip-range ${text}: it is not part of the subnet ${formatPrefix(subnet)}`,
    );
  }
  return formatPrefix(networkOf(range));
}

function chosenAddress(what: string, text: string | undefined, subnet: Prefix): string | undefined {
  if (text === undefined || text === "") return undefined;
  const bare = text.split("/")[0] ?? text;
  const address = canonicalAddress(bare);
  if (address === undefined || parseIp(bare) === undefined || !isUsable(subnet, address)) {
    throw new EngineError(
      "invalid-argument",
      `invalid ${what} ${text}: it is not an address of the subnet ${formatPrefix(subnet)}`,
    );
  }
  return address;
}

/** The first free address is the router's, unless one was chosen. */
export function withGateway(record: IpamRecord): IpamRecord {
  const subnet = parsePrefix(record.subnet);
  if (record.gateway !== undefined || subnet === undefined) return record;
  const taken = new Set(Object.values(record.auxiliary ?? {}));
  const range = record.range === undefined ? undefined : parsePrefix(record.range);
  const gateway = nextAddress({ subnet, range }, (address) => taken.has(address));
  return gateway === undefined ? record : { ...record, gateway };
}
