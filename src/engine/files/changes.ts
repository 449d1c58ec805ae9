/**
 * What a container changed in its file system, read from the upper folder of its overlay: entries
 * are added or modified, whiteouts are deletions. The places where every container has something mounted
 * are not its doing, and are left out.
 */

import { lstat, readdir } from "node:fs/promises";
import { join } from "node:path";
import { EngineError } from "#base/error.ts";
import { readXattr } from "#platform/libc.ts";
import type { FilesystemChange } from "#wire/docker/containers.ts";
import type { Mount } from "#wire/gen/containerd/types_pb.js";
import { layersOf, resolvePath } from "../containers/rootfs-view.ts";

const MODIFIED = 0;
const ADDED = 1;
const DELETED = 2;

/** Made by the engine or the runtime in every container, besides its mounts. */
const OURS = ["/.dockerenv", "/dev", "/proc", "/sys", "/sbin/docker-init"];

/** In the order of paths, parents first. `mountPoints` are left out, as the container sees them. */
export async function listChanges(
  rootfs: readonly Mount[],
  mountPoints: readonly string[],
): Promise<FilesystemChange[]> {
  const [upper, ...lower] = layersOf(rootfs) ?? [];
  if (upper === undefined) {
    throw new EngineError("unimplemented", "this snapshotter does not keep changes apart");
  }
  const ignored = new Set([...OURS, ...mountPoints]);
  const changes: FilesystemChange[] = [];
  await walk("", changes, lower.length === 0);
  return changes;

  /**
   * True when something in the folder is a change of the container's. `isNew` says that the layers below
   * have no such folder, and so nothing that could be in it.
   */
  async function walk(folder: string, into: FilesystemChange[], isNew: boolean): Promise<boolean> {
    const names = (await readdir(join(upper ?? "", folder))).toSorted();
    let ownOnly = names.length > 0;
    let found = false;
    for (const name of names) {
      const path = `${folder}/${name}`;
      const below: FilesystemChange[] = [];
      const own = await look(path, below, isNew);
      if (own) continue;
      ownOnly = false;
      found ||= below.length > 0;
      into.push(...below);
    }
    return found || !ownOnly;
  }

  /** True for what is ours and holds nothing of the container's. */
  async function look(path: string, into: FilesystemChange[], isNew: boolean): Promise<boolean> {
    const host = join(upper ?? "", path);
    const status = await lstat(host).catch(() => undefined);
    if (status === undefined) return false;
    if (status.isCharacterDevice() && status.rdev === 0) {
      into.push({ Path: path, Kind: DELETED });
      return false;
    }
    const existed = !isNew && (await resolveParent(lower, path)) !== undefined;
    const below: FilesystemChange[] = [];
    const isFolder = status.isDirectory();
    const opaque = isFolder && readXattr(host, "trusted.overlay.opaque")?.[0] === 0x79;
    const theirs = isFolder ? await walk(path, below, !existed) : !ignored.has(path);
    if (!theirs && (ignored.has(path) || !opaque)) return true;
    if (ignored.has(path)) into.push(...below);
    else into.push({ Path: path, Kind: existed ? MODIFIED : ADDED }, ...below);
    return false;
  }
}

/** The path itself, without following it where it is a link. */
async function resolveParent(layers: readonly string[], path: string): Promise<string | undefined> {
  const cut = path.lastIndexOf("/");
  const name = path.slice(cut + 1);
  const found = await resolvePath(layers, path);
  if (found !== undefined) return found;
  // A link that leads nowhere is there all the same.
  for (const layer of layers) {
    const host = join(layer, path.slice(0, cut), name);
    const status = await lstat(host).catch(() => undefined);
    if (status?.isSymbolicLink()) return host;
  }
  return undefined;
}
