/** What is true of this machine while the process lives; read once, by whoever describes the host. */

import { existsSync, readFileSync } from "node:fs";
import { arch, availableParallelism, hostname, machine, release, totalmem } from "node:os";

export interface Machine {
  readonly hostname: string;
  readonly cpus: number;
  readonly memoryBytes: number;
  /** As `uname -m` says: "x86_64", "aarch64". */
  readonly unameArch: string;
  /** Go's name of the architecture, which is what the Engine API speaks: "amd64", "arm64". */
  readonly goArch: string;
  /** "6.1.0-13-amd64". */
  readonly kernelRelease: string;
  /** "Debian GNU/Linux 12 (bookworm)". */
  readonly osName: string;
  /** "12"; empty where the system does not say. */
  readonly osVersion: string;
  readonly cgroupVersion: 1 | 2;
  /** The kernel filters system calls. */
  readonly seccomp: boolean;
  /** The kernel confines programs by AppArmor. */
  readonly apparmor: boolean;
}

/** Where Go names an architecture otherwise than Node. */
const GO_ARCH: Readonly<Record<string, string>> = { x64: "amd64", ia32: "386", ppc64: "ppc64le" };

let known: Machine | undefined;

export function thisMachine(): Machine {
  known ??= {
    hostname: hostname(),
    cpus: availableParallelism(),
    memoryBytes: totalmem(),
    unameArch: machine(),
    goArch: GO_ARCH[arch()] ?? arch(),
    kernelRelease: release(),
    osName: osRelease("PRETTY_NAME") ?? "Linux",
    osVersion: osRelease("VERSION_ID") ?? "",
    cgroupVersion: existsSync("/sys/fs/cgroup/cgroup.controllers") ? 2 : 1,
    seccomp: existsSync("/proc/sys/kernel/seccomp/actions_avail"),
    apparmor: readText("/sys/module/apparmor/parameters/enabled").startsWith("Y"),
  };
  return known;
}

function osRelease(key: string): string | undefined {
  return new RegExp(`^${key}="?([^"\\n]*)`, "m").exec(readText("/etc/os-release"))?.[1];
}

function readText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
