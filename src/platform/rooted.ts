/**
 * Files below a root that is not ours: a container may have put symlinks there, and may change them
 * while we look. The kernel resolves paths for us (openat2) so that they cannot leave the root; what
 * comes back is a descriptor, and one name at a time below it never follows a link. Each descriptor
 * is the caller's to close.
 */

import { closeSync, constants, openSync, readlinkSync } from "node:fs";
import koffi from "koffi";
import { SystemError } from "./libc.ts";

/** Names a file without opening it; good for `fdPath`. */
export const O_PATH = 0x200000;

const SYS_OPENAT2 = 437;
const RESOLVE_NO_MAGICLINKS = 0x02n;
const RESOLVE_IN_ROOT = 0x10n;
const O_CLOEXEC = 0x80000n;

type Openat2 = (
  number: number,
  folder: number,
  path: string,
  how: BigUint64Array,
  size: number,
) => number;

let openat2: Openat2 | undefined;

/** The folder itself, as a root for `openInRoot`. */
export function openRoot(path: string): number {
  return openSync(path, O_PATH | constants.O_DIRECTORY);
}

/**
 * Opens `path` as a process sees it whose root is the folder `root`: absolute links and ".." stay
 * inside. `flags` as of open(2). Throws `SystemError` with the errno's name.
 */
export function openInRoot(root: number, path: string, flags: number, mode = 0): number {
  openat2 ??= koffi
    .load("libc.so.6")
    .func(
      "long syscall(long number, int folder, const char *path, uint64_t *how, size_t size)",
    ) as Openat2;
  const resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  const how = BigUint64Array.of(BigInt(flags) | O_CLOEXEC, BigInt(mode), resolve);
  const descriptor = openat2(SYS_OPENAT2, root, path, how, how.byteLength);
  if (descriptor >= 0) return descriptor;
  const errno = koffi.errno();
  const name = Object.entries(koffi.os.errno).find(([, value]) => value === errno)?.[0];
  throw new SystemError("openat2", path, name ?? `errno ${errno}`);
}

/** A path to the file of a descriptor, or to a name directly below it, for Node's calls. */
export function fdPath(descriptor: number, name?: string): string {
  return name === undefined ? `/proc/self/fd/${descriptor}` : `/proc/self/fd/${descriptor}/${name}`;
}

/** Where below `root` the file of a descriptor lies: "/etc/passwd". */
export function pathInRoot(root: number, descriptor: number): string {
  const base = readlinkSync(fdPath(root)).replace(/\/$/, "");
  const path = readlinkSync(fdPath(descriptor));
  return path.startsWith(`${base}/`) ? path.slice(base.length) : path === base ? "/" : path;
}

/** Runs `work` with a descriptor, and closes it however that ends. */
export async function using<T>(
  descriptor: number,
  work: (descriptor: number) => Promise<T>,
): Promise<T> {
  try {
    return await work(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
