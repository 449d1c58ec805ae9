/** Cuts connections in a namespace by the kernel's own table of them, with the `conntrack` program. */

import { isErrorCode, messageOf } from "#base/error.ts";
import type { Log } from "#base/ports.ts";
import type { LostFlow } from "#plan/dataplane/lost-flows.ts";
import { runCommand } from "#platform/net/command.ts";
import { readSysctl } from "#platform/net/ip.ts";

/** Best effort: what is not cut ends by its own timeout. `netns` undefined = the host. */
export async function cutFlows(
  flows: readonly LostFlow[],
  netns: string | undefined,
  log: Log,
): Promise<void> {
  // Most namespaces have no connections at all, and a process for each would cost more than they do.
  if (flows.length === 0 || readSysctl("net/netfilter/nf_conntrack_count", netns) === "0") return;
  for (const flow of flows) {
    try {
      await runCommand("conntrack", argumentsOf(flow), { netns });
    } catch (error) {
      // A container that ended meanwhile has no connections.
      if (isErrorCode(error, "not-found")) return;
      // It also fails when there was nothing to cut.
      if (messageOf(error).includes("0 flow entries")) continue;
      log.warn("connections to a backend that is gone could not be cut", {
        backend: flow.backend,
        reason: messageOf(error),
      });
    }
  }
}

function argumentsOf({ protocol, virtual, backend }: LostFlow): readonly string[] {
  const family = backend.includes(":") ? "ipv6" : "ipv4";
  const wanted =
    virtual === undefined
      ? []
      : "port" in virtual
        ? ["--orig-port-dst", String(virtual.port)]
        : ["--orig-dst", virtual.address];
  return [
    "-D",
    "-f",
    family,
    ...(protocol === undefined ? [] : ["-p", protocol]),
    "--dst-nat",
    "--reply-src",
    backend,
    ...wanted,
  ];
}
