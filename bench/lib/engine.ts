/** An engine under measurement: ours or the peer's, seen through one docker command line. */

import { type ChildProcess, execFile } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { request } from "node:http";
import { type Host, PLAIN_ENV } from "./host.ts";

/** The command line that drives both; Debian's, if it is there, because the peer is Debian's too. */
export const DOCKER = existsSync("/usr/bin/docker") ? "/usr/bin/docker" : "docker";

const ANSWER_TIMEOUT_MS = 60_000;
const POLL_MS = 2;

export interface Engine {
  readonly title: string;
  readonly host: Host;
  readonly socket: string;
  /** Starts the engine's own process; resolves to the milliseconds until it answers a ping. */
  start(): Promise<number>;
  /** Ends the engine's own process as a crash would. */
  crash(): Promise<void>;
  /** Of the engine, and of its containerd. */
  pids(): readonly [engine: number, containerd: number];
}

/** Runs docker against the engine; what it prints. */
export function docker(engine: Engine, ...args: readonly string[]): Promise<string> {
  return run(DOCKER, args, { DOCKER_HOST: `unix://${engine.socket}` });
}

export function run(
  program: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<string> {
  return new Promise((resolve, reject) => {
    const options = { env: { ...PLAIN_ENV, ...env }, maxBuffer: 1 << 26 };
    execFile(program, args, options, (error, stdout, stderr) => {
      if (error === null) resolve(stdout.trim());
      else reject(new Error(`${program} ${args.join(" ")}: ${stderr || error.message}`));
    });
  });
}

/** The body of a GET; undefined when there is no answer, or another than 200. */
export function get(engine: Engine, path: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    const sent = request({ socketPath: engine.socket, path, agent: false }, (response) => {
      let text = "";
      response.on("data", (chunk) => (text += String(chunk)));
      response.on("end", () => resolve(response.statusCode === 200 ? text : undefined));
    });
    sent.on("error", () => resolve(undefined));
    sent.end();
  });
}

/** Resolves to the milliseconds until the engine answers; rejects when its process ends first. */
export async function untilAnswering(
  engine: Engine,
  child: ChildProcess,
  log: string,
): Promise<number> {
  const begun = performance.now();
  let ended = false;
  child.once("exit", () => (ended = true));
  while ((await get(engine, "/_ping")) !== "OK") {
    const late = performance.now() - begun > ANSWER_TIMEOUT_MS;
    if (ended || late) {
      throw new Error(`${engine.title} does not answer:\n${engine.host.logTail(log)}`);
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  return performance.now() - begun;
}

/** Sends a signal, and waits until the process has ended. */
export async function end(child: ChildProcess | undefined, signal: NodeJS.Signals): Promise<void> {
  if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once("exit", resolve));
  child.kill(signal);
  await ended;
}

const PAGE_KIB = 4;
/** Clock ticks per second in /proc; 100 on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100;

export interface Usage {
  readonly rssMib: number;
  readonly cpuSeconds: number;
}

/** Memory and CPU time of processes, summed. */
export function usageOf(pids: readonly number[]): Usage {
  let rssMib = 0;
  let cpuSeconds = 0;
  for (const pid of pids) {
    const pages = Number(readFileSync(`/proc/${pid}/statm`, "utf8").split(" ")[1]);
    rssMib += (pages * PAGE_KIB) / 1024;
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    cpuSeconds += (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
  }
  return { rssMib, cpuSeconds };
}
