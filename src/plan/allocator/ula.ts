/**
 * The IPv6 addresses of a swarm: a unique local prefix (RFC 4193) of its own, fd and 40 bits that are
 * as good as random, of which each network that wants IPv6 gets a /64. The bits follow from the
 * swarm's id, so that all managers mean the same without it being stored.
 */

import { formatIpv6 } from "#model/ip.ts";

const FNV_OFFSET = 0xcbf29ce484222325n;
const FNV_PRIME = 0x100000001b3n;
const MASK_64 = (1n << 64n) - 1n;

/** "fd12:3456:789a::/48". */
export function ulaPool(clusterId: string): string {
  let hash = FNV_OFFSET;
  for (const byte of new TextEncoder().encode(clusterId)) {
    hash = ((hash ^ BigInt(byte)) * FNV_PRIME) & MASK_64;
  }
  // Folded, because the low bits of this hash are the better ones, and all count.
  const globalId = (hash ^ (hash >> 40n)) & ((1n << 40n) - 1n);
  return `${formatIpv6((0xfdn << 120n) | (globalId << 80n))}/48`;
}
