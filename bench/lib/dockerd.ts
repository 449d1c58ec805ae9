/**
 * The peer: Debian's dockerd with a containerd of its own, as its package would run them, on a host
 * of its own. `openDockerd` installs what is missing, or says why it cannot run here.
 */

import { type ChildProcess, execFileSync } from "node:child_process";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Engine, end, untilAnswering } from "./engine.ts";
import { Host } from "./host.ts";
import { ensurePackages } from "./packages.ts";

const LOG = "dockerd.log";
const CONTAINERD_LOG = "containerd.log";
const POLL_MS = 10;
const CONTAINERD_TIMEOUT_MS = 20_000;

/** Started and answering; a text says why there is none. */
export async function openDockerd(
  extraFlags: readonly string[] = [],
): Promise<DockerEngine | string> {
  const missing = ensurePackages({ dockerd: "docker.io", containerd: "containerd", runc: "runc" });
  if (missing !== undefined) return missing;
  try {
    const engine = new DockerEngine(extraFlags);
    await engine.start();
    return engine;
  } catch (error) {
    return `dockerd cannot run here: ${String(error)}`;
  }
}

export class DockerEngine implements Engine {
  readonly title = "dockerd";
  readonly host = Host.create();
  readonly socket = join(this.host.runFolder, "docker.sock");
  readonly #extraFlags: readonly string[];
  #child: ChildProcess | undefined;
  #containerd: ChildProcess | undefined;

  constructor(extraFlags: readonly string[]) {
    this.#extraFlags = extraFlags;
  }

  /** As dockerd configures the one that it starts itself when the host has none. */
  async #ensureContainerd(): Promise<void> {
    if (this.#containerd !== undefined) return;
    const { folder, runFolder } = this.host;
    const address = join(runFolder, "c/containerd.sock");
    const config = join(folder, "containerd.toml");
    const settings = [
      "version = 2",
      `root = "${folder}/containerd"`,
      `state = "${runFolder}/c"`,
      'disabled_plugins = ["io.containerd.grpc.v1.cri"]',
      "[grpc]",
      `address = "${address}"`,
    ];
    writeFileSync(config, `${settings.join("\n")}\n`);
    this.#containerd = this.host.spawn(["containerd", "--config", config], CONTAINERD_LOG);
    const deadline = performance.now() + CONTAINERD_TIMEOUT_MS;
    while (!existsSync(address)) {
      if (performance.now() > deadline) throw new Error(this.host.logTail(CONTAINERD_LOG));
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }

  async start(): Promise<number> {
    const begun = performance.now();
    await this.#ensureContainerd();
    const { folder, runFolder, cgroup } = this.host;
    const flags = [
      ...this.#extraFlags,
      `--data-root=${folder}/data`,
      `--exec-root=${runFolder}/exec`,
      `--pidfile=${runFolder}/pid`,
      `--host=unix://${this.socket}`,
      `--containerd=${runFolder}/c/containerd.sock`,
      `--cgroup-parent=${cgroup}`,
    ];
    this.#child = this.host.spawn(["dockerd", ...flags], LOG);
    await untilAnswering(this, this.#child, LOG);
    return performance.now() - begun;
  }

  crash(): Promise<void> {
    return end(this.#child, "SIGKILL");
  }

  pids(): readonly [number, number] {
    return [this.#child?.pid ?? 0, this.#containerd?.pid ?? 0];
  }
}

/** "20.10.24+dfsg1". */
export function dockerdVersion(): string {
  return (
    /version ([^,\s]+)/.exec(execFileSync("dockerd", ["--version"], { encoding: "utf8" }))?.[1] ??
    "?"
  );
}
