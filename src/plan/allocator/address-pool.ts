/**
 * The addresses of one subnet of a network. Network address, broadcast address (IPv4) and gateway
 * are never given out; a range narrows what is given out of itself, not what may be asked for.
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
import type { IPAMConfig } from "#wire/gen/swarmkit/types_pb.js";
import { NumberPool } from "./number-pool.ts";

/** Addresses counted per subnet at most: no network of a swarm comes near. */
const OFFSETS_MAX = 2 ** 24;

/** The addresses of one subnet, whoever says which there are. Addresses may come with a mask. */
export interface AddressSource {
  readonly subnet: Prefix;
  /** Without mask; "" = none. */
  readonly gateway: string;
  /** One that is free, with its mask, "10.0.1.5/24". */
  takeNext(): string | undefined;
  /** Takes over what an object of the store holds; false if it is taken or lies elsewhere. */
  occupy(address: string): boolean;
  /** Takes this very address if it can be had. */
  claim(address: string): boolean;
  release(address: string): boolean;
  /** The address in the form in which it is stored. */
  normal(address: string): string | undefined;
  contains(address: string): boolean;
}

export class AddressPool implements AddressSource {
  readonly subnet: Prefix;
  /** Without mask. */
  readonly gateway: string;
  readonly #offsets: NumberPool;
  readonly #range: NumberPool | undefined;

  constructor(subnet: Prefix, config: IPAMConfig) {
    this.subnet = baseOf(subnet);
    const bits = (subnet.family === 4 ? 32 : 128) - subnet.length;
    const size = bits >= 24 ? OFFSETS_MAX : 2 ** bits;
    this.#offsets = new NumberPool(1, Math.max(size - 2, 1));
    this.gateway = config.gateway === "" ? this.#addressAt(1) : config.gateway;
    this.occupy(this.gateway);
    this.#range = this.#rangeOf(config.range);
    for (const address of Object.values(config.reserved)) this.occupy(address);
  }

  /** Addresses in use, the gateway included. */
  get used(): number {
    return this.#offsets.used;
  }

  /** The next free address with its mask, "10.0.1.5/24". */
  takeNext(): string | undefined {
    const range = this.#range;
    if (range === undefined) {
      const offset = this.#offsets.takeNext();
      return offset === undefined ? undefined : this.#withMask(offset);
    }
    // The range pool counts what was tried; what a user or the gateway holds is skipped.
    for (;;) {
      const offset = range.takeNext();
      if (offset === undefined) return undefined;
      if (this.#offsets.take(offset)) return this.#withMask(offset);
    }
  }

  /** Takes this very address; false if it is taken or lies elsewhere. */
  occupy(address: string): boolean {
    const offset = this.#offsetOf(address);
    return offset !== undefined && this.#offsets.take(offset);
  }

  claim(address: string): boolean {
    return this.occupy(address);
  }

  /** Lets an address go. */
  release(address: string): boolean {
    const offset = this.#offsetOf(address);
    if (offset === undefined) return false;
    this.#range?.release(offset);
    return this.#offsets.release(offset);
  }

  /** The address in the form in which it is stored, with the mask of the subnet. */
  normal(address: string): string | undefined {
    const offset = this.#offsetOf(address);
    return offset === undefined ? undefined : this.#withMask(offset);
  }

  contains(address: string): boolean {
    const ip = parseIp(withoutMask(address));
    return ip !== undefined && prefixContains(this.subnet, ip);
  }

  #offsetOf(address: string): number | undefined {
    const ip = parseIp(withoutMask(address));
    if (ip === undefined || !prefixContains(this.subnet, ip)) return undefined;
    return distance(this.subnet, ip);
  }

  #rangeOf(text: string): NumberPool | undefined {
    const prefix = text === "" ? undefined : parsePrefix(text);
    if (prefix === undefined || !prefixContains(this.subnet, prefix)) return undefined;
    const start = distance(this.subnet, baseOf(prefix)) ?? 0;
    const bits = (prefix.family === 4 ? 32 : 128) - prefix.length;
    const size = bits >= 24 ? OFFSETS_MAX : 2 ** bits;
    const last = Math.min(start + size - 1, this.#offsets.last);
    return new NumberPool(Math.max(start, 1), last);
  }

  #addressAt(offset: number): string {
    return this.subnet.family === 4
      ? formatIpv4((this.subnet.value + offset) >>> 0)
      : formatIpv6(this.subnet.value + BigInt(offset));
  }

  #withMask(offset: number): string {
    return `${this.#addressAt(offset)}/${this.subnet.length}`;
  }
}

export function withoutMask(address: string): string {
  const at = address.indexOf("/");
  return at < 0 ? address : address.slice(0, at);
}

/** The prefix with its host bits cleared. */
export function baseOf(prefix: Prefix): Prefix {
  if (prefix.family === 4) {
    const size = 2 ** (32 - prefix.length);
    return { ...prefix, value: Math.floor(prefix.value / size) * size };
  }
  const shift = BigInt(128 - prefix.length);
  return { ...prefix, value: (prefix.value >> shift) << shift };
}

export function formatPrefix(prefix: Prefix): string {
  const address = prefix.family === 4 ? formatIpv4(prefix.value) : formatIpv6(prefix.value);
  return `${address}/${prefix.length}`;
}

function distance(from: Ip, to: Ip): number | undefined {
  if (from.family === 4) return to.family === 4 ? to.value - from.value : undefined;
  if (to.family !== 6) return undefined;
  const offset = to.value - from.value;
  return offset < BigInt(OFFSETS_MAX) ? Number(offset) : undefined;
}
