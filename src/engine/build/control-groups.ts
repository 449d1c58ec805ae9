/**
 * Control groups of a build's commands. The runtime removes them when a command ends; of a build that
 * was killed they stay. They are named after the bundle folders, which lie in the build's own folder.
 */

import { readdir, rmdir } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";

const MOUNT = "/sys/fs/cgroup";
/** The processes of a killed build end a moment later. */
const ATTEMPTS = 20;
const ATTEMPT_INTERVAL_MS = 50;

/** Removes the groups of what ran from `folder`; as far as that goes. */
export async function removeBuildGroups(folder: string): Promise<void> {
  const names = (await readdir(folder).catch(() => [])).filter((name) => /^buildah\d+$/.test(name));
  if (names.length === 0) return;
  const controllers = await readdir(MOUNT).catch(() => []);
  const groups = names.map((name) => `buildah-${name}`);
  for (const parent of ["", ...controllers]) {
    for (const group of groups) await removeGroup(join(MOUNT, parent, group));
  }
}

async function removeGroup(path: string): Promise<void> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    const reason = await rmdir(path).then(
      () => undefined,
      (error: NodeJS.ErrnoException) => error.code,
    );
    if (reason !== "EBUSY") return;
    await pause(ATTEMPT_INTERVAL_MS);
  }
}
