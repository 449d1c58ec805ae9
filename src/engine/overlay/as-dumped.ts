/** A plan as a dump of the kernel would show it, once the kernel is as planned. Pure. */

import type { KernelPlan } from "#plan/dataplane/kernel.ts";
import type { DumpedHost, DumpedRule } from "#platform/net/dump.ts";
import { ROUTE_PROTOCOL, RULE_PRIORITY } from "./routing-diff.ts";

export function asDumped({ overlays, routes, rules }: KernelPlan): Omit<DumpedHost, "links"> {
  return {
    neighbours: overlays.flatMap(({ vxlan: dev, neighbours }) =>
      [...neighbours].map(([dst, lladdr]) => ({ dst, dev, lladdr })),
    ),
    fdb: overlays.flatMap(({ vxlan: ifname, bridge: master, fdb }) =>
      [...fdb].flatMap(([mac, dst]) => [
        { mac, ifname, flags: ["self"], dst, state: "permanent" },
        { mac, ifname, flags: [], master, state: "static" },
      ]),
    ),
    routes: routes.map(({ dst, dev, via, src, table }) => ({
      dst,
      dev,
      table: table === undefined ? "main" : String(table),
      ...(via === undefined ? {} : { gateway: via }),
      ...(src === undefined ? {} : { prefsrc: src }),
    })),
    rules: rules.map(
      ({ family, table, match }): DumpedRule => ({
        family,
        priority: RULE_PRIORITY,
        table: String(table),
        protocol: String(ROUTE_PROTOCOL),
        ...("from" in match
          ? { src: match.from }
          : { src: "all", fwmark: `0x${match.mark.toString(16)}`, iif: match.iif }),
      }),
    ),
  };
}
