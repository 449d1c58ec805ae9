/**
 * A host of its own for one engine: a network namespace, a folder for all its files, a control
 * group. Engines on such hosts neither see each other nor leave a trace on the machine: `destroy`
 * kills every process that was born there and removes the rest.
 */

import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmdirSync,
  rmSync,
  statSync,
} from "node:fs";
import { basename, join } from "node:path";
import { undoLater } from "./undo.ts";

/**
 * What a user's shell surely has. The machine's own settings (certificates to load at every start,
 * proxies) would fall on the two engines unequally.
 */
export const PLAIN_ENV: Readonly<Record<string, string>> = {
  PATH: process.env["PATH"] ?? "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
  HOME: process.env["HOME"] ?? "/root",
};

const IS_CGROUP2 = existsSync("/sys/fs/cgroup/cgroup.controllers");
/** Where the kernel adds up the CPU time of a group and all below it. */
const CPU_ACCOUNTING = IS_CGROUP2 ? "/sys/fs/cgroup" : "/sys/fs/cgroup/cpuacct";
const DESTROY_ROUNDS = 200;

export class Host {
  readonly folder: string;
  /** For sockets and other state of the moment, in memory, as /run is on a usual host. */
  readonly runFolder: string;
  /** Below every cgroup mount; for `--cgroup-parent`. */
  readonly cgroup: string;
  readonly #netns: string;
  /** The control group of the daemons; containers have theirs beside it. */
  readonly #accounting: string;

  private constructor(folder: string) {
    this.folder = folder;
    this.runFolder = join(folder, "r");
    this.#netns = basename(folder);
    this.cgroup = `/${basename(folder)}`;
    this.#accounting = join(CPU_ACCOUNTING, this.cgroup, "daemons");
  }

  /** Made short: the paths of sockets below it are limited to some hundred bytes. */
  static create(): Host {
    const host = new Host(mkdtempSync("/var/tmp/skb-"));
    undoLater(() => host.destroy());
    execFileSync("ip", ["netns", "add", host.#netns]);
    mkdirSync(host.runFolder);
    execFileSync("mount", ["-t", "tmpfs", "-o", "mode=0755", "skep-bench", host.runFolder]);
    mkdirSync(host.#accounting, { recursive: true });
    execFileSync("ip", ["-n", host.#netns, "link", "set", "lo", "up"]);
    return host;
  }

  /** Starts a daemon here; what it says goes to a file of the folder. */
  spawn(words: readonly string[], logName: string): ChildProcess {
    const log = openSync(join(this.folder, logName), "a");
    // nsenter and not `ip netns exec`: that one remounts /sys, which hides the cgroups from runc.
    // In a session of its own, so that ^C reaches only the bench, which ends it in order.
    const enter = ["nsenter", `--net=/run/netns/${this.#netns}`];
    const count = [
      "sh",
      "-c",
      'echo $$ >"$0" && exec "$@"',
      join(this.#accounting, "cgroup.procs"),
    ];
    const [program = "", ...args] = [...enter, ...count, ...words];
    return spawn(program, args, {
      stdio: ["ignore", log, log],
      detached: true,
      env: PLAIN_ENV,
    });
  }

  /** CPU time of everything that was ever born here, containers and short-lived helpers included. */
  cpuSeconds(): number {
    const own = join(CPU_ACCOUNTING, this.cgroup);
    if (!IS_CGROUP2) return Number(readFileSync(join(own, "cpuacct.usage"), "utf8")) / 1e9;
    const usage = /^usage_usec (\d+)/.exec(readFileSync(join(own, "cpu.stat"), "utf8"))?.[1];
    return Number(usage) / 1e6;
  }

  /** The end of a daemon's log, for messages. */
  logTail(logName: string): string {
    return readFileSync(join(this.folder, logName), "utf8").split("\n").slice(-15).join("\n");
  }

  /** Every process of the host: those in its namespace or folder, and all their descendants. */
  processes(): readonly number[] {
    const namespace = `net:[${statSync(`/run/netns/${this.#netns}`).ino}]`;
    const parents = new Map<number, number>();
    const members = new Set<number>();
    for (const entry of readdirSync("/proc")) {
      const pid = Number(entry);
      if (!Number.isInteger(pid) || pid === process.pid) continue;
      try {
        const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
        parents.set(pid, Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]));
        if (readlinkSync(`/proc/${pid}/ns/net`) === namespace) members.add(pid);
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

  async destroy(): Promise<void> {
    for (let round = 0; existsSync(`/run/netns/${this.#netns}`); round += 1) {
      const pids = this.processes();
      if (pids.length === 0) break;
      if (round === DESTROY_ROUNDS) throw new Error(`${this.folder}: ${pids.join(" ")} go on`);
      for (const pid of pids) killNow(pid);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    for (const path of this.#mounts()) spawnSync("umount", ["-l", path]);
    spawnSync("ip", ["netns", "del", this.#netns]);
    rmSync(this.folder, { recursive: true, force: true });
    for (const controller of readdirSync("/sys/fs/cgroup")) {
      removeGroups(join("/sys/fs/cgroup", controller, this.cgroup));
    }
    removeGroups(join("/sys/fs/cgroup", this.cgroup));
  }

  /** Innermost first. */
  #mounts(): readonly string[] {
    return readFileSync("/proc/self/mounts", "utf8")
      .split("\n")
      .map((line) => line.split(" ")[1] ?? "")
      .filter((path) => path.startsWith(`${this.folder}/`))
      .reverse();
  }
}

function killNow(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It has already gone.
  }
}

/** Control groups are removed from the leaves up; their files are not ours to delete. */
function removeGroups(path: string): void {
  if (!existsSync(path)) return;
  for (const entry of readdirSync(path, { withFileTypes: true })) {
    if (entry.isDirectory()) removeGroups(join(path, entry.name));
  }
  rmdirSync(path);
}
