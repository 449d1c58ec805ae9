/**
 * Subnets of the swarm's networks. No two overlap: those that users choose are checked, those that
 * nobody chose are cut from the default pools, lowest first.
 */

import { type Prefix, parsePrefix, prefixContains } from "#model/ip.ts";
import { baseOf, formatPrefix } from "./address-pool.ts";
import { NumberPool } from "./number-pool.ts";

interface Pool {
  readonly base: number;
  /** Addresses of one cut. */
  readonly cutSize: number;
  readonly cuts: NumberPool;
  /** How many subnets touch a cut, where users' subnets are smaller than it. */
  readonly holders: Map<number, number>;
}

export class SubnetSpace {
  readonly #pools: readonly Pool[];
  readonly #cutLength: number;
  readonly #used = new Map<string, Prefix>();

  constructor(pools: readonly string[], subnetSize: number) {
    this.#cutLength = subnetSize;
    this.#pools = pools.flatMap((text) => poolOf(text, subnetSize));
  }

  get used(): number {
    return this.#used.size;
  }

  /** The first free cut of the pools, "10.0.3.0/24", marked as used. */
  cut(): string | undefined {
    for (const pool of this.#pools) {
      const index = pool.cuts.takeLowest();
      if (index === undefined) continue;
      pool.cuts.release(index);
      const value = pool.base + index * pool.cutSize;
      const subnet = formatPrefix({ family: 4, value, length: this.#cutLength });
      this.occupy(subnet);
      return subnet;
    }
    return undefined;
  }

  /** Marks a subnet; false if it overlaps with one in use, or is none. */
  occupy(subnet: string): boolean {
    const parsed = parsePrefix(subnet);
    if (parsed === undefined) return false;
    const prefix = baseOf(parsed);
    for (const other of this.#used.values()) if (overlap(prefix, other)) return false;
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
    if (prefix.family !== 4) return;
    const size = 2 ** (32 - prefix.length);
    for (const pool of this.#pools) {
      const from = Math.floor((prefix.value - pool.base) / pool.cutSize);
      const to = Math.floor((prefix.value + size - 1 - pool.base) / pool.cutSize);
      for (let at = Math.max(from, 0); at <= Math.min(to, pool.cuts.last); at++) {
        const holders = (pool.holders.get(at) ?? 0) + by;
        pool.holders.set(at, holders);
        if (holders > 0) pool.cuts.take(at);
        else pool.cuts.release(at);
      }
    }
  }
}

function poolOf(text: string, subnetSize: number): Pool[] {
  const prefix = parsePrefix(text);
  // Pools were checked when the swarm was made; one that this version cannot use is left out.
  if (prefix?.family !== 4 || prefix.length > subnetSize) return [];
  const count = 2 ** (subnetSize - prefix.length);
  return [
    {
      base: Number(baseOf(prefix).value),
      cutSize: 2 ** (32 - subnetSize),
      cuts: new NumberPool(0, count - 1),
      holders: new Map(),
    },
  ];
}

function overlap(a: Prefix, b: Prefix): boolean {
  return prefixContains(a, b) || prefixContains(b, a);
}
