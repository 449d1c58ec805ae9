/** What `docker cp` asks first about a path in a container, in docker's shape. */

import { closeSync, constants, type Stats } from "node:fs";
import { lstat, readlink } from "node:fs/promises";
import { posix } from "node:path";
import { EngineError } from "#base/error.ts";
import { SystemError } from "#platform/libc.ts";
import { fdPath, O_PATH, openInRoot, pathInRoot } from "#platform/rooted.ts";
import type { ContainerPathStat } from "#wire/docker/containers.ts";

/** A name in a container, with the folder that holds it open. */
export interface Located {
  readonly folder: number;
  /** "." for the folder itself. */
  readonly name: string;
  readonly stat: ContainerPathStat;
}

/**
 * Finds `path` without following its last part, unless it ends in "/" or "/."; `not-found` with
 * docker's words, which name the container as the user did. The descriptor is open while `work` runs.
 */
export async function locate<T>(
  root: number,
  path: string,
  reference: string,
  work: (located: Located) => Promise<T>,
): Promise<T> {
  const absolute = keepEnding(posix.join("/", path), path);
  const followed = /\/\.?$/.test(absolute);
  const name = followed ? "." : posix.basename(absolute);
  const missing = () =>
    new EngineError("not-found", `Could not find the file ${path} in container ${reference}`);
  let folder: number;
  try {
    const where = followed ? absolute : posix.dirname(absolute);
    folder = openInRoot(root, where, O_PATH | constants.O_DIRECTORY);
  } catch (error) {
    if (error instanceof SystemError) throw missing();
    throw error;
  }
  try {
    const status = await lstat(fdPath(folder, name)).catch(() => {
      throw missing();
    });
    const linkTarget = status.isSymbolicLink()
      ? targetOf(root, absolute, await readlink(fdPath(folder, name)))
      : "";
    const stat = {
      name: baseOf(absolute),
      size: status.size,
      mode: goFileMode(status),
      mtime: status.mtime.toISOString(),
      linkTarget,
    };
    return await work({ folder, name, stat });
  } finally {
    closeSync(folder);
  }
}

/** "/a/b/" and "/a/b/." mean what the folder holds; plain cleaning would lose that. */
function keepEnding(clean: string, original: string): string {
  const bare = clean.length > 1 ? clean.replace(/\/$/, "") : clean;
  if (/(^|\/)\.$/.test(original)) return bare === "/" ? "/." : `${bare}/.`;
  return original.endsWith("/") && bare !== "/" ? `${bare}/` : bare;
}

/** Go's filepath.Base, which docker names the archive's root by. */
function baseOf(path: string): string {
  if (path.endsWith("/.")) return ".";
  return posix.basename(path) || "/";
}

/** Where a link leads in the container, also when there is nothing. */
function targetOf(root: number, path: string, link: string): string {
  try {
    const found = openInRoot(root, path, O_PATH);
    try {
      return pathInRoot(root, found);
    } finally {
      closeSync(found);
    }
  } catch {
    return posix.resolve(posix.dirname(path), link);
  }
}

/** Go's os.FileMode: the permission bits are the kernel's, the others are not. */
export function goFileMode(status: Stats): number {
  const bit = (set: boolean, at: number) => (set ? 2 ** at : 0);
  return (
    (status.mode & 0o777) +
    bit(status.isDirectory(), 31) +
    bit(status.isSymbolicLink(), 27) +
    bit(status.isBlockDevice() || status.isCharacterDevice(), 26) +
    bit(status.isFIFO(), 25) +
    bit(status.isSocket(), 24) +
    bit((status.mode & 0o4000) !== 0, 23) +
    bit((status.mode & 0o2000) !== 0, 22) +
    bit(status.isCharacterDevice(), 21) +
    bit((status.mode & 0o1000) !== 0, 20)
  );
}
