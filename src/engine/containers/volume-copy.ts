/**
 * What an image has at a volume's destination is copied into the volume while that is empty, so that
 * a fresh volume over /var/lib/data starts with the image's data, owners and modes included.
 */

import { mkdir, mkdtemp, readdir, rmdir } from "node:fs/promises";
import { join } from "node:path";
import { EngineError } from "#base/error.ts";
import { MS_BIND, MS_RDONLY, mountSync, unmountSync } from "#platform/libc.ts";
import { runCommand } from "#platform/net/command.ts";
import type { Mount } from "#wire/gen/containerd/types_pb.js";
import type { ContainerContext } from "./context.ts";
import type { ContainerRecord, MountSpec } from "./record.ts";
import { layersOf, resolvePath } from "./rootfs-view.ts";

export async function populateVolumes(
  context: ContainerContext,
  record: ContainerRecord,
  rootfs: readonly Mount[],
): Promise<void> {
  const layers = layersOf(rootfs);
  for (const mount of record.mounts) {
    if (mount.type !== "volume" || mount.noCopy || mount.subpath !== "") continue;
    // Nothing there in any layer is by far the most frequent case, and costs a few lookups.
    if (layers !== undefined && (await isEmptyOrAbsent(layers, mount.destination))) continue;
    const target = await context.volumes.mount(mount.source, record.id);
    try {
      if ((await readdir(target)).length > 0) continue;
      await withRootfs(context.mountRoot, rootfs, (root) => copyTree(root, target, mount));
    } finally {
      await context.volumes.unmount(mount.source, record.id);
    }
  }
}

async function isEmptyOrAbsent(layers: readonly string[], path: string): Promise<boolean> {
  const found = await resolvePath(layers, path);
  // A folder of several layers may have its entries in a lower one.
  if (found === undefined) return true;
  return layers.length === 1 && (await readdir(found).catch(() => [])).length === 0;
}

async function copyTree(root: string, target: string, mount: MountSpec): Promise<void> {
  // Resolved inside the root: a symlink of the image must not lead to the host's files.
  const source = await resolvePath([root], mount.destination);
  const entries = source === undefined ? undefined : await readdir(source).catch(() => undefined);
  if (entries === undefined) return;
  // "/." copies the folder's own owner and mode too; no fork per file.
  await runCommand("cp", ["-a", "--", `${source}/.`, target]).catch((error: unknown) => {
    throw new EngineError(
      "internal",
      `the image's content of ${mount.destination} cannot be copied into volume ${mount.source}`,
      { cause: error },
    );
  });
}

/** Runs `work` with the root file system mounted below `mountRoot`, read-only. */
export async function withRootfs<T>(
  mountRoot: string,
  rootfs: readonly Mount[],
  work: (root: string) => Promise<T>,
): Promise<T> {
  await mkdir(mountRoot, { recursive: true, mode: 0o700 });
  const root = await mkdtemp(join(mountRoot, "read-"));
  try {
    for (const mount of rootfs) mountReadOnly(mount, root);
    return await work(root);
  } finally {
    for (const _ of rootfs) unmountSync(root);
    await rmdir(root);
  }
}

function mountReadOnly(mount: Mount, target: string): void {
  if (mount.type === "bind") {
    mountSync(mount.source, target, "", MS_BIND, "");
    return;
  }
  if (mount.type !== "overlay") {
    throw new EngineError("unimplemented", `cannot mount a root file system of ${mount.type}`);
  }
  const data = mount.options.filter((option) => option.includes("=")).join(",");
  mountSync(mount.source, target, mount.type, MS_RDONLY, data);
}
