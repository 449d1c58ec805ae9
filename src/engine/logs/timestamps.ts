/** Times with nanoseconds: RFC 3339 text and bigint nanoseconds since the epoch. */

import type { Clock } from "#base/ports.ts";

const NS_PER_SECOND = 1_000_000_000n;

/** The last second that was formatted: lines come many to the second. */
let cached = { seconds: -1n, text: "" };

/** RFC 3339 in UTC with nine digits of fraction: of one length, so that text sorts as time does. */
export function formatNs(ns: bigint): string {
  const seconds = ns / NS_PER_SECOND;
  const fraction = String(ns % NS_PER_SECOND).padStart(9, "0");
  if (cached.seconds !== seconds) {
    const text = new Date(Number(seconds) * 1000).toISOString().slice(0, 19);
    cached = { seconds, text };
  }
  return `${cached.text}.${fraction}Z`;
}

const RFC3339 = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?(Z|[+-]\d\d:\d\d)$/;

/** Whether it has the form of one. */
export function isTime(text: string): boolean {
  return RFC3339.test(text);
}

/** Undefined when the text is no RFC 3339 time. */
export function parseNs(text: string): bigint | undefined {
  const match = RFC3339.exec(text);
  if (match === null) return undefined;
  const [, base = "", fraction = "", zone = "Z"] = match;
  const ms = Date.parse(`${base}${zone}`);
  if (Number.isNaN(ms)) return undefined;
  return BigInt(ms / 1000) * NS_PER_SECOND + BigInt(fraction.padEnd(9, "0"));
}

/** The wall clock in nanoseconds, strictly increasing, so that lines keep their order. */
export function createNsClock(clock: Clock): () => bigint {
  let last = 0n;
  return () => {
    // The wall clock has milliseconds; the monotonic one lends its fraction.
    const fraction = BigInt(Math.floor((clock.monotonicMs() % 1) * 1_000_000));
    const now = BigInt(Math.floor(clock.nowMs())) * 1_000_000n + fraction;
    last = now > last ? now : last + 1n;
    return last;
  };
}
