/**
 * A host's power: every process of it, found by what cannot be shaken off (its network namespace, its
 * control group, its folders on the command line), and what a reboot would take away with them.
 */

import { spawnSync } from "node:child_process";
import {
  existsSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmdirSync,
  rmSync,
  statSync,
} from "node:fs";
import { join } from "node:path";
import type { LabHost } from "./lab.ts";

const CGROUP_ROOT = "/sys/fs/cgroup";
const ROUND_MS = 20;
const MAX_ROUNDS = 500;

/**
 * Every process of the host: those in its network namespace or its control group, those still on
 * their way there, and all their descendants (containers have namespaces of their own).
 */
export function hostProcesses(host: LabHost): readonly number[] {
  const inode = inodeOf(host.netnsPath);
  const parents = new Map<number, number>();
  const members = new Set<number>(cgroupProcesses(host.cgroup));
  for (const entry of readdirSync("/proc")) {
    const pid = Number(entry);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
      const [state, parent] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      if (state === "Z") continue;
      parents.set(pid, Number(parent));
      const isThere = readlinkSync(`/proc/${pid}/ns/net`) === `net:[${inode}]`;
      if (isThere || isStarting(host, pid)) members.add(pid);
    } catch {
      // It ended while we looked.
    }
  }
  const belongs = (pid: number): boolean => {
    for (let at: number | undefined = pid; at !== undefined && at > 1; at = parents.get(at)) {
      if (members.has(at)) return true;
    }
    return false;
  };
  return [...parents.keys()].filter(belongs);
}

/** An engine before nsenter has moved it into the host's namespace. */
function isStarting(host: LabHost, pid: number): boolean {
  const words = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
  return words.includes(`--exec-root=${host.execRoot}`);
}

function inodeOf(path: string): number | undefined {
  try {
    return statSync(path).ino;
  } catch {
    return undefined;
  }
}

/** A power cut: every process of the host is killed, again until none is left. */
export async function powerCut(host: LabHost): Promise<void> {
  for (let round = 0; round < MAX_ROUNDS; round += 1) {
    const pids = hostProcesses(host);
    if (pids.length === 0) break;
    for (const pid of pids) kill(pid, "SIGKILL");
    await new Promise((resolve) => setTimeout(resolve, ROUND_MS));
  }
  forgetRuntime(host);
}

export function kill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It has already gone.
  }
}

/** What a reboot takes away: sockets, mounts, the run root, control groups. The disk stays. */
function forgetRuntime(host: LabHost): void {
  removeShimSockets(host);
  const below = (path: string) =>
    path.startsWith(`${host.execRoot}/`) || path.startsWith(`${host.dataRoot}/`);
  const mounts = readFileSync("/proc/self/mounts", "utf8")
    .split("\n")
    .map((line) => (line.split(" ")[1] ?? "").replace(/\\040/g, " "))
    .filter(below)
    .reverse();
  for (const path of mounts) spawnSync("umount", ["-l", path]);
  rmSync(host.execRoot, { recursive: true, force: true });
  removeCgroup(host.cgroup);
}

/** Shims listen below /run/containerd, whatever their containerd's own root is. */
function removeShimSockets(host: LabHost): void {
  const bundles = join(host.execRoot, "containerd/io.containerd.runtime.v2.task");
  if (!existsSync(bundles)) return;
  for (const namespace of readdirSync(bundles)) {
    for (const id of readdirSync(join(bundles, namespace))) {
      try {
        const address = readFileSync(join(bundles, namespace, id, "address"), "utf8");
        if (address.startsWith("unix:///run/containerd/s/")) {
          rmSync(address.slice("unix://".length), { force: true });
        }
      } catch {
        // A bundle that had no shim yet.
      }
    }
  }
}

/** The folders of one control group: one in a unified hierarchy, one for each controller in v1. */
function cgroupFolders(cgroup: string): readonly string[] {
  if (!existsSync(CGROUP_ROOT)) return [];
  const roots = [CGROUP_ROOT, ...readdirSync(CGROUP_ROOT).map((name) => join(CGROUP_ROOT, name))];
  return roots.map((root) => join(root, cgroup)).filter((folder) => existsSync(folder));
}

function cgroupProcesses(cgroup: string): readonly number[] {
  const within = (folder: string): readonly number[] => [
    ...readPids(join(folder, "cgroup.procs")),
    ...subfolders(folder).flatMap(within),
  ];
  return cgroupFolders(cgroup).flatMap(within);
}

/** None of a folder that goes while we look: containers end at any time. */
function subfolders(folder: string): readonly string[] {
  try {
    return readdirSync(folder, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => join(folder, name));
  } catch {
    return [];
  }
}

function readPids(file: string): readonly number[] {
  try {
    return readFileSync(file, "utf8").split("\n").filter(Boolean).map(Number);
  } catch {
    return [];
  }
}

/** Removes a control group with those below it, in every hierarchy. */
export function removeCgroup(cgroup: string): void {
  for (const folder of cgroupFolders(cgroup)) removeTree(folder);
}

/** Control groups are removed from the leaves up; their files are not ours to delete. */
function removeTree(path: string): void {
  for (const folder of subfolders(path)) removeTree(folder);
  try {
    rmdirSync(path);
  } catch {
    // Still has a process on its way out; the next `lab down` takes it.
  }
}
