/** The name servers that containers are told of: the host's, without what only the host can reach. */

import { readFile } from "node:fs/promises";

const PUBLIC_RESOLVERS = ["8.8.8.8", "8.8.4.4"];
/** systemd-resolved's own list, where /etc/resolv.conf only points at its stub. */
const RESOLVED_FILE = "/run/systemd/resolve/resolv.conf";

export async function hostNameservers(): Promise<readonly string[]> {
  for (const path of ["/etc/resolv.conf", RESOLVED_FILE]) {
    const text = await readFile(path, "utf8").catch(() => "");
    const reachable = parseNameservers(text).filter((address) => !isLoopback(address));
    if (reachable.length > 0) return reachable;
  }
  return PUBLIC_RESOLVERS;
}

export function parseNameservers(text: string): readonly string[] {
  return text.split("\n").flatMap((line) => /^\s*nameserver\s+(\S+)/.exec(line)?.[1] ?? []);
}

function isLoopback(address: string): boolean {
  return address.startsWith("127.") || address === "::1";
}
