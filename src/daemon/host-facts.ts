/** What is true of this machine and this program for as long as the process lives. */

import { execFile } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { HostFacts } from "#api/system.ts";
import { newHexId } from "#base/ids.ts";
import type { Log, Random } from "#base/ports.ts";
import { COMMIT, VERSION } from "#cli/version.ts";
import { type Machine, thisMachine } from "#platform/machine.ts";
import type { DaemonConfig } from "./config.ts";

/** All but what containerd has to be asked. */
export async function readHostFacts(
  config: DaemonConfig,
  random: Random,
  log: Log,
): Promise<Omit<HostFacts, "containerdVersion" | "containerd">> {
  const machine = thisMachine();
  return {
    id: engineId(config.dataRoot, random, log),
    name: machine.hostname,
    version: VERSION,
    commit: COMMIT,
    buildTime: "",
    goArch: machine.goArch,
    kernelVersion: machine.kernelRelease,
    operatingSystem: machine.osName,
    osVersion: machine.osVersion,
    runtimeVersion: process.version,
    cpus: machine.cpus,
    memoryBytes: machine.memoryBytes,
    dataRoot: config.dataRoot,
    storageDriver: config.snapshotter === "overlayfs" ? "overlay2" : "vfs",
    cgroupDriver: "cgroupfs",
    cgroupVersion: machine.cgroupVersion === 2 ? "2" : "1",
    loggingDriver: config.logDriver,
    runcVersion: await runcVersion(),
    initBinary: config.initPath ?? "tini",
    securityOptions: securityOptions(machine, config),
    ...changingFacts(config),
  };
}

/** What a reload may change. */
export function changingFacts(
  config: DaemonConfig,
): Pick<HostFacts, "debug" | "labels" | "insecureRegistries" | "mirrors"> {
  return {
    debug: config.debug,
    labels: config.labels,
    insecureRegistries: config.registry.insecure,
    mirrors: config.registry.mirrors,
  };
}

function securityOptions(
  { apparmor, seccomp, cgroupVersion }: Machine,
  config: DaemonConfig,
): readonly string[] {
  const profile = config.seccompProfile;
  return [
    ...(apparmor ? ["name=apparmor"] : []),
    ...(seccomp ? [`name=seccomp,profile=${profile}`] : []),
    ...(cgroupVersion === 2 ? ["name=cgroupns"] : []),
    ...(config.noNewPrivileges ? ["name=no-new-privileges"] : []),
  ];
}

/** The engine's own id: made at the first start, kept in the data root. */
function engineId(dataRoot: string, random: Random, log: Log): string {
  const path = join(dataRoot, "engine-id");
  if (existsSync(path)) {
    const known = readFileSync(path, "utf8").trim();
    if (/^[0-9a-f]{32}$/.test(known)) return known;
    log.warn("the engine's id cannot be read, it gets another one", { path });
  }
  const id = newHexId(random, 16);
  mkdirSync(dataRoot, { recursive: true, mode: 0o711 });
  writeFileSync(path, `${id}\n`, { mode: 0o600 });
  return id;
}

function runcVersion(): Promise<string> {
  return new Promise((resolve) => {
    execFile("runc", ["--version"], (error, stdout) => {
      const match = /runc version (\S+)/.exec(stdout);
      resolve(error === null ? (match?.[1] ?? "unknown") : "unknown");
    });
  });
}
