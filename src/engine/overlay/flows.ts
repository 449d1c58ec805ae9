/**
 * Cuts connections in a namespace by the kernel's own table of them, with the `conntrack` program.
 *
 * The program lists, and then has the kernel forget what it has listed, by addresses and ports alone: if
 * a client has taken the port of an ended connection again meanwhile, its new one is forgotten and its
 * next packet is reset. So what has ended is left alone, of which a busy port has thousands.
 */

import { readFileSync } from "node:fs";
import { isErrorCode, messageOf } from "#base/error.ts";
import type { Log } from "#base/ports.ts";
import { parseIp } from "#model/ip.ts";
import type { LostFlow } from "#plan/dataplane/lost-flows.ts";
import { runCommand } from "#platform/net/command.ts";
import { readSysctl } from "#platform/net/ip.ts";
import { runInNetnsOrHere } from "#platform/netns/netns.ts";

const HALF_OPEN = "SYN_SENT";
/** States in which somebody may still wait for an answer; TIME_WAIT and CLOSE are over. */
const LIVE: ReadonlySet<string> = new Set([
  HALF_OPEN,
  "SYN_RECV",
  "ESTABLISHED",
  "FIN_WAIT",
  "CLOSE_WAIT",
  "LAST_ACK",
]);
/** A table of at most so many connections is read, rather than a process started to search it. */
const READ_MAX = 2_000;

/** Best effort: what is not cut ends by its own timeout. `netns` undefined = the host. */
export async function cutFlows(
  flows: readonly LostFlow[],
  netns: string | undefined,
  log: Log,
): Promise<void> {
  if (flows.length === 0) return;
  const count = Number(readSysctl("net/netfilter/nf_conntrack_count", netns) ?? READ_MAX);
  if (count === 0) return;
  const small = count < READ_MAX ? readTable(netns) : undefined;
  const halfOpen = flows.some((flow) => flow.halfOpen === true)
    ? await listHalfOpen(netns, small)
    : "";
  for (const flow of flows) {
    const table = flow.halfOpen === true ? halfOpen : small;
    if (table?.includes(`src=${asListed(flow.backend)} `) === false) continue;
    try {
      await cutFlow(flow, netns);
    } catch (error) {
      // A container that ended meanwhile has no connections.
      if (isErrorCode(error, "not-found")) return;
      log.warn("connections to a backend that is gone could not be cut", {
        backend: flow.backend,
        reason: messageOf(error),
      });
    }
  }
}

async function cutFlow(flow: LostFlow, netns: string | undefined): Promise<void> {
  const wanted = argumentsOf(flow);
  const parts =
    flow.protocol === undefined
      ? liveParts(await runCommand("conntrack", ["-L", ...wanted], { netns }))
      : [[]];
  for (const part of parts) {
    try {
      await runCommand("conntrack", ["-D", ...part, ...wanted], { netns });
    } catch (error) {
      // It also fails when there was nothing to cut.
      if (!messageOf(error).includes("0 flow entries")) throw error;
    }
  }
}

/** Arguments for each kind of connection in a listing that has not ended. */
export function liveParts(listing: string): readonly (readonly string[])[] {
  const parts = new Map<string, readonly string[]>();
  for (const line of listing.split("\n")) {
    const [protocol = "", , , state = ""] = line.trim().split(/\s+/);
    if (protocol === "tcp" && LIVE.has(state)) {
      parts.set(state, ["-p", protocol, "--state", state]);
    } else if (protocol === "udp" || protocol === "sctp") {
      parts.set(protocol, ["-p", protocol]);
    }
  }
  return [...parts.values()];
}

/** Few as a rule, so that one look spares a search for each of the backends. */
async function listHalfOpen(
  netns: string | undefined,
  table: string | undefined,
): Promise<string | undefined> {
  if (table !== undefined) {
    return table
      .split("\n")
      .filter((line) => line.includes(` ${HALF_OPEN} `))
      .join("\n");
  }
  const list = (family: string) =>
    runCommand("conntrack", ["-L", "-f", family, "-p", "tcp", "--state", HALF_OPEN], { netns });
  try {
    return (await Promise.all(["ipv4", "ipv6"].map(list))).join("\n");
  } catch {
    return undefined;
  }
}

/** Undefined on a kernel that does not list them. */
function readTable(netns: string | undefined): string | undefined {
  return runInNetnsOrHere(netns, () => {
    try {
      return readFileSync("/proc/thread-self/net/nf_conntrack", "latin1");
    } catch {
      return undefined;
    }
  });
}

/** As the table writes addresses: IPv6 with all its digits. */
export function asListed(address: string): string {
  const ip = parseIp(address);
  if (ip?.family !== 6) return address;
  const digits = ip.value.toString(16).padStart(32, "0");
  return digits.replace(/(.{4})(?!$)/g, "$1:");
}

function argumentsOf({ protocol, halfOpen, virtual, backend }: LostFlow): readonly string[] {
  const family = backend.includes(":") ? "ipv6" : "ipv4";
  const wanted =
    virtual === undefined
      ? []
      : "port" in virtual
        ? ["--orig-port-dst", String(virtual.port)]
        : ["--orig-dst", virtual.address];
  return [
    "-f",
    family,
    ...(protocol === undefined ? [] : ["-p", protocol]),
    ...(halfOpen === true ? ["--state", HALF_OPEN] : []),
    "--dst-nat",
    "--reply-src",
    backend,
    ...wanted,
  ];
}
