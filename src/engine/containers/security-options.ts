/** What `--security-opt` says, read and checked with docker's messages. Pure. */

import { EngineError } from "#base/error.ts";
import type { HostConfig } from "#wire/docker/containers.ts";

export interface SecurityOptions {
  /** Undefined = the engine's default. */
  readonly noNewPrivileges: boolean | undefined;
  /** "unconfined", "builtin", or the text of a profile; undefined = the default. */
  readonly seccomp: string | undefined;
  /** Name of a loaded profile or "unconfined"; undefined = the default. */
  readonly apparmor: string | undefined;
  /** The container may write to its own part of /sys/fs/cgroup. */
  readonly writableCgroups: boolean;
  /** Nothing of /proc and /sys is masked or read-only; the docker command resolves this by itself. */
  readonly unmaskedPaths: boolean;
}

const MASKED_PATHS = [
  "/proc/asound",
  "/proc/acpi",
  "/proc/interrupts",
  "/proc/kcore",
  "/proc/keys",
  "/proc/latency_stats",
  "/proc/timer_list",
  "/proc/timer_stats",
  "/proc/sched_debug",
  "/proc/scsi",
  "/sys/firmware",
  "/sys/devices/virtual/powercap",
];
const READONLY_PATHS = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/** What of /proc and /sys a container cannot see, and what it cannot change. */
export function systemPaths(
  hostConfig: HostConfig,
  { unmaskedPaths }: Pick<SecurityOptions, "unmaskedPaths">,
): { readonly masked: readonly string[]; readonly readonly: readonly string[] } {
  const open = (hostConfig.Privileged ?? false) || unmaskedPaths;
  return {
    masked: hostConfig.MaskedPaths ?? (open ? [] : MASKED_PATHS),
    readonly: hostConfig.ReadonlyPaths ?? (open ? [] : READONLY_PATHS),
  };
}

export function parseSecurityOptions(
  options: readonly string[] | null | undefined,
): SecurityOptions {
  const found = new Map<string, string>();
  for (const option of options ?? []) {
    const [name, value] = split(option);
    switch (name) {
      case "no-new-privileges":
      case "writable-cgroups":
        found.set(name, String(boolean(value ?? "true", option)));
        break;
      case "seccomp":
      case "apparmor":
        found.set(name, value ?? "");
        break;
      // Labels are SELinux', which this engine does not set: "disable" is what is so, too.
      case "label":
      case "disable":
        break;
      case "systempaths":
        if (value !== "unconfined") throw refuse(2, option);
        found.set(name, value);
        break;
      default:
        throw refuse(2, option);
    }
  }
  return {
    noNewPrivileges: found.has("no-new-privileges")
      ? found.get("no-new-privileges") === "true"
      : undefined,
    seccomp: found.get("seccomp"),
    apparmor: found.get("apparmor") || undefined,
    writableCgroups: found.get("writable-cgroups") === "true",
    unmaskedPaths: found.has("systempaths"),
  };
}

/** "name=value"; "name:value" is the old form; two names need no value. */
function split(option: string): [name: string, value: string | undefined] {
  if (option === "no-new-privileges" || option === "disable") return [option, undefined];
  const at = option.includes("=") ? option.indexOf("=") : option.indexOf(":");
  if (at < 0) throw refuse(1, option);
  return [option.slice(0, at), option.slice(at + 1)];
}

function boolean(value: string, option: string): boolean {
  if (/^(1|t|T|true|TRUE|True)$/.test(value)) return true;
  if (/^(0|f|F|false|FALSE|False)$/.test(value)) return false;
  throw refuse(2, option);
}

function refuse(stage: 1 | 2, option: string): EngineError {
  return new EngineError("invalid-argument", `invalid --security-opt ${stage}: "${option}"`);
}
