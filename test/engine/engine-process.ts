/**
 * The real engine, as a process of its own on scratch roots, with its own containerd. It runs from
 * the bundle in `dist/`, so what is tested is what users start.
 */

import { type ChildProcess, execFile, execFileSync, spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const SKEP = fileURLToPath(new URL("../../bin/skep", import.meta.url));
/** Both command lines that users have: Debian's 20.10 and, where there is one, a newer. */
export const DOCKERS = ["/usr/bin/docker", "/usr/local/bin/docker"].filter((path) =>
  existsSync(path),
);

const BRIDGE = "skep0";

export interface Finished {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export class EngineProcess {
  readonly folder = mkdtempSync(join(tmpdir(), "skep-engine-"));
  readonly socket = join(this.folder, "x/skep.sock");
  readonly #hadBridge = spawnSync("ip", ["link", "show", "dev", BRIDGE]).status === 0;
  #process: ChildProcess | undefined;

  get log(): string {
    return readFileSync(join(this.folder, "log"), "utf8");
  }

  /** Starts it and waits until it answers; with `fails`, waits until it has ended. */
  async start(flags: readonly string[] = [], fails = false): Promise<number | undefined> {
    const log = openSync(join(this.folder, "log"), "a");
    const words = [SKEP, "engine", `--data-root=${this.folder}/d`, `--exec-root=${this.folder}/x`];
    const child = spawn(process.execPath, [...words, ...flags], { stdio: ["ignore", log, log] });
    const ended = new Promise<number>((resolve) => child.on("exit", (code) => resolve(code ?? -1)));
    if (fails) return ended;
    this.#process = child;
    for (let attempt = 0; attempt < 300; attempt += 1) {
      const answer = await this.http("GET", "/_ping").catch(() => undefined);
      if (answer?.status === 200) return undefined;
      const gone = await Promise.race([ended, new Promise((go) => setTimeout(go, 50, "on"))]);
      if (gone !== "on") throw new Error(`the engine ended:\n${this.log}`);
    }
    throw new Error(`the engine does not answer:\n${this.log}`);
  }

  signal(signal: NodeJS.Signals): void {
    this.#process?.kill(signal);
  }

  /** Waits until a line of the log matches. */
  async logged(pattern: RegExp): Promise<void> {
    for (let attempt = 0; attempt < 200; attempt += 1) {
      if (pattern.test(this.log)) return;
      await new Promise((go) => setTimeout(go, 50));
    }
    throw new Error(`not logged: ${String(pattern)}\n${this.log}`);
  }

  async end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#process;
    if (child === undefined) return;
    this.#process = undefined;
    const ended = new Promise((resolve) => child.on("exit", resolve));
    child.kill(signal);
    await ended;
  }

  /** Ends everything that was started, and removes the scratch folder. */
  async destroy(): Promise<void> {
    await this.#removeContainers();
    await this.end("SIGTERM");
    const file = join(this.folder, "x/containerd/containerd.pid");
    if (existsSync(file)) {
      const pid = Number(/\d+/.exec(readFileSync(file, "utf8"))?.[0]);
      if (pid > 1 && readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(this.folder)) {
        process.kill(pid, "SIGTERM");
        while (existsSync(`/proc/${pid}`)) await new Promise((go) => setTimeout(go, 20));
      }
    }
    this.#unmountAll();
    this.#removeBridge();
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** They outlive the engine, and their shims containerd. */
  async #removeContainers(): Promise<void> {
    const [docker] = DOCKERS;
    if (docker === undefined || this.#process === undefined) return;
    const { stdout } = await this.run(docker, ["ps", "-aq"]);
    const ids = stdout.split("\n").filter((id) => id !== "");
    if (ids.length > 0) await this.run(docker, ["rm", "-fv", ...ids]);
  }

  /** As docker's, the default bridge outlives its engine; on a machine that had none it goes. */
  #removeBridge(): void {
    if (this.#hadBridge) return;
    spawnSync("ip", ["link", "del", "dev", BRIDGE]);
    spawnSync("nft", ["delete", "table", "inet", "skep"]);
  }

  /** What running containers would still need stays mounted when an engine ends; here nothing runs. */
  #unmountAll(): void {
    const paths = readFileSync("/proc/self/mounts", "utf8")
      .split("\n")
      .map((line) => line.split(" ")[1] ?? "")
      .filter((path) => path.startsWith(`${this.folder}/`));
    for (const path of paths.reverse()) execFileSync("umount", [path]);
  }

  run(program: string, args: readonly string[]): Promise<Finished> {
    const env = { ...process.env, DOCKER_HOST: `unix://${this.socket}` };
    return new Promise((resolve) => {
      execFile(program, args, { env }, (error, stdout, stderr) => {
        const code = error === null ? 0 : Number(error.code ?? -1);
        resolve({ code, stdout, stderr });
      });
    });
  }

  skep(...args: readonly string[]): Promise<Finished> {
    return this.run(process.execPath, [SKEP, ...args]);
  }

  http(
    method: string,
    path: string,
    body?: string,
  ): Promise<{ readonly status: number; readonly text: string }> {
    return new Promise((resolve, reject) => {
      const headers = { "Content-Type": "application/json" };
      const sent = request({ socketPath: this.socket, method, path, headers }, (response) => {
        let text = "";
        response.on("data", (chunk) => (text += String(chunk)));
        response.on("end", () => resolve({ status: response.statusCode ?? 0, text }));
      });
      sent.on("error", reject);
      sent.end(body);
    });
  }
}
