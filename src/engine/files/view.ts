/**
 * A container's files from outside, as one tree: of one that runs, through its own root, with all
 * that is mounted there; of one that does not, its file system mounted for the moment, with its
 * volumes and binds in place. The tree is reached through a descriptor of its root only.
 */

import { closeSync, constants, mkdirSync } from "node:fs";
import { mkdir, mkdtemp, rmdir } from "node:fs/promises";
import { join, posix } from "node:path";
import { MS_BIND, MS_REC, mountSync, SystemError, unmountSync } from "#platform/libc.ts";
import { fdPath, O_PATH, openInRoot, openRoot, using } from "#platform/rooted.ts";
import type { Mount } from "#wire/gen/containerd/types_pb.js";
import type { Container } from "../containers/container.ts";
import type { ContainerContext } from "../containers/context.ts";
import type { MountSpec } from "../containers/record.ts";
import { unmountVolumes } from "../containers/release.ts";
import { mountRootfs } from "../containers/rootfs-mount.ts";
import { isAlive } from "../containers/state.ts";
import { bindImage, openSubpath, releaseSubpaths } from "../containers/subpath.ts";

/** Runs `work` with the root of the container's files; what is asked for is `path` in it. */
export async function withFiles<T>(
  context: ContainerContext,
  container: Container,
  path: string,
  work: (root: number) => Promise<T>,
): Promise<T> {
  const live = openLive(container);
  if (live !== undefined) return using(live, work);
  return context.locks.run(container.id, async () => {
    const started = openLive(container);
    if (started !== undefined) return using(started, work);
    try {
      return await withMounted(context, await rootfsOf(context, container), true, async (root) => {
        for (const mount of container.record.mounts) {
          await mountInto(context, container, mount, root, path);
        }
        return work(root);
      });
    } finally {
      await unmountVolumes(context, container);
    }
  });
}

/** The root of a container that runs; undefined when it does not (any more). */
function openLive({ state }: Container): number | undefined {
  if (!isAlive(state.phase)) return undefined;
  try {
    return openRoot(`/proc/${state.pid}/root`);
  } catch {
    return undefined;
  }
}

/** Runs `work` with the container's own file system alone, read-only; also while it runs. */
export async function withOwnFiles<T>(
  context: ContainerContext,
  container: Container,
  work: (root: number) => Promise<T>,
): Promise<T> {
  return withMounted(context, await rootfsOf(context, container), false, work);
}

export async function rootfsOf(
  context: ContainerContext,
  container: Container,
): Promise<readonly Mount[]> {
  const { snapshotter } = container.record;
  container.rootfs ??= await context.runtime.snapshotMounts(snapshotter, container.id);
  return container.rootfs;
}

async function withMounted<T>(
  context: ContainerContext,
  rootfs: readonly Mount[],
  writable: boolean,
  work: (root: number) => Promise<T>,
): Promise<T> {
  await mkdir(context.mountRoot, { recursive: true, mode: 0o700 });
  const folder = await mkdtemp(join(context.mountRoot, "files-"));
  try {
    mountRootfs(rootfs, folder, writable);
    return await using(openRoot(folder), work);
  } finally {
    // With everything that was mounted below it.
    unmountSync(folder);
    await rmdir(folder);
  }
}

async function mountInto(
  context: ContainerContext,
  container: Container,
  mount: MountSpec,
  root: number,
  wanted: string,
): Promise<void> {
  if (mount.type === "tmpfs") return;
  const target = openTarget(root, mount, wanted);
  if (target === undefined) return;
  try {
    await bindSource(context, container, mount, fdPath(target));
  } catch (error) {
    // A bind whose source is gone: then there is nothing to see.
    if (!(error instanceof SystemError)) throw error;
  } finally {
    closeSync(target);
  }
}

async function bindSource(
  context: ContainerContext,
  { id, record }: Container,
  mount: MountSpec,
  target: string,
): Promise<void> {
  const bind = (source: string) => mountSync(source, target, "", MS_BIND | MS_REC, "");
  if (mount.type === "bind") return bind(mount.source);
  if (mount.type === "image") {
    bind(await bindImage(context, record, mount));
    return releaseSubpaths(context, record);
  }
  const volume = await context.volumes.mount(mount.source, id);
  if (mount.subpath === "") return bind(volume);
  const inside = openSubpath(volume, mount.subpath);
  try {
    bind(fdPath(inside));
  } finally {
    closeSync(inside);
  }
}

/** Where a mount goes; made when it is missing and what is wanted lies in it. */
function openTarget(root: number, { destination }: MountSpec, wanted: string): number | undefined {
  try {
    return openInRoot(root, destination, O_PATH);
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
  }
  const inside = posix.join("/", wanted, "/");
  if (!inside.startsWith(`${destination}/`)) return undefined;
  makeFolders(root, destination);
  return openInRoot(root, destination, O_PATH);
}

function makeFolders(root: number, path: string): void {
  if (path === "/") return;
  makeFolders(root, posix.dirname(path));
  const parent = openInRoot(root, posix.dirname(path), O_PATH | constants.O_DIRECTORY);
  try {
    mkdirSync(fdPath(parent, posix.basename(path)), { mode: 0o755 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  } finally {
    closeSync(parent);
  }
}
