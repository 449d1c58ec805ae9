/**
 * The few calls of libc that Node has no binding for: FIFOs, mounts, extended attributes, the heap. Each is
 * synchronous and short. A failure is a SystemError with the name of the errno, the call and the
 * path, so that callers can tell EEXIST from EPERM.
 */

import koffi from "koffi";

export class SystemError extends Error {
  override readonly name = "SystemError";
  /** "EEXIST", "EPERM"… */
  readonly errno: string;

  constructor(call: string, path: string, errno: string) {
    super(`${call} ${path}: ${errno}`);
    this.errno = errno;
  }
}

interface Libc {
  readonly mkfifo: (path: string, mode: number) => number;
  readonly mount: (
    source: string,
    target: string,
    type: string,
    flags: number,
    data: string,
  ) => number;
  readonly umount2: (target: string, flags: number) => number;
  readonly mknod: (path: string, mode: number, device: number | bigint) => number;
  readonly lsetxattr: (
    path: string,
    name: string,
    value: Uint8Array,
    size: number,
    flags: number,
  ) => number;
  readonly lgetxattr: (path: string, name: string, value: Buffer, size: number) => number;
}

let loaded: Libc | undefined;

function libc(): Libc {
  if (loaded === undefined) {
    const library = koffi.load("libc.so.6");
    loaded = {
      mkfifo: library.func("int mkfifo(const char *path, uint32_t mode)") as Libc["mkfifo"],
      mount: library.func(
        "int mount(const char *source, const char *target, const char *type, unsigned long flags, const char *data)",
      ) as Libc["mount"],
      umount2: library.func("int umount2(const char *target, int flags)") as Libc["umount2"],
      mknod: library.func(
        "int mknod(const char *path, uint32_t mode, uint64_t device)",
      ) as Libc["mknod"],
      lsetxattr: library.func(
        "int lsetxattr(const char *path, const char *name, const uint8_t *value, size_t size, int flags)",
      ) as Libc["lsetxattr"],
      lgetxattr: library.func(
        "int64_t lgetxattr(const char *path, const char *name, _Out_ uint8_t *value, size_t size)",
      ) as Libc["lgetxattr"],
    };
  }
  return loaded;
}

function check(result: number, call: string, path: string): void {
  if (result >= 0) return;
  const errno = koffi.errno();
  const name = Object.entries(koffi.os.errno).find(([, value]) => value === errno)?.[0];
  throw new SystemError(call, path, name ?? `errno ${errno}`);
}

export function mkfifo(path: string, mode: number): void {
  check(libc().mkfifo(path, mode), "mkfifo", path);
}

/** Makes a device node (or another special file); `mode` holds its type, too. */
export function makeNode(path: string, mode: number, major: number, minor: number): void {
  const [high, low] = [BigInt(major), BigInt(minor)];
  const device =
    ((high & 0xfffn) << 8n) | ((high & ~0xfffn) << 32n) | (low & 0xffn) | ((low & ~0xffn) << 12n);
  check(libc().mknod(path, mode, device), "mknod", path);
}

export function writeXattr(path: string, name: string, value: Uint8Array): void {
  check(libc().lsetxattr(path, name, value, value.length, 0), "setxattr", path);
}

export const MS_RDONLY = 0x1;
export const MS_NOSUID = 0x2;
export const MS_NODEV = 0x4;
export const MS_NOEXEC = 0x8;
export const MS_BIND = 0x1000;
export const MS_REC = 0x4000;

export function mountSync(
  source: string,
  target: string,
  type: string,
  flags: number,
  data: string,
): void {
  check(libc().mount(source, target, type, flags, data), "mount", target);
}

const MNT_DETACH = 2;

/** Takes a mount away at once, lazily where it is in use; fine when nothing is mounted. */
export function unmountSync(target: string): void {
  try {
    check(libc().umount2(target, MNT_DETACH), "umount", target);
  } catch (error) {
    const absent = error instanceof SystemError && ["EINVAL", "ENOENT"].includes(error.errno);
    if (!absent) throw error;
  }
}

let trim: ((pad: number) => number) | undefined;

/** Gives freed memory back to the kernel; about a millisecond. Nothing where libc is not glibc. */
export function trimMemory(): void {
  try {
    trim ??= koffi.load("libc.so.6").func("int malloc_trim(size_t pad)") as (pad: number) => number;
  } catch {
    trim = () => 0;
  }
  trim(0);
}

/** An extended attribute of the path itself; undefined when it has none of that name. */
export function readXattr(path: string, name: string): Uint8Array | undefined {
  const value = Buffer.alloc(256);
  const size = libc().lgetxattr(path, name, value, value.length);
  return size < 0 ? undefined : value.subarray(0, size);
}
