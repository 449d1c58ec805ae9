/** How much a folder holds, as docker counts: bytes of files and links, without the folders' own. */

import type { Stats } from "node:fs";
import { lstat, readdir } from "node:fs/promises";
import { join } from "node:path";

const PARALLEL = 64;

/** Files with several names count once. What vanishes meanwhile counts nothing. */
export async function treeSize(folder: string): Promise<number> {
  const seen = new Set<string>();
  let total = 0;
  const pending = [folder];
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    const here = next;
    const names = await readdir(here).catch(() => []);
    for (let at = 0; at < names.length; at += PARALLEL) {
      const paths = names.slice(at, at + PARALLEL).map((name) => join(here, name));
      const statuses = await Promise.all(paths.map((path) => lstat(path).catch(() => undefined)));
      for (const [index, status] of statuses.entries()) {
        if (status === undefined) continue;
        if (status.isDirectory()) pending.push(paths[index] ?? "");
        else total += counted(status, seen);
      }
    }
  }
  return total;
}

function counted(status: Stats, seen: Set<string>): number {
  if (status.nlink < 2) return status.size;
  const key = `${status.dev}:${status.ino}`;
  if (seen.has(key)) return 0;
  seen.add(key);
  return status.size;
}
