/**
 * The addresses that a plug-in has given for one network: which of them are in use, and which are
 * there to be used. A pool of such a network hands out only these.
 */

import { formatIpv4, formatIpv6, type Prefix, parseIp, prefixContains } from "#model/ip.ts";
import type { AddressLease } from "#model/lease.ts";
import { type AddressSource, baseOf, withoutMask } from "./address-pool.ts";

/** One address that has been given. */
export interface Stocked {
  readonly leaseId: string;
  readonly address: string;
  readonly family: 4 | 6;
  /** Somebody wants this very address. */
  readonly chosen: boolean;
}

export class LeaseStock {
  /** The plug-in, and why it gives no more; for messages. */
  driver = "";
  error = "";
  readonly #given = new Map<string, Stocked>();
  readonly #free = new Map<string, Stocked>();
  readonly #used = new Set<string>();
  readonly #wishes = new Map<string, string>();
  readonly #changed: () => void;

  constructor(changed: () => void) {
    this.#changed = changed;
  }

  get free(): Iterable<Stocked> {
    return this.#free.values();
  }

  /** Whether it may be forgotten. */
  get isEmpty(): boolean {
    return this.#given.size === 0 && this.#used.size === 0;
  }

  put(id: string, { address, family, wish }: AddressLease): void {
    const stocked = {
      leaseId: id,
      address,
      family: family === 6 ? 6 : 4,
      chosen: wish !== "",
    } as const;
    this.#given.set(address, stocked);
    if (!this.#used.has(address)) this.#free.set(address, stocked);
    this.#changed();
  }

  drop(address: string): void {
    this.#given.delete(address);
    this.#free.delete(address);
    this.#changed();
  }

  isGiven(address: string): boolean {
    return this.#given.has(address);
  }

  use(address: string): boolean {
    if (this.#used.has(address)) return false;
    this.#used.add(address);
    this.#free.delete(address);
    this.#changed();
    return true;
  }

  /** What is let go is used again as late as possible, if the plug-in does not get it back. */
  letGo(address: string): boolean {
    if (!this.#used.delete(address)) return false;
    const stocked = this.#given.get(address);
    if (stocked !== undefined) this.#free.set(address, stocked);
    this.#changed();
    return true;
  }

  /** What the plug-in says about an address that somebody wishes for. */
  noteWish(address: string, error: string | undefined): void {
    if (error === undefined) this.#wishes.delete(address);
    else this.#wishes.set(address, error);
  }

  /** What those say who wait for an address, or for this very one. */
  reason(wish = ""): string {
    const what = wish === "" ? "an address" : `address ${wish}`;
    const error = (wish === "" ? undefined : this.#wishes.get(wish)) || this.error;
    return `waits for ${what} of IPAM driver ${this.driver}${error === "" ? "" : `: ${error}`}`;
  }
}

/** One subnet of a network whose addresses a plug-in gives. */
export class LeasedPool implements AddressSource {
  readonly subnet: Prefix;
  readonly gateway: string;
  readonly #stock: LeaseStock;

  constructor(subnet: Prefix, gateway: string, stock: LeaseStock) {
    this.subnet = baseOf(subnet);
    this.gateway = gateway;
    this.#stock = stock;
  }

  takeNext(): string | undefined {
    for (const { address, chosen } of this.#stock.free) {
      if (chosen || !this.contains(address)) continue;
      this.#stock.use(address);
      return `${address}/${this.subnet.length}`;
    }
    return undefined;
  }

  /** Also one that is not there any more: who holds it, holds it. */
  occupy(address: string): boolean {
    const bare = canonicalIp(address);
    return bare !== undefined && this.contains(bare) && this.#stock.use(bare);
  }

  claim(address: string): boolean {
    const bare = canonicalIp(address);
    return bare !== undefined && this.#stock.isGiven(bare) && this.occupy(bare);
  }

  release(address: string): boolean {
    const bare = canonicalIp(address);
    return bare !== undefined && this.#stock.letGo(bare);
  }

  normal(address: string): string | undefined {
    const bare = canonicalIp(address);
    return bare === undefined || !this.contains(bare) ? undefined : `${bare}/${this.subnet.length}`;
  }

  contains(address: string): boolean {
    const ip = parseIp(withoutMask(address));
    return ip !== undefined && prefixContains(this.subnet, ip);
  }
}

/** Without mask, in the one way of writing that leases have; undefined for what is no address. */
export function canonicalIp(address: string): string | undefined {
  const ip = parseIp(withoutMask(address));
  if (ip === undefined) return undefined;
  return ip.family === 4 ? formatIpv4(ip.value) : formatIpv6(ip.value);
}
