/**
 * Connections to ::1 that are led into a bridge, and back. IPv6 has no `route_localnet`: the kernel
 * takes a packet for ::1 from an interface only if that interface has a route that says so, which
 * stands in the table of local addresses and goes with the bridge. Packets that come in addressed to
 * ::1 are dropped long before, so that all this lets through are answers.
 *
 * It does not work where bridged packets pass the host's firewall: there, an answer is given its
 * address ::1 before the bridge hands it up, and is dropped for it.
 */

import { readFileSync } from "node:fs";
import { ipBatchForce, readSysctl } from "#platform/net/ip.ts";

/** As the kernel lists it, with its prefix length. */
const LOOPBACK = `${"0".repeat(31)}1 80 `;
export const BRIDGED_SYSCTL = "net/bridge/bridge-nf-call-ip6tables";

/** Whether the host leads connections to ::1 into its bridges. */
export function leadsLoopback6(): boolean {
  return readSysctl(BRIDGED_SYSCTL) !== "1";
}

/** Lets answers for ::1 in by the bridges; fine when that is so, or when there is no IPv6. */
export async function routeLoopback6(bridges: readonly string[]): Promise<void> {
  const there = routed();
  const missing = bridges.filter((bridge) => !there.has(bridge));
  await ipBatchForce(
    missing.map((bridge) => `route append local ::1/128 dev ${bridge} table local`),
  );
}

/** Interfaces with a route for ::1. */
function routed(): ReadonlySet<string> {
  try {
    const lines = readFileSync("/proc/thread-self/net/ipv6_route", "latin1").split("\n");
    const mine = lines.filter((line) => line.startsWith(LOOPBACK));
    return new Set(mine.map((line) => line.trim().split(/\s+/).at(-1) ?? ""));
  } catch {
    return new Set();
  }
}
