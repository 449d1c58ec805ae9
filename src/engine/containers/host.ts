/** What a container's specification has to know of the host. Read once, when the engine starts. */

import { access, readFile, statfs } from "node:fs/promises";
import { availableParallelism, hostname } from "node:os";

export interface HostFacts {
  readonly cpus: number;
  readonly cgroupVersion: 1 | 2;
  /** Number of the newest capability of the kernel. */
  readonly lastCap: number;
  readonly hostname: string;
  /** A static init for `--init`; undefined when none is installed. */
  readonly initPath: string | undefined;
}

const CGROUP2_MAGIC = 0x63677270;
const INITS = ["docker-init", "tini-static", "tini"];
const FOLDERS = ["/usr/local/bin", "/usr/bin", "/usr/libexec/docker", "/sbin"];

export async function readHostFacts(): Promise<HostFacts> {
  const [cgroup, lastCap, initPath] = await Promise.all([
    statfs("/sys/fs/cgroup"),
    readFile("/proc/sys/kernel/cap_last_cap", "utf8").catch(() => "37"),
    findInit(),
  ]);
  return {
    cpus: availableParallelism(),
    cgroupVersion: cgroup.type === CGROUP2_MAGIC ? 2 : 1,
    lastCap: Number(lastCap.trim()),
    hostname: hostname(),
    initPath,
  };
}

async function findInit(): Promise<string | undefined> {
  for (const name of INITS) {
    for (const folder of FOLDERS) {
      const path = `${folder}/${name}`;
      if (
        await access(path).then(
          () => true,
          () => false,
        )
      )
        return path;
    }
  }
  return undefined;
}
