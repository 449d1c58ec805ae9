/**
 * Subnets of the swarm's networks. No two overlap: those that users choose are checked, those that
 * nobody chose are cut from the default pools, lowest first. Cuts keep clear of where the routes of
 * the nodes lead, as far as there is a choice.
 */

import { type Prefix, parsePrefix, prefixesOverlap } from "#model/ip.ts";
import { baseOf, formatPrefix } from "./address-pool.ts";
import { NumberPool } from "./number-pool.ts";

interface Pool {
  readonly prefix: Prefix;
  /** Prefix length of a cut. */
  readonly cutLength: number;
  readonly cuts: NumberPool;
  /** How many subnets touch a cut, where users' subnets are smaller than it. */
  readonly holders: Map<number, number>;
}

/** Subnets of an IPv6 pool, and cuts that are counted of any pool. */
const IPV6_CUT_LENGTH = 64;
const CUTS_MAX = 2 ** 24;

export class SubnetSpace {
  readonly #pools: readonly Pool[];
  readonly #used = new Map<string, Prefix>();

  /** `subnetSize` is the prefix length of IPv4 cuts; those of IPv6 are /64. */
  constructor(pools: readonly string[], subnetSize: number) {
    this.#pools = pools.flatMap((text) => poolOf(text, subnetSize));
  }

  get used(): number {
    return this.#used.size;
  }

  /** The first free cut of the pools, "10.0.3.0/24", marked as used. */
  cut(family: 4 | 6 = 4, routes: readonly Prefix[] = []): string | undefined {
    const pools = this.#pools.filter(({ prefix }) => prefix.family === family);
    for (const { avoid } of ATTEMPTS) {
      for (const pool of pools) {
        const index = freeCut(pool, avoid(pool, routes));
        if (index === undefined) continue;
        const subnet = formatPrefix(cutAt(pool, index));
        this.occupy(subnet);
        return subnet;
      }
    }
    return undefined;
  }

  /** Marks a subnet; false if it overlaps with one in use, or is none. */
  occupy(subnet: string): boolean {
    const parsed = parsePrefix(subnet);
    if (parsed === undefined) return false;
    const prefix = baseOf(parsed);
    for (const other of this.#used.values()) if (prefixesOverlap(prefix, other)) return false;
    this.#used.set(formatPrefix(prefix), prefix);
    this.#hold(prefix, 1);
    return true;
  }

  release(subnet: string): boolean {
    const parsed = parsePrefix(subnet);
    if (parsed === undefined) return false;
    const prefix = baseOf(parsed);
    if (!this.#used.delete(formatPrefix(prefix))) return false;
    this.#hold(prefix, -1);
    return true;
  }

  #hold(prefix: Prefix, by: number): void {
    for (const pool of this.#pools) {
      const range = cutsOf(pool, prefix);
      if (range === undefined) continue;
      for (let at = range.first; at <= range.last; at++) {
        const holders = (pool.holders.get(at) ?? 0) + by;
        if (holders > 0) {
          pool.holders.set(at, holders);
          pool.cuts.take(at);
        } else {
          pool.holders.delete(at);
          pool.cuts.release(at);
        }
      }
    }
  }
}

/**
 * A route as wide as a whole pool (a VPN for all of 10.0.0.0/8) leaves nothing of it; then what lies
 * between the narrower ones is the better choice, and anything is better than no network.
 */
const ATTEMPTS: readonly {
  readonly avoid: (pool: Pool, routes: readonly Prefix[]) => readonly Prefix[];
}[] = [
  { avoid: (_pool, routes) => routes },
  { avoid: ({ prefix }, routes) => routes.filter(({ length }) => length > prefix.length) },
  { avoid: () => [] },
];

/** The lowest cut that is free and overlaps with none of `routes`. */
function freeCut(pool: Pool, routes: readonly Prefix[]): number | undefined {
  const barred = routes.flatMap((route) => cutsOf(pool, route) ?? []);
  barred.sort((a, b) => a.first - b.first);
  let from = 0;
  for (const { first, last } of barred) {
    const index = lowestFree(pool.cuts, from, first - 1);
    if (index !== undefined) return index;
    from = Math.max(from, last + 1);
  }
  return lowestFree(pool.cuts, from, pool.cuts.last);
}

function lowestFree(cuts: NumberPool, first: number, last: number): number | undefined {
  for (let at = first; at <= last; at++) if (!cuts.has(at)) return at;
  return undefined;
}

function cutAt({ prefix, cutLength }: Pool, index: number): Prefix {
  if (prefix.family === 4) {
    const value = prefix.value + index * 2 ** (32 - cutLength);
    return { family: 4, value, length: cutLength };
  }
  const value = prefix.value + (BigInt(index) << BigInt(128 - cutLength));
  return { family: 6, value, length: cutLength };
}

/** The cuts of the pool that the prefix touches. */
function cutsOf(
  { prefix: pool, cutLength, cuts }: Pool,
  prefix: Prefix,
): { readonly first: number; readonly last: number } | undefined {
  if (!prefixesOverlap(pool, prefix)) return undefined;
  if (prefix.length <= pool.length) return { first: cuts.first, last: cuts.last };
  const first = cutIndex(pool, cutLength, prefix);
  const count = prefix.length >= cutLength ? 1 : 2 ** (cutLength - prefix.length);
  return { first, last: Math.min(first + count - 1, cuts.last) };
}

function cutIndex(pool: Prefix, cutLength: number, prefix: Prefix): number {
  if (pool.family === 4 && prefix.family === 4) {
    return Math.floor((prefix.value - pool.value) / 2 ** (32 - cutLength));
  }
  if (pool.family === 6 && prefix.family === 6) {
    return Number((prefix.value - pool.value) >> BigInt(128 - cutLength));
  }
  return 0;
}

function poolOf(text: string, subnetSize: number): Pool[] {
  const parsed = parsePrefix(text);
  if (parsed === undefined) return [];
  const prefix = baseOf(parsed);
  const cutLength = prefix.family === 4 ? subnetSize : IPV6_CUT_LENGTH;
  // Pools were checked when the swarm was made; one that this version cannot use is left out.
  if (prefix.length > cutLength) return [];
  const count = Math.min(2 ** (cutLength - prefix.length), CUTS_MAX);
  return [{ prefix, cutLength, cuts: new NumberPool(0, count - 1), holders: new Map() }];
}
