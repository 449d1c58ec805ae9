/**
 * Mounts that are read-only with all that is mounted below them: mount_setattr(2), since Linux 5.12, by
 * way of runc's option "rro", since 1.1.
 */

import { EngineError } from "#base/error.ts";
import { runCommand } from "#platform/net/command.ts";
import type { MountSpec } from "./record.ts";

interface Kernel {
  /** "6.1.0-18-amd64". */
  readonly kernelRelease: string;
}

export function kernelReadsOnlyBelow({ kernelRelease }: Kernel): boolean {
  const [major = 0, minor = 0] = kernelRelease.split(".").map(Number);
  return major > 5 || (major === 5 && minor >= 12);
}

/** Once it can; a runc that cannot may be replaced by one that does. */
let runcCan = false;

/** Whether that is possible here; false as well when none of the mounts asks for it. */
export async function readsOnlyBelow(
  mounts: readonly MountSpec[],
  kernel: Kernel,
): Promise<boolean> {
  const isAsked = mounts.some(({ readOnlyReach = "top" }) => readOnlyReach !== "top");
  if (!isAsked || !kernelReadsOnlyBelow(kernel)) return false;
  runcCan ||= hasReadOnlyBelow(await runCommand("runc", ["features"]).catch(() => ""));
  return runcCan;
}

/** `features` as runc prints them, "" of one that is too old to. */
export function hasReadOnlyBelow(features: string): boolean {
  return /"mountOptions":\s*\[[^\]]*"rro"/.test(features);
}

/** Refuses what was promised to be read-only throughout, and would not be. */
export async function requireReadOnlyBelow(
  mounts: readonly MountSpec[],
  kernel: Kernel,
): Promise<void> {
  const mount = mounts.find(({ readOnlyReach }) => readOnlyReach === "below");
  if (mount === undefined || (await readsOnlyBelow([mount], kernel))) return;
  throw new EngineError(
    "failed-precondition",
    `mount ${mount.destination} cannot be recursively read-only: that needs Linux 5.12 and runc 1.1, and this is Linux ${kernel.kernelRelease}`,
  );
}
