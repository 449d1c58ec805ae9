/**
 * One host of a lab: a network namespace with a veth to the lab's bridge, a hostname of its own, and
 * an engine (with its containerd) under its own roots. Everything carries the name `skep-lab`, so
 * that `lab down` finds it all after any crash, without a state file to lose.
 */

import { spawn, spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmdirSync,
  rmSync,
  statSync,
} from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { EngineError } from "#base/error.ts";

export const LAB_RUN = "/run/skep-lab";
export const LAB_DATA = "/var/lib/skep-lab";
export const LAB_BRIDGE = "skep-lab0";
/** The root namespace's own address in the lab, the hosts' default route. */
const GATEWAY = "10.99.0.254";

export interface LabHost {
  readonly name: string;
  readonly number: number;
  readonly address: string;
  readonly netns: string;
  readonly veth: string;
  readonly execRoot: string;
  readonly dataRoot: string;
  readonly socket: string;
  readonly logFile: string;
}

export function labHost(number: number): LabHost {
  const name = `h${number}`;
  const execRoot = join(LAB_RUN, name);
  return {
    name,
    number,
    address: `10.99.0.${number}`,
    netns: `skep-lab-${name}`,
    veth: `skep-lab-${name}`,
    execRoot,
    dataRoot: join(LAB_DATA, name),
    socket: `unix://${join(execRoot, "skep.sock")}`,
    logFile: join(LAB_DATA, `${name}.log`),
  };
}

/** The hosts that exist, by their namespaces. */
export function existingHosts(): readonly LabHost[] {
  if (!existsSync("/run/netns")) return [];
  return readdirSync("/run/netns")
    .flatMap((entry) => {
      const match = /^skep-lab-h(\d+)$/.exec(entry);
      return match === null ? [] : [labHost(Number(match[1]))];
    })
    .sort((a, b) => a.number - b.number);
}

/** Runs a command to its end; throws with what it said when it fails. */
export function command(words: readonly string[], input?: string): string {
  const [program = "", ...args] = words;
  const done = spawnSync(program, args, { input, encoding: "utf8" });
  if (done.status !== 0) {
    throw new EngineError("internal", `${words.join(" ")}: ${done.stderr || done.error?.message}`);
  }
  return done.stdout;
}

export function createBridge(): void {
  if (existsSync(`/sys/class/net/${LAB_BRIDGE}`)) return;
  command(
    ["ip", "-batch", "-"],
    `link add ${LAB_BRIDGE} type bridge\naddr add ${GATEWAY}/24 dev ${LAB_BRIDGE}\nlink set ${LAB_BRIDGE} up\n`,
  );
}

export function createNetwork(host: LabHost): void {
  command(
    ["ip", "-batch", "-"],
    [
      `netns add ${host.netns}`,
      `link add ${host.veth} type veth peer name eth0 netns ${host.netns}`,
      `link set ${host.veth} master ${LAB_BRIDGE} up`,
      "",
    ].join("\n"),
  );
  command(
    ["ip", "-n", host.netns, "-batch", "-"],
    [
      "link set lo up",
      `addr add ${host.address}/24 dev eth0`,
      "link set eth0 up",
      `route add default via ${GATEWAY}`,
      "",
    ].join("\n"),
  );
}

export function setLink(host: LabHost, state: "up" | "down"): void {
  command(["ip", "link", "set", host.veth, state]);
}

/** Starts the host's engine in its namespaces, detached from us; it logs to the host's log file. */
export function startEngine(host: LabHost, extraFlags: readonly string[]): void {
  mkdirSync(host.execRoot, { recursive: true, mode: 0o711 });
  mkdirSync(host.dataRoot, { recursive: true, mode: 0o711 });
  const log = openSync(host.logFile, "a");
  // nsenter and not `ip netns exec`: that one remounts /sys, which hides the cgroups from runc.
  const words = [
    "nsenter",
    `--net=/run/netns/${host.netns}`,
    "unshare",
    "--uts",
    "sh",
    "-c",
    'hostname "$0" && exec "$@"',
    host.name,
    process.execPath,
    programPath(),
    "engine",
    `--data-root=${host.dataRoot}`,
    `--exec-root=${host.execRoot}`,
    `--cgroup-parent=/skep-lab/${host.name}`,
    `--swarm-default-advertise-addr=${host.address}`,
    `--insecure-registry=10.99.0.0/16`,
    ...extraFlags,
  ];
  const child = spawn(words[0] ?? "", words.slice(1), {
    detached: true,
    stdio: ["ignore", log, log],
  });
  child.unref();
}

