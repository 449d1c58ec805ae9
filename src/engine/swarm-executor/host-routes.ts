/**
 * Where this host's own routes lead, so that the swarm's networks keep clear of them: read from the
 * main routing tables as the kernel lists them in `/proc/net`, without a process. Default routes and
 * what never leaves a link say nothing; bridges of the swarm's networks are the swarm's own doing.
 */

import { readFile } from "node:fs/promises";
import { networkInterfaces } from "node:os";
import { formatIpv4, formatIpv6 } from "#model/ip.ts";

interface Route {
  readonly family: 4 | 6;
  readonly length: number;
  readonly cidr: string;
  readonly device: string;
}

/** Routes told of at most, the widest first: a host with more than that is a router. */
const ROUTES_MAX = 256;
const ADDRESSES_MAX = 64;
const LINK_LOCAL_V4 = /^169\.254\./;
/** fe80::/10, ff00::/8. */
const LINK_LOCAL_V6 = /^(fe[89ab]|ff)/;
/** Flag of a route to an address of this host itself (RTF_LOCAL). */
const LOCAL = 0x8000_0000;

/** The host's addresses in a fixed order, without loopback, link-local ones and devices of ours. */
export function readOwnAddresses(isOurs: (device: string) => boolean): string[] {
  const found = Object.entries(networkInterfaces()).flatMap(([device, addresses]) =>
    isOurs(device) ? [] : (addresses ?? []),
  );
  const told = found
    .filter(({ internal }) => !internal)
    .map(({ address }) => address)
    .filter((address) => !LINK_LOCAL_V4.test(address) && !LINK_LOCAL_V6.test(address));
  return [...new Set(told)].sort().slice(0, ADDRESSES_MAX);
}

/** CIDRs in a fixed order; devices for which `isOurs` says so are left out. */
export async function readHostRoutes(isOurs: (device: string) => boolean): Promise<string[]> {
  const read = (name: string) => readFile(`/proc/net/${name}`, "latin1").catch(() => "");
  const [v4, v6] = await Promise.all([read("route"), read("ipv6_route")]);
  return routesToTell([...ipv4Routes(v4), ...ipv6Routes(v6)], isOurs);
}

export function routesToTell(
  routes: readonly Route[],
  isOurs: (device: string) => boolean,
): string[] {
  const told = routes.filter(({ length, device, cidr }) => {
    if (length === 0 || device === "lo" || isOurs(device)) return false;
    return !LINK_LOCAL_V4.test(cidr) && !LINK_LOCAL_V6.test(cidr);
  });
  told.sort((a, b) => a.length - b.length || (a.cidr < b.cidr ? -1 : 1));
  return [...new Set(told.map(({ cidr }) => cidr))].slice(0, ROUTES_MAX);
}

/** Of `/proc/net/route`: hexadecimal words in the byte order of the machine, which is little-endian. */
export function ipv4Routes(text: string): Route[] {
  const routes: Route[] = [];
  for (const line of text.split("\n").slice(1)) {
    const [device = "", destination = "", , , , , , mask = ""] = line.split(/\s+/);
    if (destination.length !== 8 || mask.length !== 8) continue;
    const length = bitsOf(swapped(mask));
    routes.push({
      family: 4,
      length,
      cidr: `${formatIpv4(swapped(destination))}/${length}`,
      device,
    });
  }
  return routes;
}

/** Of `/proc/net/ipv6_route`, without routes to the host's own addresses. */
export function ipv6Routes(text: string): Route[] {
  const routes: Route[] = [];
  for (const line of text.split("\n")) {
    const fields = line.trim().split(/\s+/);
    const [destination = "", bits = ""] = fields;
    if (destination.length !== 32 || fields.length < 10) continue;
    if ((Number.parseInt(fields[8] ?? "", 16) & LOCAL) !== 0) continue;
    const length = Number.parseInt(bits, 16);
    const cidr = `${formatIpv6(BigInt(`0x${destination}`))}/${length}`;
    routes.push({ family: 6, length, cidr, device: fields[9] ?? "" });
  }
  return routes;
}

function swapped(word: string): number {
  const value = Number.parseInt(word, 16);
  const bytes = [value & 255, (value >>> 8) & 255, (value >>> 16) & 255, (value >>> 24) & 255];
  return bytes.reduce((sum, byte) => sum * 256 + byte, 0);
}

function bitsOf(mask: number): number {
  let bits = 0;
  for (let rest = mask >>> 0; rest !== 0; rest = (rest << 1) >>> 0) bits += 1;
  return bits;
}
