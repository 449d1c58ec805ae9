/** A private containerd with a busybox image, and engines over it, for the tests of this folder. */

import { type ChildProcess, execFile, spawn } from "node:child_process";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { busyboxLayer, dockerArchive, makeImage, makeTar, streamOf } from "../images/fixtures.ts";
import { makeScratch, type Scratch, unmountUnder } from "../images/scratch.ts";
import { type Host, openHost } from "./engine-host.ts";

export const IMAGE = "busybox:test";
export const DOCKERS = ["/usr/bin/docker", "/usr/local/bin/docker"];

export interface Harness {
  readonly folder: string;
  readonly socket: string;
  /** An engine in this process; the one before must be closed. */
  open(): Promise<Host>;
  /** An engine in a process of its own, ready to serve. */
  spawn(): Promise<EngineProcess>;
  /** Removes every container, and everything else. */
  remove(): Promise<void>;
}

export interface EngineProcess {
  /** SIGKILL, and the end of the process. */
  kill(): Promise<void>;
  stop(): Promise<void>;
}

export async function makeHarness(): Promise<Harness> {
  const scratch = await makeScratch("skep-test");
  try {
    const host = await openHost(scratch.folder);
    await loadBusybox(host);
    await host.close();
  } catch (error) {
    await scratch.remove();
    throw error;
  }
  const children = new Set<ChildProcess>();
  return {
    folder: scratch.folder,
    socket: join(scratch.folder, "engine.sock"),
    open: () => openHost(scratch.folder),
    spawn: () => spawnEngine(scratch.folder, children),
    remove: () => removeHarness(scratch, children),
  };
}

const APPLETS = [
  "cat",
  "echo",
  "false",
  "id",
  "ls",
  "sleep",
  "true",
  "tty",
  "env",
  "mount",
  "stty",
];

async function loadBusybox(host: Host): Promise<void> {
  const links = await makeTar(
    APPLETS.map((name) => ({ name: `bin/${name}`, type: "symlink", linkname: "busybox" })),
  );
  const tables = await makeTar([
    { name: "etc/passwd", content: "root:x:0:0:root:/root:/bin/sh\nann:x:1000:100::/:/bin/sh\n" },
    { name: "etc/group", content: "root:x:0:\nusers:x:100:\nwheel:x:10:root,ann\n" },
    { name: "data/", type: "directory", mode: 0o750 },
    { name: "data/seed", content: "from the image\n" },
  ]);
  const layers = [await busyboxLayer(), links, tables];
  const archive = await dockerArchive([{ image: makeImage(layers), tags: [IMAGE] }]);
  await host.images.load(streamOf(archive), () => undefined);
}

async function spawnEngine(folder: string, children: Set<ChildProcess>): Promise<EngineProcess> {
  const program = join(import.meta.dirname, "engine-host.ts");
  const child = spawn(process.execPath, ["--import", "tsx", program, folder], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  children.add(child);
  const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  await new Promise<void>((resolve, reject) => {
    child.stdout.once("data", () => resolve());
    child.once("exit", (code) => reject(new Error(`the engine ended with ${code}`)));
  });
  const end = async (signal: "SIGKILL" | "SIGTERM") => {
    child.kill(signal);
    await ended;
    children.delete(child);
  };
  return { kill: () => end("SIGKILL"), stop: () => end("SIGTERM") };
}

async function removeHarness(scratch: Scratch, children: Set<ChildProcess>): Promise<void> {
  for (const child of children) child.kill("SIGKILL");
  const host = await openHost(scratch.folder);
  for (const { Id } of await host.containers.list({ all: true, filters: new Map() })) {
    await host.containers.remove(Id, { force: true, volumes: true });
  }
  await host.close();
  await unmountUnder(scratch.folder);
  await scratch.remove();
  await rm(scratch.folder, { recursive: true, force: true });
}

export interface Finished {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a docker command line against the harness' engine. */
export function docker(
  program: string,
  socket: string,
  args: readonly string[],
  input = "",
): Promise<Finished> {
  return new Promise((resolve) => {
    const child = execFile(
      program,
      ["-H", `unix://${socket}`, ...args],
      { timeout: 60_000, maxBuffer: 64 * 1024 * 1024 },
      (error, stdout, stderr) => {
        const code = error === null ? 0 : Number(error.code ?? 255);
        resolve({ code, stdout, stderr });
      },
    );
    // A command that failed at once has closed its input.
    child.stdin?.on("error", () => undefined);
    child.stdin?.end(input);
  });
}
