/** What a container's specification has to know of the host. Read once, when the engine starts. */

import { access, readFile } from "node:fs/promises";
import { type Machine, thisMachine } from "#platform/machine.ts";
import { capabilitiesOfMask } from "./capabilities.ts";

type MachineFacts = Pick<
  Machine,
  "cpus" | "cgroupVersion" | "hostname" | "goArch" | "kernelRelease" | "seccomp" | "apparmor"
>;

export interface HostFacts extends MachineFacts {
  /** Capabilities that this process has, and so can give: "CAP_CHOWN"… */
  readonly capabilities: readonly string[];
  /** A static init for `--init`; undefined when none is installed. */
  readonly initPath: string | undefined;
}

const INITS = ["docker-init", "tini-static", "tini"];
const FOLDERS = ["/usr/local/bin", "/usr/bin", "/usr/libexec/docker", "/sbin"];

export async function readHostFacts(): Promise<HostFacts> {
  const [status, initPath] = await Promise.all([readFile("/proc/self/status", "utf8"), findInit()]);
  return {
    ...thisMachine(),
    capabilities: capabilitiesOfMask(/^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? "0"),
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
