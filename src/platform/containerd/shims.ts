/**
 * The shim processes of one containerd and namespace, found from the outside. A client that dies in
 * the middle of making a task can leave a shim that containerd itself has no record of: it holds no
 * task, and nobody would ever end it.
 */

import { readdir, readFile } from "node:fs/promises";
import type { Clock } from "#base/ports.ts";
import { sleep } from "../async.ts";
import { identityOf, isRunning, type ProcessIdentity } from "./pid-file.ts";

export interface Shim {
  readonly process: ProcessIdentity;
  /** Of the container that it was started for. */
  readonly id: string;
}

/** All shims that were started through `address` for `namespace`. */
export async function findShims(address: string, namespace: string): Promise<readonly Shim[]> {
  const shims: Shim[] = [];
  for (const name of await readdir("/proc")) {
    if (!/^[1-9]\d*$/.test(name)) continue;
    const text = await readFile(`/proc/${name}/cmdline`, "utf8").catch(() => "");
    const id = shimTarget(text.split("\0"), address, namespace);
    if (id === undefined) continue;
    const process = await identityOf(Number(name));
    if (process !== undefined) shims.push({ process, id });
  }
  return shims;
}

/** The container's id when the command line is a serving shim's; undefined for anything else. */
export function shimTarget(
  words: readonly string[],
  address: string,
  namespace: string,
): string | undefined {
  if (!/(^|\/)containerd-shim(-[\w-]+)?$/.test(words[0] ?? "")) return undefined;
  const after = (flag: string) => {
    const at = words.indexOf(flag);
    return at < 0 ? undefined : words[at + 1];
  };
  // "start" and "delete" are short-lived calls of containerd's, and end by themselves.
  if (words.includes("start") || words.includes("delete")) return undefined;
  if (after("-address") !== address || after("-namespace") !== namespace) return undefined;
  return after("-id");
}

const TERM_TIMEOUT_MS = 2_000;
const POLL_MS = 20;

/** Ends a shim: in order, so that it removes its socket, else by force. */
export async function endShim({ process: shim }: Shim, clock: Clock): Promise<void> {
  for (const signal of ["SIGTERM", "SIGKILL"] as const) {
    if (!(await isRunning(shim))) return;
    process.kill(shim.pid, signal);
    const deadline = clock.monotonicMs() + TERM_TIMEOUT_MS;
    while (clock.monotonicMs() < deadline) {
      if (!(await isRunning(shim))) return;
      await sleep(clock, POLL_MS);
    }
  }
}
