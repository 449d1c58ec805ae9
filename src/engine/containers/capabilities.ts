/** Linux capabilities of a container: docker's default set, what is added, what is dropped. Pure. */

import { EngineError } from "#base/error.ts";

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
  /** Number of the newest capability that the kernel knows. */
  readonly lastCap: number;
}

export function planCapabilities(request: CapabilityRequest): string[] {
  const known = ALL.slice(0, request.lastCap + 1);
  if (request.privileged) return known;
  const add = request.add.map((name) => normalize(name, known));
  const drop = request.drop.map((name) => normalize(name, known));
  const base = add.includes("ALL") ? known : drop.includes("ALL") ? [] : DEFAULT;
  const wanted = new Set([...base.filter((name) => !drop.includes(name)), ...add]);
  return known.filter((name) => wanted.has(name));
}

function normalize(text: string, known: readonly string[]): string {
  const upper = text.toUpperCase();
  if (upper === "ALL") return upper;
  const name = upper.startsWith("CAP_") ? upper : `CAP_${upper}`;
  if (!known.includes(name)) {
    throw new EngineError("invalid-argument", `invalid capability: "${text}"`);
  }
  return name;
}
