/**
 * What an engine that died left outside containerd's records, and who ends it: shims without a task,
 * processes that runc made and nobody ran, file systems that were mounted for a moment. containerd
 * can be in the middle of a start that a dead engine asked for, so that the sweep is repeated.
 */

import { readdir, rmdir, unlink } from "node:fs/promises";
import { messageOf } from "#base/error.ts";
import { unmountSync } from "#platform/libc.ts";
import { runCommand } from "#platform/net/command.ts";
import type { ContainerContext } from "./context.ts";
import { isAlive } from "./state.ts";

/** Ends what has no task in containerd; what is being started or ended meanwhile is left alone. */
export async function sweepProcesses(context: ContainerContext): Promise<void> {
  const { runtime } = context;
  const [shims, made] = await Promise.all([runtime.shims(), runtime.runcContainers()]);
  const tasks = new Set(await runtime.taskIds());
  const suspects = new Set([...shims.map(({ id }) => id), ...made].filter((id) => !tasks.has(id)));
  for (const id of suspects) {
    await context.locks
      .run(id, () => sweep(context, id))
      .catch((error: unknown) =>
        context.log.warn("what a start left behind cannot be ended", {
          id,
          reason: messageOf(error),
        }),
      );
  }
}

async function sweep(context: ContainerContext, id: string): Promise<void> {
  const { runtime, registry, log } = context;
  const container = registry.get(id);
  if (context.closing || registry.damaged.has(id)) return;
  if (container !== undefined && isAlive(container.state.phase)) return;
  // Looked at again under the lock. A record of another engine means a start of theirs.
  if (!(await runtime.mayTouch(id)) || (await runtime.task(id)) !== undefined) return;
  const shims = (await runtime.shims()).filter((shim) => shim.id === id);
  const made = (await runtime.runcContainers()).includes(id);
  if (shims.length === 0 && !made) return;
  log.warn("ending what a start that was cut off has left", { id, shims: shims.length, made });
  // The processes first: a shim that loses its task's process could still report it.
  if (made) {
    await runCommand("runc", ["--root", runtime.runcFolder, "delete", "--force", id]);
  }
  for (const shim of shims) await runtime.endShim(shim);
}

/** Mounts that an engine made for a moment, to copy from or to, and died with. */
export async function sweepMounts(context: ContainerContext): Promise<void> {
  for (const name of await readdir(context.mountRoot).catch(() => [])) {
    const path = `${context.mountRoot}/${name}`;
    unmountSync(path);
    // Never what is in it: were something still mounted there, that would be a volume's data.
    await rmdir(path)
      .catch(() => unlink(path))
      .catch((error: unknown) =>
        context.log.warn("a folder of an earlier engine's mount stays", {
          path,
          reason: messageOf(error),
        }),
      );
  }
}
