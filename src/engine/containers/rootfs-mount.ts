/** Mounts a snapshot of containerd's on this host, however many layers it has. */

import { EngineError } from "#base/error.ts";
import { MS_BIND, MS_RDONLY, mountSync } from "#platform/libc.ts";
import type { Mount } from "#wire/gen/containerd/types_pb.js";
import { layersOf } from "./rootfs-view.ts";

/** A kernel page, which holds the options of a mount. */
const OPTIONS_MAX_BYTES = 4000;

export function mountRootfs(rootfs: readonly Mount[], folder: string, writable: boolean): void {
  const layers = layersOf(rootfs);
  const [mount] = rootfs;
  if (mount === undefined || layers === undefined) {
    throw new EngineError("unimplemented", "this snapshotter's file systems cannot be mounted");
  }
  if (mount.type === "bind") {
    mountSync(mount.source, folder, "", MS_BIND, "");
    return;
  }
  // Read-only without an upper folder: that one may be in use by the running container.
  const options = writable
    ? mount.options.filter((option) => option.includes("=")).join(",")
    : `lowerdir=${layers.length === 1 ? [...layers, folder].join(":") : layers.join(":")}`;
  mountOverlay(options, folder, writable);
}

/** Many layers make more text than the kernel takes: then relative to the folder they share. */
function mountOverlay(options: string, folder: string, writable: boolean): void {
  const flags = writable ? 0 : MS_RDONLY;
  if (options.length < OPTIONS_MAX_BYTES) {
    mountSync("overlay", folder, "overlay", flags, options);
    return;
  }
  const shared = /lowerdir=(\/(?:[^/:,]+\/)*?snapshots)\//.exec(options)?.[1];
  if (shared === undefined) {
    throw new EngineError("resource-exhausted", "the container has too many layers to be mounted");
  }
  const before = process.cwd();
  // Nothing else runs in between: the mount is synchronous.
  process.chdir(shared);
  try {
    mountSync("overlay", folder, "overlay", flags, options.replaceAll(`${shared}/`, ""));
  } finally {
    process.chdir(before);
  }
}
