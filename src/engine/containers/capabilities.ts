/** Linux capabilities of a container: docker's default set, what is added, what is dropped. Pure. */

import { EngineError } from "#base/error.ts";
import type { HostConfig } from "#wire/docker/containers.ts";

/** By number, as in linux/capability.h. */
const ALL = [
  "CHOWN",
  "DAC_OVERRIDE",
  "DAC_READ_SEARCH",
  "FOWNER",
  "FSETID",
  "KILL",
  "SETGID",
  "SETUID",
  "SETPCAP",
  "LINUX_IMMUTABLE",
  "NET_BIND_SERVICE",
  "NET_BROADCAST",
  "NET_ADMIN",
  "NET_RAW",
  "IPC_LOCK",
  "IPC_OWNER",
  "SYS_MODULE",
  "SYS_RAWIO",
  "SYS_CHROOT",
  "SYS_PTRACE",
  "SYS_PACCT",
  "SYS_ADMIN",
  "SYS_BOOT",
  "SYS_NICE",
  "SYS_RESOURCE",
  "SYS_TIME",
  "SYS_TTY_CONFIG",
  "MKNOD",
  "LEASE",
  "AUDIT_WRITE",
  "AUDIT_CONTROL",
  "SETFCAP",
  "MAC_OVERRIDE",
  "MAC_ADMIN",
  "SYSLOG",
  "WAKE_ALARM",
  "BLOCK_SUSPEND",
  "AUDIT_READ",
  "PERFMON",
  "BPF",
  "CHECKPOINT_RESTORE",
].map((name) => `CAP_${name}`);

const DEFAULT = [
  "CHOWN",
  "DAC_OVERRIDE",
  "FSETID",
  "FOWNER",
  "MKNOD",
  "NET_RAW",
  "SETGID",
  "SETUID",
  "SETFCAP",
  "SETPCAP",
  "NET_BIND_SERVICE",
  "SYS_CHROOT",
  "KILL",
  "AUDIT_WRITE",
].map((name) => `CAP_${name}`);

export interface CapabilityRequest {
  readonly privileged: boolean;
  readonly add: readonly string[];
  readonly drop: readonly string[];
  /** What this engine may give: no more than the kernel knows and the engine itself has. */
  readonly available: readonly string[];
}

/** Names of the set bits of a mask as /proc/PID/status shows it, "000001ffffffffff". */
export function capabilitiesOfMask(hex: string): readonly string[] {
  const mask = BigInt(`0x${hex}`);
  return ALL.filter((_, bit) => (mask >> BigInt(bit)) & 1n);
}

/** What a container asks for. */
export function capabilityRequest(
  hostConfig: HostConfig,
  available: readonly string[],
): CapabilityRequest {
  return {
    privileged: hostConfig.Privileged ?? false,
    add: hostConfig.CapAdd ?? [],
    drop: hostConfig.CapDrop ?? [],
    available,
  };
}

/** The bounding set. */
export function planCapabilities(request: CapabilityRequest): readonly string[] {
  const { available } = request;
  if (request.privileged) return available;
  const add = request.add.map((name) => normalize(name, "CapAdd"));
  const drop = request.drop.map((name) => normalize(name, "CapDrop"));
  const missing = add.find((name) => name !== "ALL" && !available.includes(name));
  if (missing !== undefined) {
    throw new EngineError(
      "invalid-argument",
      `invalid CapAdd: capability not supported by your kernel or not available in the current environment: "${missing}"`,
    );
  }
  const base = add.includes("ALL") ? available : drop.includes("ALL") ? [] : DEFAULT;
  const wanted = new Set([...base.filter((name) => !drop.includes(name)), ...add]);
  return available.filter((name) => wanted.has(name));
}

/** "net_admin" and "CAP_NET_ADMIN" as the kernel writes it; "ALL" stays. */
function normalize(text: string, field: "CapAdd" | "CapDrop"): string {
  const upper = text.toUpperCase();
  if (upper === "ALL") return upper;
  const name = upper.startsWith("CAP_") ? upper : `CAP_${upper}`;
  if (!ALL.includes(name)) {
    throw new EngineError("invalid-argument", `invalid ${field}: unknown capability: "${name}"`);
  }
  return name;
}
