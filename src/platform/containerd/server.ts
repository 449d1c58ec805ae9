/**
 * Our own containerd: a process in its own session that outlives us. A start adopts one that runs
 * already (after a crash or an upgrade of the engine); `close` leaves it running, `stop` ends it.
 * While we live, one that dies is started again; its shims, and so the containers, do not notice.
 */

import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, open, rename, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { EngineError, messageOf } from "#base/error.ts";
import type { Clock, Log, Timer } from "#base/ports.ts";
import { sleep } from "../async.ts";
import { type ContainerdConfig, renderConfig, SOCKET_PATH_MAX_BYTES } from "./config.ts";
import {
  findProcess,
  identityOf,
  isRunning,
  type ProcessIdentity,
  readPidFile,
  removePidFile,
  writePidFile,
} from "./pid-file.ts";

export interface StartOptions {
  /** Persistent data of containerd, e.g. DATA_ROOT/containerd. */
  readonly root: string;
  /** Its runtime state, e.g. EXEC_ROOT/containerd: configuration, socket, pid file. */
  readonly state: string;
  /** Socket; `state`/containerd.sock unless told. */
  readonly address?: string | undefined;
  /** `root`/containerd.log unless told. */
  readonly logFile?: string | undefined;
  /** Program; found on the PATH unless it is a path. */
  readonly binary?: string | undefined;
  readonly logLevel?: ContainerdConfig["logLevel"] | undefined;
  readonly clock: Clock;
  readonly log: Log;
  readonly signal?: AbortSignal | undefined;
}

export interface ContainerdServer {
  readonly address: string;
  /** The process now; changes when it had to be started again. */
  pid(): number;
  /** Stops watching over it, and leaves it running. */
  close(): void;
  /** Ends it; containers go on under their shims. */
  stop(): Promise<void>;
}

const SERVING_TIMEOUT_MS = 30_000;
const LISTENING_POLL_MS = 5;
const STOP_TIMEOUT_MS = 10_000;
const WATCH_INTERVAL_MS = 1_000;
const RESTART_BACKOFF_MAX_MS = 30_000;
const LOG_FILE_MAX_BYTES = 16 * 1024 * 1024;
/** containerd looks for runc and its shim on the PATH, which a bare service environment may lack. */
const PATH_TAIL = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

export async function startContainerd(options: StartOptions): Promise<ContainerdServer> {
  const server = new OwnContainerd(options);
  await server.start();
  return server;
}

class OwnContainerd implements ContainerdServer {
  readonly address: string;
  readonly #options: StartOptions;
  readonly #pidFile: string;
  readonly #configFile: string;
  readonly #logFile: string;
  readonly #log: Log;
  #process: ProcessIdentity | undefined;
  #watch: Timer | undefined;
  #failures = 0;
  #closed = false;

  constructor(options: StartOptions) {
    this.#options = options;
    this.address = options.address ?? join(options.state, "containerd.sock");
    this.#pidFile = join(options.state, "containerd.pid");
    this.#configFile = join(options.state, "containerd.toml");
    this.#logFile = options.logFile ?? join(options.root, "containerd.log");
    this.#log = options.log.child({ component: "containerd" });
    const longest = `${this.address}.ttrpc`;
    if (new TextEncoder().encode(longest).length > SOCKET_PATH_MAX_BYTES) {
      throw new EngineError(
        "invalid-argument",
        `the path of containerd's socket is too long (${longest}): choose a shorter exec root`,
      );
    }
  }

  pid(): number {
    return this.#process?.pid ?? 0;
  }

