/** Our engine, from the bundle that users start, on a host of its own. */

import type { ChildProcess } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Engine, end, untilAnswering } from "./engine.ts";
import { Host } from "./host.ts";

export const SKEP = fileURLToPath(new URL("../../bin/skep", import.meta.url));
const LOG = "skep.log";

export class SkepEngine implements Engine {
  readonly title = "skep";
  readonly host = Host.create();
  readonly socket = join(this.host.runFolder, "x/skep.sock");
  /** More flags for Node itself, for profiling. */
  readonly #nodeFlags: readonly string[];
  #child: ChildProcess | undefined;

  constructor(nodeFlags: readonly string[] = []) {
    this.#nodeFlags = nodeFlags;
  }

  async start(): Promise<number> {
    const { folder, runFolder, cgroup } = this.host;
    const roots = [`--data-root=${folder}/d`, `--exec-root=${runFolder}/x`];
    const flags = [...roots, `--cgroup-parent=${cgroup}`];
    const words = [process.execPath, ...this.#nodeFlags, SKEP, "engine", ...flags];
    this.#child = this.host.spawn(words, LOG);
    return untilAnswering(this, this.#child, LOG);
  }

  crash(): Promise<void> {
    return end(this.#child, "SIGKILL");
  }

  pids(): readonly [number, number] {
    const file = join(this.host.runFolder, "x/containerd/containerd.pid");
    const containerd = Number(/\d+/.exec(readFileSync(file, "utf8"))?.[0]);
    return [this.#child?.pid ?? 0, containerd];
  }
}
