/** Mounts that are read-only with all that is mounted below them: mount_setattr(2), since Linux 5.12. Pure. */

import { EngineError } from "#base/error.ts";
import type { MountSpec } from "./record.ts";

interface Kernel {
  /** "6.1.0-18-amd64". */
  readonly kernelRelease: string;
}

export function canReadOnlyBelow({ kernelRelease }: Kernel): boolean {
  const [major = 0, minor = 0] = kernelRelease.split(".").map(Number);
  return major > 5 || (major === 5 && minor >= 12);
}

/** Refuses what was promised to be read-only throughout, and would not be. */
export function requireReadOnlyBelow(mounts: readonly MountSpec[], kernel: Kernel): void {
  if (canReadOnlyBelow(kernel)) return;
  const mount = mounts.find(({ readOnlyReach }) => readOnlyReach === "below");
  if (mount === undefined) return;
  throw new EngineError(
    "failed-precondition",
    `mount ${mount.destination} cannot be recursively read-only: that needs Linux 5.12, and this is ${kernel.kernelRelease}`,
  );
}
