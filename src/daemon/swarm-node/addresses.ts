/**
 * Which addresses a node listens on and tells others, from what the operator wrote: an IP address or
 * the name of an interface, with or without a port, or nothing at all. Docker's rules and messages:
 * where there is no single right answer it refuses and says between which addresses to choose.
 */

import { BlockList, isIP, isIPv4 } from "node:net";
import { badRequest } from "./errors.ts";

export const DEFAULT_PORT = 2377;
const DEFAULT_DATA_PATH_PORT = 4789;
const SUBNET_SIZE_MAX = 29;

export interface InterfaceAddress {
  readonly address: string;
  readonly internal: boolean;
}

/** What the machine has; real or made up. */
export interface HostAddresses {
  /** By interface name, those that are up. */
  readonly interfaces: Readonly<Record<string, readonly InterfaceAddress[]>>;
  /** Names of interfaces that are hardware (or pass for it), not made by software. */
  readonly devices: ReadonlySet<string>;
  /** CIDRs of this engine's own networks: their gateways are no addresses of the node. */
  readonly ownSubnets: readonly string[];
  /** `--swarm-default-advertise-addr`; empty when not set. */
  readonly defaultAdvertiseAddr: string;
}

export interface HostPort {
  readonly host: string;
  readonly port: number;
}

export function formatHostPort({ host, port }: HostPort): string {
  return isIP(host) === 6 ? `[${host}]:${port}` : `${host}:${port}`;
}

/** `host`, `host:port`, `[v6]:port`, `:port`; undefined when it is none of them. */
export function splitHostPort(text: string): { host: string; port?: number } | undefined {
  if (isIP(text) !== 0) return { host: text };
  const match = /^(?:\[([^\]]*)\]|([^:[\]]*))(?::(\d{1,5}))?$/.exec(text);
  if (match === null) return undefined;
  const host = match[1] ?? match[2] ?? "";
  const port = match[3] === undefined ? undefined : Number(match[3]);
  if (port !== undefined && port > 65_535) return undefined;
  return port === undefined ? { host } : { host, port };
}

export function resolveListenAddr(specified: string, machine: HostAddresses): HostPort {
  const parts = splitHostPort(specified === "" ? `0.0.0.0:${DEFAULT_PORT}` : specified);
  if (parts === undefined) throw badRequest(`could not parse listen address ${specified}`);
  const port = parts.port ?? DEFAULT_PORT;
  const host = parts.host === "" ? "0.0.0.0" : parts.host;
  const own = interfaceAddress(host, machine);
  if (own !== undefined) return { host: own, port };
  if (isIP(host) === 0) {
    throw badRequest(
      "listen address must be an IP address or network interface (with optional port number)",
    );
  }
  return { host, port };
}

export function resolveAdvertiseAddr(
  specified: string,
  listenPort: number,
  machine: HostAddresses,
): HostPort {
  if (specified !== "") {
    const parts = splitHostPort(specified) ?? { host: specified };
    const message =
      "advertise address must be a non-zero IP address or network interface (with optional port number)";
    return { host: ownOrIp(parts.host, machine, message), port: parts.port ?? listenPort };
  }
  if (machine.defaultAdvertiseAddr !== "") {
    const message =
      "default advertise address must be a non-zero IP address or network interface (without a port number)";
    return { host: ownOrIp(machine.defaultAdvertiseAddr, machine, message), port: listenPort };
  }
  return { host: systemAddress(machine), port: listenPort };
}

/** Empty stays empty: the data path then uses the advertised address. */
export function resolveDataPathAddr(specified: string, machine: HostAddresses): string {
  if (specified === "") return "";
  return ownOrIp(
    specified,
    machine,
    "data path address must be a non-zero IP address or network interface (without a port number)",
  );
}

/** The address that connections of this node come from, as far as it can be known beforehand. */
export function localAddress(
  listenHost: string,
  advertiseHost: string,
  machine: HostAddresses,
): string {
  if (!isUnspecified(listenHost)) return listenHost;
  const all = Object.values(machine.interfaces).flat();
  if (all.some(({ address }) => address === advertiseHost)) return advertiseHost;
  try {
    return systemAddress(machine);
  } catch {
    throw badRequest(
      "must specify a listening address because the address to advertise is not recognized as a system address, and a system's IP address to use could not be uniquely identified",
    );
  }
}

export function dataPathPort(port: number): number {
  if (port === 0) return DEFAULT_DATA_PATH_PORT;
  if (port < 1024 || port > 49_151) {
    throw badRequest(`Datapath port number is not in valid range (1024-49151) : ${port}`);
  }
  return port;
}

