/**
 * Address bookkeeping of local networks, pure: which subnet a new network gets, and which address a
 * container. What is taken is told by the caller, who derives it from what is recorded: nothing here
 * can leak or be given twice.
 */

import {
  formatIpv4,
  formatIpv6,
  type Ip,
  type Prefix,
  parseIp,
  parsePrefix,
  prefixContains,
} from "#model/ip.ts";

export interface SubnetPool {
  /** CIDR. */
  readonly base: string;
  /** Prefix length of the subnets cut from it. */
  readonly size: number;
}

/** Docker's local pools. */
export const DEFAULT_POOLS: readonly SubnetPool[] = [
  { base: "172.17.0.0/16", size: 16 },
  { base: "172.18.0.0/16", size: 16 },
  { base: "172.19.0.0/16", size: 16 },
  { base: "172.20.0.0/14", size: 16 },
  { base: "172.24.0.0/14", size: 16 },
  { base: "172.28.0.0/14", size: 16 },
  { base: "192.168.0.0/16", size: 20 },
];

/** A pool's subnets are looked through one by one; beyond this it is as good as endless. */
const CUTS_MAX = 65_536n;

const widthOf = (family: 4 | 6) => (family === 4 ? 32 : 128);

/** The first subnet of the pools that overlaps with nothing that is taken. */
export function cutSubnet(
  pools: readonly SubnetPool[],
  taken: readonly Prefix[],
): string | undefined {
  for (const pool of pools) {
    const base = parsePrefix(pool.base);
    if (base === undefined || pool.size < base.length) continue;
    const network = networkOf(base);
    const width = widthOf(base.family);
    const step = 1n << BigInt(width - pool.size);
    const count = 1n << BigInt(pool.size - base.length);
    for (let cut = 0n; cut < count && cut < CUTS_MAX; cut += 1n) {
      const value = BigInt(network.value) + cut * step;
      const subnet = prefixAt(base.family, value, pool.size);
      if (!taken.some((other) => overlaps(subnet, other))) return formatPrefix(subnet);
    }
  }
  return undefined;
}

export interface AddressSpace {
  readonly subnet: Prefix;
  /** Addresses are handed out of this part; those asked for may lie outside it. */
  readonly range: Prefix | undefined;
}

/** The lowest free address; undefined when the range is full. */
export function nextAddress(
  space: AddressSpace,
  isTaken: (address: string) => boolean,
): string | undefined {
  const { first, last } = boundsOf(networkOf(space.range ?? space.subnet));
  const usable = usableBounds(space.subnet);
  const end = last < usable.last ? last : usable.last;
  for (let value = first > usable.first ? first : usable.first; value <= end; value += 1n) {
    const address = formatAddress(space.subnet.family, value);
    if (!isTaken(address)) return address;
  }
  return undefined;
}

/** True for an address that a host of the subnet may have. */
export function isUsable(subnet: Prefix, address: string): boolean {
  const ip = parseIp(address);
  if (ip === undefined || !prefixContains(subnet, ip)) return false;
  const { first, last } = usableBounds(subnet);
  return BigInt(ip.value) >= first && BigInt(ip.value) <= last;
}

/** Without the network's own address and, in IPv4, the broadcast address. */
function usableBounds(subnet: Prefix): { first: bigint; last: bigint } {
  const { first, last } = boundsOf(networkOf(subnet));
  if (last - first < 2n) return { first, last };
  return { first: first + 1n, last: subnet.family === 4 ? last - 1n : last };
}

function boundsOf(network: Prefix): { first: bigint; last: bigint } {
  const first = BigInt(network.value);
  return { first, last: first + (1n << BigInt(widthOf(network.family) - network.length)) - 1n };
}

/** The prefix with the host's bits cleared. */
export function networkOf(prefix: Prefix): Prefix {
  const shift = BigInt(widthOf(prefix.family) - prefix.length);
  return prefixAt(prefix.family, (BigInt(prefix.value) >> shift) << shift, prefix.length);
}

function prefixAt(family: 4 | 6, value: bigint, length: number): Prefix {
  return family === 4 ? { family, value: Number(value), length } : { family, value, length };
}

export function overlaps(a: Prefix, b: Prefix): boolean {
  const [wide, narrow] = a.length <= b.length ? [a, b] : [b, a];
  return prefixContains(wide, narrow);
}

export function formatPrefix(prefix: Prefix): string {
  return `${formatAddress(prefix.family, BigInt(prefix.value))}/${prefix.length}`;
}

export function formatAddress(family: 4 | 6, value: bigint): string {
  return family === 4 ? formatIpv4(Number(value)) : formatIpv6(value);
}

/** The one way to write an address, to compare by; undefined when it is none. */
export function canonicalAddress(text: string): string | undefined {
  const ip: Ip | undefined = parseIp(text);
  return ip === undefined ? undefined : formatAddress(ip.family, BigInt(ip.value));
}

/** 02:42 and the address: unique on the network, and the same after a restart. */
export function macOf(ipv4: string): string {
  const ip = parseIp(ipv4);
  const value = ip?.family === 4 ? ip.value : 0;
  const bytes = [value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255];
  return ["02", "42", ...bytes.map((byte) => byte.toString(16).padStart(2, "0"))].join(":");
}
