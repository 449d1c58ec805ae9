/**
 * Slows down those who try tokens. Per address, some failures are free; after them each further
 * attempt has to wait, longer with every failure. Of IPv6 a whole /64 counts as one address: that is
 * what any one host can choose from. Memory is bounded: the oldest addresses go first, so an attacker
 * with many addresses gains free tries, never memory.
 */

import type { Clock } from "#base/ports.ts";
import { formatIpv4, formatIpv6, parseIp } from "#model/ip.ts";

const FREE_FAILURES = 10;
const FIRST_WAIT_MS = 1_000;
const MAX_WAIT_MS = 60_000;
/** Failures are forgotten when this long nothing failed. */
const FORGET_MS = 10 * 60_000;
const ADDRESSES_MAX = 4_096;

interface Record {
  failures: number;
  lastMs: number;
}

export class Guesses {
  readonly #clock: Clock;
  /** In order of the last failure, oldest first. */
  readonly #records = new Map<string, Record>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Milliseconds until this address may try again; 0 means now. */
  waitMs(peerAddress: string): number {
    const record = this.#records.get(guesserOf(peerAddress));
    if (record === undefined) return 0;
    const since = this.#clock.monotonicMs() - record.lastMs;
    if (since >= FORGET_MS || record.failures < FREE_FAILURES) return 0;
    const doublings = Math.min(record.failures - FREE_FAILURES, 16);
    const wait = Math.min(MAX_WAIT_MS, FIRST_WAIT_MS * 2 ** doublings);
    return Math.max(0, wait - since);
  }

  failed(peerAddress: string): void {
    const host = guesserOf(peerAddress);
    const now = this.#clock.monotonicMs();
    const known = this.#records.get(host);
    const fresh = known === undefined || now - known.lastMs >= FORGET_MS;
    this.#records.delete(host);
    this.#records.set(host, { failures: fresh ? 1 : known.failures + 1, lastMs: now });
    const oldest = this.#records.keys().next().value;
    if (this.#records.size > ADDRESSES_MAX && oldest !== undefined) this.#records.delete(oldest);
  }
}

/** Whom a failure is counted for. */
export function guesserOf(peerAddress: string): string {
  const [host = ""] = hostOf(peerAddress)
    .replace(/^\[|\]$/g, "")
    .split("%");
  const ip = parseIp(host);
  if (ip === undefined) return host;
  return ip.family === 4 ? formatIpv4(ip.value) : `${formatIpv6((ip.value >> 64n) << 64n)}/64`;
}

/** "ip:port" without the port: the ports of one guesser differ. */
export function hostOf(peerAddress: string): string {
  const colon = peerAddress.lastIndexOf(":");
  return colon < 0 ? peerAddress : peerAddress.slice(0, colon);
}