export function checkAddressPool(pool: readonly string[], subnetSize: number): void {
  if (pool.length === 0) return;
  const size = subnetSize === 0 ? 24 : subnetSize;
  if (size > SUBNET_SIZE_MAX) throw badRequest(`subnet size is out of range: ${size}`);
  for (const cidr of pool) {
    const prefix = prefixLength(cidr);
    if (prefix === undefined) {
      throw badRequest(`invalid base pool ${cidr}: invalid CIDR address: ${cidr}`);
    }
    if (size < prefix) {
      throw badRequest(
        `invalid CIDR: ${JSON.stringify(cidr)}. Subnet size is too small for pool: ${size}`,
      );
    }
  }
}

export function isUnspecified(host: string): boolean {
  return host === "0.0.0.0" || /^[0:]+$/.test(host);
}

function ownOrIp(host: string, machine: HostAddresses, message: string): string {
  const own = interfaceAddress(host, machine);
  if (own !== undefined) return own;
  if (isIP(host) === 0 || isUnspecified(host)) throw badRequest(message);
  return host;
}

/** The one address of the interface, IPv4 before IPv6; undefined when there is no such interface. */
function interfaceAddress(name: string, machine: HostAddresses): string | undefined {
  const addresses = machine.interfaces[name];
  if (addresses === undefined) return undefined;
  const found: { 4?: string; 6?: string } = {};
  for (const { address } of addresses) {
    const family = isIPv4(address) ? 4 : 6;
    const other = found[family];
    if (other !== undefined) {
      throw badRequest(
        `interface ${name} has more than one IPv${family} address (${other} and ${address})`,
      );
    }
    found[family] = address;
  }
  const chosen = found[4] ?? found[6];
  if (chosen === undefined) {
    throw badRequest(`interface ${name} has no usable IPv4 or IPv6 address`);
  }
  return chosen;
}

/** The system's one address, on its devices; where it has none, on interfaces not of our making. */
function systemAddress(machine: HostAddresses): string {
  const names = Object.keys(machine.interfaces).filter((name) => hasGlobal(machine, name));
  const devices = names.filter((name) => machine.devices.has(name));
  let found: { address: string; name: string } | undefined;
  for (const name of devices.length > 0 ? devices : names) {
    const address = globalAddress(name, machine);
    if (address === undefined) continue;
    if (found !== undefined) {
      throw badRequest(
        `could not choose an IP address to advertise since this system has multiple addresses on different interfaces (${found.address} on ${found.name} and ${address} on ${name})`,
      );
    }
    found = { address, name };
  }
  if (found === undefined) throw badRequest("could not find the system's IP address");
  return found.address;
}

function globalAddress(name: string, machine: HostAddresses): string | undefined {
  const own = blockListOf(machine.ownSubnets);
  const found: { 4?: string; 6?: string } = {};
  for (const { address } of machine.interfaces[name]?.filter(isGlobal) ?? []) {
    const family = isIPv4(address) ? 4 : 6;
    if (own.check(address, family === 4 ? "ipv4" : "ipv6")) return undefined;
    const other = found[family];
    if (other !== undefined) {
      throw badRequest(
        `could not choose an IP address to advertise since this system has multiple addresses on interface ${name} (${other} and ${address})`,
      );
    }
    found[family] = address;
  }
  return found[4] ?? found[6];
}

function hasGlobal(machine: HostAddresses, name: string): boolean {
  return machine.interfaces[name]?.some(isGlobal) ?? false;
}

function isGlobal({ address, internal }: InterfaceAddress): boolean {
  if (internal || isUnspecified(address)) return false;
  return !/^(127\.|169\.254\.|22[4-9]\.|23\d\.|::1$|fe[89ab][0-9a-f]:|ff)/i.test(address);
}

function blockListOf(subnets: readonly string[]): BlockList {
  const list = new BlockList();
  for (const cidr of subnets) {
    const prefix = prefixLength(cidr);
    const network = cidr.split("/")[0] ?? "";
    if (prefix !== undefined) list.addSubnet(network, prefix, isIPv4(network) ? "ipv4" : "ipv6");
  }
  return list;
}

function prefixLength(cidr: string): number | undefined {
  const [network = "", length = ""] = cidr.split("/");
  const family = isIP(network);
  if (family === 0 || !/^\d{1,3}$/.test(length)) return undefined;
  const prefix = Number(length);
  return prefix <= (family === 4 ? 32 : 128) ? prefix : undefined;
}