  async start(): Promise<void> {
    await mkdir(this.#options.root, { recursive: true, mode: 0o711 });
    await mkdir(this.#options.state, { recursive: true, mode: 0o711 });
    await mkdir(dirname(this.address), { recursive: true, mode: 0o711 });
    const running = (await readPidFile(this.#pidFile)) ?? (await this.#find());
    if (running !== undefined && (await this.#adopt(running))) {
      this.#log.info("containerd adopted", { pid: running.pid });
    } else {
      await this.#launch();
    }
    this.#scheduleWatch(WATCH_INTERVAL_MS);
  }

  close(): void {
    this.#closed = true;
    this.#watch?.cancel();
  }

  async stop(): Promise<void> {
    this.close();
    if (this.#process !== undefined) await this.#end(this.#process);
    await removePidFile(this.#pidFile);
    await rm(this.address, { force: true });
    await rm(`${this.address}.ttrpc`, { force: true });
  }

  /** One that runs and is not named by the pid file, which was damaged or removed. */
  async #find(): Promise<ProcessIdentity | undefined> {
    if (!existsSync(this.address)) return undefined;
    const found = await findProcess((words) => {
      const at = words.indexOf("--config");
      return at === 1 && words[at + 1] === this.#configFile;
    });
    if (found !== undefined) await writePidFile(this.#pidFile, found);
    return found;
  }

  /** False when it does not answer; it is ended then, since two on one root destroy it. */
  async #adopt(running: ProcessIdentity): Promise<boolean> {
    try {
      await this.#untilServing(running);
      this.#process = running;
      return true;
    } catch (error) {
      this.#log.warn("a containerd of an earlier run does not answer, it is replaced", {
        pid: running.pid,
        error,
      });
      await this.#end(running);
      return false;
    }
  }

  async #launch(): Promise<void> {
    const { root, state, logLevel } = this.#options;
    const config = { root, state, address: this.address, logLevel: logLevel ?? "warn" } as const;
    await writeFile(`${this.#configFile}.new`, renderConfig(config), { mode: 0o600 });
    await rename(`${this.#configFile}.new`, this.#configFile);
    await rotateLog(this.#logFile);
    // A socket file that a killed one left would answer "connection refused" for ever.
    await rm(this.address, { force: true });
    const pid = await this.#spawn();
    const identity = await identityOf(pid);
    if (identity === undefined) throw await this.#startFailure("it ended at once");
    await writePidFile(this.#pidFile, identity);
    try {
      await this.#untilServing(identity);
    } catch (error) {
      if (await isRunning(identity)) await this.#end(identity);
      await removePidFile(this.#pidFile);
      throw await this.#startFailure(messageOf(error));
    }
    this.#process = identity;
    this.#log.info("containerd started", { pid, address: this.address });
  }

  async #spawn(): Promise<number> {
    const binary = this.#options.binary ?? "containerd";
    const logFile = await open(this.#logFile, "a", 0o640);
    try {
      const child = spawn(binary, ["--config", this.#configFile], {
        detached: true,
        stdio: ["ignore", logFile.fd, logFile.fd],
        cwd: "/",
        env: { ...process.env, PATH: `${process.env["PATH"] ?? ""}:${PATH_TAIL}` },
      });
      await new Promise<void>((resolve, reject) => {
        child.once("spawn", resolve);
        child.once("error", reject);
      });
      child.unref();
      return child.pid ?? 0;
    } catch (error) {
      throw new EngineError(
        "failed-precondition",
        `containerd cannot be started (${messageOf(error)}): install the package "containerd", or point --containerd at a running one`,
        { cause: error },
      );
    } finally {
      await logFile.close();
    }
  }

  /** Resolves when it answers; rejects as soon as it is gone, or late. */
  async #untilServing(identity: ProcessIdentity): Promise<void> {
    const gone = new AbortController();
    const { clock, signal } = this.#options;
    const onAbort = () => gone.abort(signal?.reason);
    signal?.addEventListener("abort", onAbort, { once: true });
    const probe = async () => {
      while (!gone.signal.aborted) {
        if (!(await isRunning(identity))) {
          gone.abort(new EngineError("unavailable", "it ended"));
          return;
        }
        await sleep(clock, 100, gone.signal).catch(() => undefined);
      }
    };
    const probing = probe();
    try {
      await this.#untilListening(gone.signal);
      // Loaded only now: containerd can start while this process still reads its own code.
      const { connectContainerd } = await import("./client.ts");
      const containerd = await connectContainerd({
        address: this.address,
        namespace: "skep",
        clock,
        timeoutMs: SERVING_TIMEOUT_MS,
        signal: gone.signal,
      });
      containerd.close();
    } finally {
      gone.abort();
      signal?.removeEventListener("abort", onAbort);
      await probing;
    }
  }

  /** A connection that is refused once would wait before it tries again. */
  async #untilListening(signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    const deadline = clock.monotonicMs() + SERVING_TIMEOUT_MS;
    while (!existsSync(this.address) && clock.monotonicMs() < deadline) {
      await sleep(clock, LISTENING_POLL_MS, signal);
    }
  }

  async #startFailure(reason: string): Promise<EngineError> {
    const tail = await lastLines(this.#logFile, 5);
    return new EngineError(
      "unavailable",
      `containerd did not start: ${reason}. Its log ${this.#logFile} ends with:\n${tail}`,
    );
  }

  async #end(identity: ProcessIdentity): Promise<void> {
    const { clock } = this.#options;
    for (const signal of ["SIGTERM", "SIGKILL"] as const) {
      try {
        process.kill(identity.pid, signal);
      } catch {
        return;
      }
      const deadline = clock.monotonicMs() + STOP_TIMEOUT_MS;
      while (clock.monotonicMs() < deadline) {
        if (!(await isRunning(identity))) return;
        await sleep(clock, 20);
      }
    }
    throw new EngineError("internal", `containerd (pid ${identity.pid}) cannot be stopped`);
  }

  #scheduleWatch(delayMs: number): void {
    if (this.#closed) return;
    this.#watch = this.#options.clock.setTimer(delayMs, () => void this.#look());
  }

  async #look(): Promise<void> {
    if (this.#process !== undefined && (await isRunning(this.#process))) {
      this.#failures = 0;
      return this.#scheduleWatch(WATCH_INTERVAL_MS);
    }
    if (this.#closed) return;
    this.#log.error("containerd died, starting it again", { pid: this.pid() });
    try {
      await this.#launch();
      this.#scheduleWatch(WATCH_INTERVAL_MS);
    } catch (error) {
      this.#failures += 1;
      this.#log.error("containerd could not be started again", { error });
      const backoffMs = WATCH_INTERVAL_MS * 2 ** Math.min(this.#failures, 10);
      this.#scheduleWatch(Math.min(backoffMs, RESTART_BACKOFF_MAX_MS));
    }
  }
}

/** One old log is kept. */
async function rotateLog(path: string): Promise<void> {
  const size = await stat(path).then(
    (found) => found.size,
    () => 0,
  );
  if (size > LOG_FILE_MAX_BYTES) await rename(path, `${path}.1`);
}

async function lastLines(path: string, count: number): Promise<string> {
  const handle = await open(path, "r").catch(() => undefined);
  if (handle === undefined) return "(no log)";
  try {
    const { size } = await handle.stat();
    const length = Math.min(size, 4096);
    const { buffer } = await handle.read(Buffer.alloc(length), 0, length, size - length);
    return buffer.toString("utf8").trimEnd().split("\n").slice(-count).join("\n");
  } finally {
    await handle.close();
  }
}
