/** Keys of `/proc/sys/net` that the swarm's networks need on a host. */

import { readdirSync } from "node:fs";
import { messageOf } from "#base/error.ts";
import type { Log } from "#base/ports.ts";
import type { OverlayPlan } from "#plan/dataplane/overlay-devices.ts";
import { readSysctl, setSysctl } from "#platform/net/ip.ts";

/**
 * Seconds for which the kernel keeps the port of a connection that has ended. The mesh leads clients on from
 * a part of the ports only, and a busy client of one task would use that up in the kernel's own two
 * minutes. What an operator has set is left.
 */
const ENDED = {
  key: "net/netfilter/nf_conntrack_tcp_timeout_time_wait",
  default: "120",
  ours: "30",
};

/** Sets what differs; how many did. */
export function setHostSysctls(overlays: readonly OverlayPlan[], log: Log): number {
  if (overlays.length === 0) return 0;
  const keys = new Map([["net/ipv4/ip_forward", "1"]]);
  if (overlays.some(({ addresses }) => addresses.some((address) => address.includes(":")))) {
    if (readSysctl("net/ipv6/conf/all/forwarding") === "0") keepRouterAdvertisements(keys);
    keys.set("net/ipv6/conf/all/forwarding", "1");
  }
  if (readSysctl(ENDED.key) === ENDED.default) keys.set(ENDED.key, ENDED.ours);
  // With a strict filter for all interfaces only "loose" is weaker; 0 would be ignored.
  const filter = readSysctl("net/ipv4/conf/all/rp_filter") === "1" ? "2" : "0";
  for (const { bridge } of overlays) {
    // Mesh ports on 127.0.0.1; the ruleset guards loopback against the bridge.
    keys.set(`net/ipv4/conf/${bridge}/route_localnet`, "1");
    // Clients of other nodes come in by the bridge, whatever way back this host knows for them.
    keys.set(`net/ipv4/conf/${bridge}/rp_filter`, filter);
    keys.set(`net/ipv6/conf/${bridge}/accept_ra`, "0");
  }
  return [...keys].filter(([path, value]) => set(path, value, log)).length;
}

/** A host that forwards stops listening to routers, and would lose its own default route. */
function keepRouterAdvertisements(keys: Map<string, string>): void {
  for (const name of readdirSync("/proc/sys/net/ipv6/conf")) {
    const key = `net/ipv6/conf/${name}/accept_ra`;
    if (readSysctl(key) === "1") keys.set(key, "2");
  }
}

function set(path: string, value: string, log: Log): boolean {
  const before = readSysctl(path);
  if (before === undefined || before === value) return false;
  try {
    setSysctl(path, value);
    return true;
  } catch (error) {
    log.warn("sysctl not set", { path, reason: messageOf(error) });
    return false;
  }
}
