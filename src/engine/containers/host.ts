/** What a container's specification has to know of the host. Read once, when the engine starts. */

import { access, readFile, statfs } from "node:fs/promises";
import { arch, availableParallelism, hostname, release } from "node:os";
import { capabilitiesOfMask } from "./capabilities.ts";

export interface HostFacts {
  readonly cpus: number;
  readonly cgroupVersion: 1 | 2;
  /** Capabilities that this process has, and so can give: "CAP_CHOWN"… */
  readonly capabilities: readonly string[];
  readonly hostname: string;
  /** Go's name of the architecture. */
  readonly arch: string;
  /** "6.1.0-13-amd64". */
  readonly kernelRelease: string;
  /** The kernel filters system calls. */
  readonly seccomp: boolean;
  /** The kernel confines programs by AppArmor. */
  readonly apparmor: boolean;
  /** A static init for `--init`; undefined when none is installed. */
  readonly initPath: string | undefined;
}

const CGROUP2_MAGIC = 0x63677270;
/** Where Go names an architecture otherwise than Node. */
const GO_ARCH: Readonly<Record<string, string>> = { x64: "amd64", ia32: "386", ppc64: "ppc64le" };
const INITS = ["docker-init", "tini-static", "tini"];
const FOLDERS = ["/usr/local/bin", "/usr/bin", "/usr/libexec/docker", "/sbin"];

export async function readHostFacts(): Promise<HostFacts> {
  const [cgroup, status, seccomp, apparmor, initPath] = await Promise.all([
    statfs("/sys/fs/cgroup"),
    readFile("/proc/self/status", "utf8"),
    exists("/proc/sys/kernel/seccomp/actions_avail"),
    readFile("/sys/module/apparmor/parameters/enabled", "utf8").catch(() => "N"),
    findInit(),
  ]);
  return {
    cpus: availableParallelism(),
    cgroupVersion: cgroup.type === CGROUP2_MAGIC ? 2 : 1,
    capabilities: capabilitiesOfMask(/^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? "0"),
    hostname: hostname(),
    arch: GO_ARCH[arch()] ?? arch(),
    kernelRelease: release(),
    seccomp,
    apparmor: apparmor.startsWith("Y"),
    initPath,
  };
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
