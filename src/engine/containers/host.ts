/** What a container's specification has to know of the host. Read once, when the engine starts. */

import { access, readFile } from "node:fs/promises";
import { type Machine, thisMachine } from "#platform/machine.ts";
import { capabilitiesOfMask } from "./capabilities.ts";
import type { HostLimits } from "./limits.ts";

type MachineFacts = Pick<
  Machine,
  "cpus" | "cgroupVersion" | "hostname" | "goArch" | "kernelRelease" | "seccomp" | "apparmor"
>;

export interface HostFacts extends MachineFacts, HostLimits {
  /** Capabilities that this process has, and so can give: "CAP_CHOWN"… */
  readonly capabilities: readonly string[];
  /** A static init for `--init`; undefined when none is installed. */
  readonly initPath: string | undefined;
}

const INITS = ["docker-init", "tini-static", "tini"];
const FOLDERS = ["/usr/local/bin", "/usr/bin", "/usr/libexec/docker", "/sbin"];

/** `initPath` = the init that the engine was told to use. */
export async function readHostFacts(initPath: string | undefined): Promise<HostFacts> {
  const [status, cpuset, memset, blkioWeight, foundInit] = await Promise.all([
    readFile("/proc/self/status", "utf8"),
    firstLine(
      "/sys/fs/cgroup/cpuset/cpuset.effective_cpus",
      "/sys/fs/cgroup/cpuset.cpus.effective",
    ),
    firstLine(
      "/sys/fs/cgroup/cpuset/cpuset.effective_mems",
      "/sys/fs/cgroup/cpuset.mems.effective",
    ),
    hasBlkioWeight(),
    findInit(),
  ]);
  return {
    ...thisMachine(),
    capabilities: capabilitiesOfMask(/^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? "0"),
    cpuset,
    memset,
    blkioWeight,
    initPath: initPath ?? foundInit,
  };
}

/** Of the first file that is there, for either version of cgroups; "" when none is. */
async function firstLine(...paths: readonly string[]): Promise<string> {
  for (const path of paths) {
    const text = await readFile(path, "utf8").catch(() => undefined);
    if (text !== undefined) return text.trim();
  }
  return "";
}

/** Version 2 has the file in every cgroup but the root. */
async function hasBlkioWeight(): Promise<boolean> {
  if (thisMachine().cgroupVersion === 2) return true;
  const files = ["blkio.weight", "blkio.bfq.weight"].map((name) => `/sys/fs/cgroup/blkio/${name}`);
  return (await Promise.all(files.map(exists))).includes(true);
}

async function findInit(): Promise<string | undefined> {
  for (const name of INITS) {
    for (const folder of FOLDERS) {
      const path = `${folder}/${name}`;
      if (await exists(path)) return path;
    }
  }
  return undefined;
}

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
