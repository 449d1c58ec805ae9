/** A real Docker Engine for tests of both directions. */

import { type ChildProcess, execFile, execFileSync, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect } from "vitest";

const run = promisify(execFile);
/** An image that has a shell. */
export const DEMO = "web:demo";
/** Whether this machine has one. */
export const HAS_DOCKERD = existsSync("/usr/sbin/dockerd");

/** What dockerd makes on the host when it joins a swarm, and leaves there. */
const GATEWAY_BRIDGE = "docker_gwbridge";

/** dockerd with a root, a socket and a containerd of its own, and no network of its own. */
export class DockerEngine {
  readonly #folder: string;
  readonly #hadBridge = existsSync(`/sys/class/net/${GATEWAY_BRIDGE}`);
  readonly #process: ChildProcess;

  private constructor(folder: string, process: ChildProcess) {
    this.#folder = folder;
    this.#process = process;
  }

  static async start(): Promise<DockerEngine> {
    const folder = await mkdtemp(join(tmpdir(), "skep-dockerd-"));
    const settings = [
      ["--data-root", join(folder, "data")],
      ["--exec-root", join(folder, "exec")],
      ["--pidfile", join(folder, "pid")],
      ["--host", `unix://${folder}/docker.sock`],
      ["--bridge=none", "--iptables=false", "--ip-forward=false"],
    ].flat();
    const engine = new DockerEngine(folder, spawn("dockerd", settings, { stdio: "ignore" }));
    const answers = () =>
      engine.docker("version").then(
        () => true,
        () => false,
      );
    await expect.poll(answers, { timeout: 30_000 }).toBe(true);
    return engine;
  }

  async docker(...command: readonly string[]): Promise<string> {
    const { stdout } = await run("docker", [
      "-H",
      `unix://${this.#folder}/docker.sock`,
      ...command,
    ]);
    return stdout.trim();
  }

  async importDemo(): Promise<void> {
    const archive = join(this.#folder, "rootfs.tar");
    await writeFile(archive, demoRootfs());
    await this.docker("import", archive, DEMO);
  }

  async stop(): Promise<void> {
    const ended = new Promise((resolve) => this.#process.once("exit", resolve));
    this.#process.kill("SIGTERM");
    const late = setTimeout(() => this.#process.kill("SIGKILL"), 15_000);
    await ended;
    clearTimeout(late);
    // It mounts its root on itself, and does not always undo that.
    const mounts = execFileSync("mount", { encoding: "utf8" })
      .split("\n")
      .map((line) => line.split(" ")[2] ?? "")
      .filter((path) => path.startsWith(this.#folder));
    for (const path of mounts.toReversed()) await run("umount", [path]).catch(() => undefined);
    await rm(this.#folder, { recursive: true, force: true });
    if (!this.#hadBridge) await run("ip", ["link", "del", GATEWAY_BRIDGE]).catch(() => undefined);
  }
}

/** The demo image's files as tar. */
export function demoRootfs(): Buffer {
  const script = "tools/demo-image/make.sh";
  return execFileSync("bash", [script], { maxBuffer: 64 * 1024 * 1024 });
}
