/**
 * A folder or file inside a volume, or an image, as the source of a mount. Containers may have put links into the
 * volume, and may change them at any time: the path is resolved by the kernel inside the volume, and
 * what it leads to is bound to a place of ours before the runtime, which would follow links, is told
 * of it. That place is needed until the container's own mounts are made.
 */

import { closeSync, fstatSync } from "node:fs";
import { mkdir, rmdir, unlink, writeFile } from "node:fs/promises";
import { EngineError } from "#base/error.ts";
import { MS_BIND, MS_REC, mountSync, SystemError, unmountSync } from "#platform/libc.ts";
import { fdPath, O_PATH, openInRoot, openRoot } from "#platform/rooted.ts";
import type { ContainerContext } from "./context.ts";
import { type ContainerRecord, imageSnapshot, type MountSpec } from "./record.ts";
import { mountRootfs } from "./rootfs-mount.ts";

/** A descriptor of what `subpath` leads to in the volume; `invalid-argument` when it leads nowhere. */
export function openSubpath(volumePath: string, subpath: string): number {
  const root = openRoot(volumePath);
  try {
    return openInRoot(root, subpath, O_PATH);
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    throw new EngineError(
      "invalid-argument",
      `cannot access path ${volumePath}/${subpath}: no such file or directory`,
    );
  } finally {
    closeSync(root);
  }
}

/** Returns the path to mount from; taken away by `releaseSubpaths`. */
export async function bindSubpath(
  context: Pick<ContainerContext, "mountRoot">,
  record: ContainerRecord,
  spec: MountSpec,
  volumePath: string,
): Promise<string> {
  const place = placeOf(context, record, spec);
  const source = openSubpath(volumePath, spec.subpath);
  try {
    await mkdir(context.mountRoot, { recursive: true, mode: 0o700 });
    // Of a start that failed.
    unmountSync(place);
    if (fstatSync(source).isDirectory()) await mkdir(place, { recursive: true });
    else await writeFile(place, "");
    mountSync(fdPath(source), place, "", MS_BIND | MS_REC, "");
    return place;
  } finally {
    closeSync(source);
  }
}

/** The file system of an image's mount, or what its subpath leads to; the same way back. */
export async function bindImage(
  context: Pick<ContainerContext, "mountRoot" | "runtime">,
  record: ContainerRecord,
  spec: MountSpec,
): Promise<string> {
  const { runtime, mountRoot } = context;
  const mounts = await runtime.snapshotMounts(record.snapshotter, imageSnapshot(record, spec));
  const place = `${placeOf(context, record, spec)}-image`;
  await mkdir(mountRoot, { recursive: true, mode: 0o700 });
  unmountSync(place);
  await mkdir(place, { recursive: true });
  mountRootfs(mounts, place, true);
  return spec.subpath === "" ? place : bindSubpath(context, record, spec, place);
}

/** The container has its mounts, or never will. */
export async function releaseSubpaths(
  context: Pick<ContainerContext, "mountRoot">,
  record: ContainerRecord,
): Promise<void> {
  for (const spec of record.mounts) {
    const place = placeOf(context, record, spec);
    if (spec.subpath !== "") await release(place);
    if (spec.type === "image") await release(`${place}-image`);
  }
}

async function release(place: string): Promise<void> {
  unmountSync(place);
  // Never what is in it: were it still mounted, that would be the volume's data.
  await rmdir(place).catch(() => unlink(place).catch(() => undefined));
}

function placeOf(
  { mountRoot }: Pick<ContainerContext, "mountRoot">,
  { id, mounts }: ContainerRecord,
  spec: MountSpec,
): string {
  return `${mountRoot}/${id}-${mounts.indexOf(spec)}`;
}
