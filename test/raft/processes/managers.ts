/**
 * Managers in processes of their own, on one machine: started, killed, paused and asked from here.
 * They run from a bundle, as the engine does, so that what is measured is what is shipped.
 */

import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync, rmSync } from "node:fs";
import { mkdir, open } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { freePort } from "../../identity/fixtures.ts";
import { controlSocketOf } from "../../identity/pretend-swarm.ts";
import type { Answer, Command, ProcessInfo } from "./protocol.ts";

const here = fileURLToPath(new URL(".", import.meta.url));
const root = fileURLToPath(new URL("../../..", import.meta.url));

/** Bundles the manager process; resolves to the file. */
export async function bundleManager(): Promise<string> {
  // Beside the packages, where the native ones are found; one per process, as tests may overlap.
  const outfile = join(root, `node_modules/.cache/skep/manager-${process.pid}.mjs`);
  await build({
    absWorkingDir: root,
    entryPoints: [join(here, "manager-process.ts")],
    outfile,
    bundle: true,
    format: "esm",
    platform: "node",
    mainFields: ["module", "main"],
    target: "node20",
    external: ["koffi"],
    define: { SKEP_VERSION: '"test"', SKEP_COMMIT: '"test"' },
    banner: {
      js: 'import { createRequire as __createRequire } from "node:module"; const require = __createRequire(import.meta.url);',
    },
    logLevel: "warning",
    sourcemap: "linked",
  });
  process.once("exit", () => {
    for (const file of [outfile, `${outfile}.map`]) rmSync(file, { force: true });
  });
  return outfile;
}

/** What the engine's launcher tells Node. */
function engineFlags(): readonly string[] {
  const [, line = ""] = readFileSync(join(root, "bin/skep"), "utf8").split("\n");
  return line.split(" ").filter((word) => /^--\w/.test(word));
}

export interface ManagerOptions {
  readonly bundle: string;
  readonly name: string;
  /** Where the node keeps its data and its log file. */
  readonly dir: string;
  /** "host:port"; a free port of this machine if absent. */
  readonly address?: string;
  /** Runs the process through this command, e.g. in a network namespace. */
  readonly prefix?: readonly string[];
  readonly nodeFlags?: readonly string[];
}

export class ManagerProcess {
  readonly name: string;
  readonly dataRoot: string;
  readonly address: string;
  readonly logFile: string;
  readonly #options: ManagerOptions;
  #child: ChildProcess | undefined;
  #exited: Promise<void> = Promise.resolve();
  #orders = 0;
  readonly #waiting = new Map<number, (answer: Answer) => void>();

  private constructor(options: ManagerOptions, address: string) {
    this.#options = options;
    this.name = options.name;
    this.dataRoot = join(options.dir, options.name);
    this.logFile = join(options.dir, `${options.name}.log`);
    this.address = address;
  }

  static async make(options: ManagerOptions): Promise<ManagerProcess> {
    return new ManagerProcess(options, options.address ?? `127.0.0.1:${await freePort()}`);
  }

  get controlSocket(): string {
    return controlSocketOf(this.dataRoot);
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  get running(): boolean {
    return this.#child !== undefined;
  }

  /** Starts the process; it takes up what its disk holds. */
  async start(): Promise<void> {
    await mkdir(this.dataRoot, { recursive: true });
    const log = await open(this.logFile, "a");
    const { bundle, name, prefix = [], nodeFlags = [] } = this.#options;
    const words = [
      ...prefix,
      process.execPath,
      "--enable-source-maps",
      ...engineFlags(),
      ...nodeFlags,
      bundle,
      name,
      this.dataRoot,
      this.address,
      process.env["SKEP_TEST_LOG"] ?? "info",
    ];
    const [command = "", ...rest] = words;
    const child = spawn(command, rest, { stdio: ["ignore", log.fd, log.fd, "ipc"] });
    await log.close();
    this.#child = child;
    this.#exited = new Promise((resolve) => {
      child.once("exit", () => {
        if (this.#child === child) this.#child = undefined;
        for (const [id, tell] of this.#waiting) tell({ id, error: `${name} has ended` });
        this.#waiting.clear();
        resolve();
      });
    });
    child.on("message", (answer: Answer) => {
      this.#waiting.get(answer.id)?.(answer);
      this.#waiting.delete(answer.id);
    });
    await this.ask({ op: "start" });
  }

  async ask(command: Command): Promise<unknown> {
    const child = this.#child;
    if (child === undefined) throw new Error(`${this.name} does not run`);
    this.#orders += 1;
    const id = this.#orders;
    const answer = await new Promise<Answer>((resolve) => {
      this.#waiting.set(id, resolve);
      child.send({ ...command, id }, (error) => {
        if (error === null) return;
        this.#waiting.delete(id);
        resolve({ id, error: error.message });
      });
    });
    if (answer.error !== undefined) throw new Error(`${this.name}: ${answer.error}`);
    return answer.value;
  }

  async info(): Promise<ProcessInfo> {
    return (await this.ask({ op: "info" })) as ProcessInfo;
  }

  /** Sends a signal: SIGKILL is a crash, SIGSTOP a pause. */
  signal(signal: NodeJS.Signals): void {
    this.#child?.kill(signal);
  }

  async kill(): Promise<void> {
    this.signal("SIGKILL");
    await this.#exited;
  }

  async close(): Promise<void> {
    if (this.#child === undefined) return;
    await this.ask({ op: "close" });
    this.#child?.disconnect();
    await this.#exited;
  }
}

/** A swarm of these processes, the first one leading. */
export async function formSwarm(managers: readonly ManagerProcess[]): Promise<void> {
  const [first, ...others] = managers;
  if (first === undefined) return;
  await Promise.all(managers.map((manager) => manager.start()));
  await first.ask({ op: "init", forceNewCluster: false });
  const token = (await first.ask({ op: "token" })) as string;
  for (const other of others) await other.ask({ op: "join", remote: first.address, token });
  await until(20_000, "a vote for everyone", async () => {
    const { members } = await first.info();
    return members.filter(({ voter }) => voter).length === managers.length;
  });
}

/** The manager that leads and says so, among those that answer. */
export async function leaderOf(managers: readonly ManagerProcess[]): Promise<ManagerProcess> {
  return await until(20_000, "a leader", async () => {
    for (const manager of managers) {
      if (!manager.running) continue;
      const { leads } = await manager.info();
      if (leads) return manager;
    }
    return undefined;
  });
}

export async function until<T>(
  timeoutMs: number,
  what: string,
  look: () => Promise<T | undefined | false>,
): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const found = await look();
    if (found !== undefined && found !== false) return found;
    if (performance.now() > deadline) throw new Error(`${what} did not come in ${timeoutMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
