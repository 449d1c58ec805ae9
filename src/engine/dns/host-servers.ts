/** The host's own name servers, read again when they may have changed. */

import { readFile, stat } from "node:fs/promises";
import type { Clock } from "#base/ports.ts";
import { parseNameservers } from "../networks/resolvers.ts";

const PATH = "/etc/resolv.conf";
const LOOK_AGAIN_MS = 2_000;

/**
 * As the host has them, the loopback ones included: those are asked from the host. Cheap to call for
 * every question.
 */
export function hostServers(clock: Clock, path = PATH): () => Promise<readonly string[]> {
  let servers: readonly string[] = [];
  let version = "";
  let lookedMs = Number.NEGATIVE_INFINITY;
  return async () => {
    const nowMs = clock.monotonicMs();
    if (nowMs - lookedMs < LOOK_AGAIN_MS) return servers;
    lookedMs = nowMs;
    const info = await stat(path).catch(() => undefined);
    const seen = info === undefined ? "none" : `${info.ino} ${info.mtimeMs} ${info.size}`;
    if (seen !== version) {
      servers = parseNameservers(await readFile(path, "utf8").catch(() => ""));
      version = seen;
    }
    return servers;
  };
}