/** `bin/skep` beside the bundle that runs us. */
function programPath(): string {
  return fileURLToPath(new URL("../bin/skep", import.meta.url));
}

/** The pid of the host's engine, from its pid file, if it is that process. */
export function enginePid(host: LabHost): number | undefined {
  try {
    const pid = Number(readFileSync(join(host.execRoot, "skep.pid"), "utf8").trim());
    const line = readFileSync(`/proc/${pid}/cmdline`, "utf8");
    return line.includes(`--exec-root=${host.execRoot}`) ? pid : undefined;
  } catch {
    return undefined;
  }
}

/** Every process of the host: those in its network namespace and all their descendants. */
export function hostProcesses(host: LabHost): readonly number[] {
  const inode = netnsInode(host);
  if (inode === undefined) return [];
  const parents = new Map<number, number>();
  const members = new Set<number>();
  for (const entry of readdirSync("/proc")) {
    const pid = Number(entry);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
      parents.set(pid, Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]));
      if (readlinkSync(`/proc/${pid}/ns/net`) === `net:[${inode}]`) members.add(pid);
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

function netnsInode(host: LabHost): number | undefined {
  try {
    return statSync(`/run/netns/${host.netns}`).ino;
  } catch {
    return undefined;
  }
}

/** A power cut: every process of the host is killed, again until none is left. */
export async function powerCut(host: LabHost): Promise<void> {
  for (let round = 0; round < 100; round += 1) {
    const pids = hostProcesses(host);
    if (pids.length === 0) break;
    for (const pid of pids) kill(pid, "SIGKILL");
    await new Promise((resolve) => setTimeout(resolve, 20));
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

/** What a reboot takes away: mounts, the run root, control groups. The disk stays. */
function forgetRuntime(host: LabHost): void {
  const below = (path: string) =>
    path.startsWith(`${host.execRoot}/`) || path.startsWith(`${host.dataRoot}/`);
  const mounts = readFileSync("/proc/self/mounts", "utf8")
    .split("\n")
    .map((line) => (line.split(" ")[1] ?? "").replace(/\\040/g, " "))
    .filter(below)
    .reverse();
  for (const path of mounts) spawnSync("umount", ["-l", path]);
  rmSync(host.execRoot, { recursive: true, force: true });
  removeCgroups(host.name);
}

function removeCgroups(name: string): void {
  for (const controller of readdirSync("/sys/fs/cgroup")) {
    removeTree(join("/sys/fs/cgroup", controller, "skep-lab", name));
  }
  removeTree(join("/sys/fs/cgroup/skep-lab", name));
}

/** Control groups are removed from the leaves up; their files are not ours to delete. */
function removeTree(path: string): void {
  if (!existsSync(path)) return;
  for (const entry of readdirSync(path, { withFileTypes: true })) {
    if (entry.isDirectory()) removeTree(join(path, entry.name));
  }
  try {
    rmdirSync(path);
  } catch {
    // Still has a process on its way out; the next `lab down` takes it.
  }
}

export async function removeHost(host: LabHost): Promise<void> {
  await powerCut(host);
  spawnSync("ip", ["link", "del", host.veth]);
  spawnSync("ip", ["netns", "del", host.netns]);
  rmSync(host.dataRoot, { recursive: true, force: true });
  rmSync(host.logFile, { force: true });
}

/** What no host owns any more. */
export function removeShared(): void {
  spawnSync("ip", ["link", "del", LAB_BRIDGE]);
  rmSync(LAB_RUN, { recursive: true, force: true });
  rmSync(LAB_DATA, { recursive: true, force: true });
  for (const controller of existsSync("/sys/fs/cgroup") ? readdirSync("/sys/fs/cgroup") : []) {
    removeTree(join("/sys/fs/cgroup", controller, "skep-lab"));
  }
}
