/**
 * IP addresses and prefixes as numbers. IPv4 is a plain 32-bit unsigned integer, which is what the
 * allocator counts with; IPv6 is a bigint. What cannot be parsed is undefined, never a guess: there
 * are no shortened IPv4 forms, no octal, no zones.
 */

/** An IPv4 address as an unsigned integer. */
export function parseIpv4(text: string): number | undefined {
  const parts = text.split(".");
  if (parts.length !== 4) return undefined;
  let value = 0;
  for (const part of parts) {
    if (!/^(0|[1-9]\d{0,2})$/.test(part)) return undefined;
    const byte = Number(part);
    if (byte > 255) return undefined;
    value = value * 256 + byte;
  }
  return value;
}

export function formatIpv4(value: number): string {
  return `${(value >>> 24) & 255}.${(value >>> 16) & 255}.${(value >>> 8) & 255}.${value & 255}`;
}

export function parseIpv6(text: string): bigint | undefined {
  const halves = expandEmbeddedIpv4(text)?.split("::");
  if (halves === undefined || halves.length > 2) return undefined;
  const [head = "", tail] = halves;
  const front = groupsOf(head);
  const back = tail === undefined ? [] : groupsOf(tail);
  if (front === undefined || back === undefined) return undefined;
  const missing = 8 - front.length - back.length;
  if (tail === undefined ? missing !== 0 : missing < 1) return undefined;
  const groups = [...front, ...Array<number>(missing).fill(0), ...back];
  return groups.reduce((value, group) => (value << 16n) | BigInt(group), 0n);
}

/** The canonical form: longest run of zero groups shortened, lower case. */
export function formatIpv6(value: bigint): string {
  const groups: string[] = [];
  for (let shift = 112n; shift >= 0n; shift -= 16n) {
    groups.push(((value >> shift) & 0xffffn).toString(16));
  }
  const { start, length } = longestZeroRun(groups);
  if (length < 2) return groups.join(":");
  return `${groups.slice(0, start).join(":")}::${groups.slice(start + length).join(":")}`;
}

/** An address of either family. */
export type Ip =
  | { readonly family: 4; readonly value: number }
  | { readonly family: 6; readonly value: bigint };

export function parseIp(text: string): Ip | undefined {
  const v4 = parseIpv4(text);
  if (v4 !== undefined) return { family: 4, value: v4 };
  const v6 = parseIpv6(text);
  if (v6 === undefined) return undefined;
  // An IPv4 address inside IPv6 is the IPv4 address.
  if (v6 >> 32n === 0xffffn) return { family: 4, value: Number(v6 & 0xffffffffn) };
  return { family: 6, value: v6 };
}

export type Prefix = Ip & { readonly length: number };

/** "10.0.0.7/8": the address as written, and how many bits of it name the network. */
export function parsePrefix(text: string): Prefix | undefined {
  const [address = "", bits, rest] = text.split("/");
  if (bits === undefined || rest !== undefined || !/^\d{1,3}$/.test(bits)) return undefined;
  const ip = parseIp(address);
  const length = Number(bits);
  if (ip === undefined || length > (ip.family === 4 ? 32 : 128)) return undefined;
  return { ...ip, length };
}

/** Whether the address lies in the network of the prefix. */
export function prefixContains(prefix: Prefix, ip: Ip): boolean {
  if (prefix.family === 4) {
    if (ip.family !== 4) return false;
    const size = 2 ** (32 - prefix.length);
    return Math.floor(prefix.value / size) === Math.floor(ip.value / size);
  }
  if (ip.family !== 6) return false;
  const shift = BigInt(128 - prefix.length);
  return prefix.value >> shift === ip.value >> shift;
}

/** Whether they share an address: then one lies within the other. */
export function prefixesOverlap(a: Prefix, b: Prefix): boolean {
  return a.length <= b.length ? prefixContains(a, b) : prefixContains(b, a);
}

function expandEmbeddedIpv4(text: string): string | undefined {
  if (!text.includes(".")) return text;
  const at = text.lastIndexOf(":");
  const v4 = parseIpv4(text.slice(at + 1));
  if (at < 0 || v4 === undefined) return undefined;
  const hex = `${(v4 >>> 16).toString(16)}:${(v4 & 0xffff).toString(16)}`;
  return text.slice(0, at + 1) + hex;
}

function groupsOf(text: string): number[] | undefined {
  if (text === "") return [];
  const groups = text.split(":");
  if (groups.some((group) => !/^[0-9a-fA-F]{1,4}$/.test(group))) return undefined;
  return groups.map((group) => Number.parseInt(group, 16));
}

function longestZeroRun(groups: readonly string[]): { start: number; length: number } {
  let best = { start: 0, length: 0 };
  let start = 0;
  for (let at = 0; at <= groups.length; at++) {
    if (groups[at] === "0") continue;
    if (at - start > best.length) best = { start, length: at - start };
    start = at + 1;
  }
  return best;
}
