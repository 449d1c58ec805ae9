/**
 * Everything that containers leave on a host, listed from the outside: containerd's own records,
 * shims, runc's state, cgroups, mounts, FIFOs, folders. A test compares each list with what runs.
 */

import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

const NAMESPACE = "skep-test";
const ID = /[0-9a-f]{64}/;

export interface Leftovers {
  /** Lists that must name exactly the containers that run. */
  readonly ofRunning: Readonly<Record<string, readonly string[]>>;
  /** Lists that must name exactly the containers that exist. */
  readonly ofExisting: Readonly<Record<string, readonly string[]>>;
}

/** `folder` as of the harness, `cgroupParent` as the containers were made with. */
export function listLeftovers(folder: string, cgroupParent: string): Leftovers {
  return {
    ofRunning: {
      tasks: ctr(folder, "tasks", "ls", "-q"),
      records: ctr(folder, "containers", "ls", "-q"),
      bundles: folders(join(folder, "state/io.containerd.runtime.v2.task", NAMESPACE)),
      workFolders: folders(join(folder, "root/io.containerd.runtime.v2.task", NAMESPACE)),
      runc: folders(join(folder, "run/runc", NAMESPACE)),
      shims: shims(folder),
      cgroups: cgroups(cgroupParent),
      fifos: folders(join(folder, "run/io")),
      rootMounts: mounts(join(folder, "state")),
    },
    ofExisting: {
      snapshots: ctr(folder, "snapshots", "ls")
        .filter((line) => line.endsWith("Active"))
        .map((line) => ID.exec(line)?.[0] ?? line),
      folders: folders(join(folder, "data/containers")),
    },
  };
}

function ctr(folder: string, ...words: readonly string[]): readonly string[] {
  const address = join(folder, "state/containerd.sock");
  return execFileSync("ctr", ["-a", address, "-n", NAMESPACE, ...words], { encoding: "utf8" })
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "" && !line.startsWith("KEY"));
}

function folders(path: string): readonly string[] {
  return existsSync(path) ? readdirSync(path) : [];
}

/** Ids of the containers whose shims run, from their command lines. */
function shims(folder: string): readonly string[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      try {
        const words = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
        const isShim = words[0]?.includes("containerd-shim") && words.includes("-id");
        if (!isShim || !words.some((word) => word.startsWith(folder))) return [];
        return words[words.indexOf("-id") + 1] ?? [];
      } catch {
        return [];
      }
    });
}

function cgroups(parent: string): readonly string[] {
  const found = new Set<string>();
  for (const controller of ["", ...readdirSync("/sys/fs/cgroup")]) {
    const path = join("/sys/fs/cgroup", controller, parent);
    for (const name of folders(path)) if (ID.test(name)) found.add(name);
  }
  return [...found];
}

function mounts(folder: string): readonly string[] {
  return readFileSync("/proc/self/mounts", "utf8")
    .split("\n")
    .map((line) => line.split(" ")[1] ?? "")
    .filter((path) => path.startsWith(`${folder}/`))
    .map((path) => ID.exec(path)?.[0] ?? path);
}
