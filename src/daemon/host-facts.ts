/** What is true of this machine and this program for as long as the process lives. */

import { execFile } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { arch, cpus, hostname, version as osVersion, release, totalmem } from "node:os";
import { join } from "node:path";
import type { HostFacts } from "#api/system.ts";
import { newHexId } from "#base/ids.ts";
import type { Random } from "#base/ports.ts";
import { COMMIT, VERSION } from "#cli/version.ts";
import type { DaemonConfig } from "./config.ts";

export async function readHostFacts(
  config: DaemonConfig,
  random: Random,
  containerdVersion: string,
): Promise<HostFacts> {
  return {
    id: engineId(config.dataRoot, random),
    name: hostname(),
    version: VERSION,
    commit: COMMIT,
    buildTime: "",
    goArch: goArch(),
    kernelVersion: release(),
    operatingSystem: prettyName(),
    osVersion: osVersion(),
    runtimeVersion: process.version,
    cpus: cpus().length,
    memoryBytes: totalmem(),
    dataRoot: config.dataRoot,
    debug: config.debug,
    storageDriver: config.snapshotter === "overlayfs" ? "overlay2" : "vfs",
    cgroupDriver: "cgroupfs",
    cgroupVersion: existsSync("/sys/fs/cgroup/cgroup.controllers") ? "2" : "1",
    labels: config.labels,
    loggingDriver: config.logDriver,
    containerdVersion,
    runcVersion: await runcVersion(),
    insecureRegistries: config.registry.insecure,
    mirrors: config.registry.mirrors,
    initBinary: config.initPath ?? "tini",
    securityOptions: securityOptions(),
  };
}

function securityOptions(): readonly string[] {
  const apparmor = "/sys/module/apparmor/parameters/enabled";
  return [
    ...(existsSync(apparmor) && readFileSync(apparmor, "utf8").startsWith("Y")
      ? ["name=apparmor"]
      : []),
    ...(existsSync("/proc/sys/kernel/seccomp/actions_avail")
      ? ["name=seccomp,profile=builtin"]
      : []),
    ...(existsSync("/sys/fs/cgroup/cgroup.controllers") ? ["name=cgroupns"] : []),
  ];
}

/** Go's name of the architecture, which is what the Engine API speaks. */
export function goArch(): string {
  const machine = arch();
  return machine === "x64" ? "amd64" : machine;
}

/** The engine's own id: made at the first start, kept in the data root. */
function engineId(dataRoot: string, random: Random): string {
  const path = join(dataRoot, "engine-id");
  if (existsSync(path)) return readFileSync(path, "utf8").trim();
  const id = newHexId(random, 16);
  mkdirSync(dataRoot, { recursive: true, mode: 0o711 });
  writeFileSync(path, `${id}\n`, { mode: 0o600 });
  return id;
}

function prettyName(): string {
  try {
    const match = /^PRETTY_NAME="?([^"\n]*)/m.exec(readFileSync("/etc/os-release", "utf8"));
    return match?.[1] ?? "Linux";
  } catch {
    return "Linux";
  }
}

function runcVersion(): Promise<string> {
  return new Promise((resolve) => {
    execFile("runc", ["--version"], (error, stdout) => {
      const match = /runc version (\S+)/.exec(stdout);
      resolve(error === null ? (match?.[1] ?? "unknown") : "unknown");
    });
  });
}
