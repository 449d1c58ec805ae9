/**
 * Our containerd, or a shim of it, is killed under us: what runs goes on, what ended meanwhile is noticed,
 * requests are answered, and nothing stays behind.
 */

import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { docker } from "../../bench/lib/engine.ts";
import { SkepEngine } from "../../bench/lib/skep.ts";
import { send } from "../compatibility/call.ts";
import { imageArchive } from "../compatibility/engines.ts";
import { IMAGE } from "../compatibility/requests.ts";

const PATIENCE = { timeout: 60_000, interval: 100 };
const ROUNDS = Number(process.env["SKEP_CONTAINERD_ROUNDS"] ?? 1);
const LONG = process.env["SKEP_CONTAINERD_ROUNDS"] !== undefined;

let engine: SkepEngine;
let archive: Buffer;
const cli = (...args: readonly string[]) => docker(engine, ...args);
const tried = (...args: readonly string[]) => cli(...args).catch((error: unknown) => String(error));
const state = (name: string) =>
  cli("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}} {{.State.Pid}}", name);
const pidOf = async (name: string) => Number(await cli("inspect", "-f", "{{.State.Pid}}", name));
const inside = ["--network=none", IMAGE];
const COUNT = "i=0; while true; do echo line $i; i=$((i+1)); usleep 10000; done";
const containerdFolder = () => join(engine.host.runFolder, "x/containerd");
const engineLog = () => readFileSync(join(engine.host.folder, "skep.log"), "utf8");

beforeAll(async () => {
  engine = new SkepEngine();
  await engine.start();
  archive = await imageArchive();
  await send(engine.socket, { method: "POST", path: "/images/load?quiet=1", raw: archive });
}, 60_000);

afterAll(() => engine?.host.destroy());

afterEach(() => expect(engineLog()).not.toMatch(/a bug: stopping|InvariantError/));

/** Once the pid file names one that runs. */
async function killContainerd(): Promise<void> {
  await expect.poll(() => existsSync(`/proc/${engine.pids()[1]}`), PATIENCE).toBe(true);
  process.kill(engine.pids()[1], "SIGKILL");
}

test("containers and their logs do not notice, and requests of the moment are served", async () => {
  await cli("run", "-d", "--name=counts", ...inside, "sh", "-c", COUNT);
  const before = await state("counts");
  const sleeping = cli("exec", "counts", "sh", "-c", "sleep 3; echo over; exit 4").catch(String);
  await expect.poll(() => cli("top", "counts"), PATIENCE).toContain("echo over");
  await killContainerd();
  expect(await cli("run", "--rm", ...inside, "echo", "new")).toBe("new");
  expect(await cli("exec", "counts", "echo", "in")).toBe("in");
  expect(await state("counts")).toBe(before);
  const lines = (await cli("logs", "counts")).split("\n");
  expect(lines).toEqual(lines.map((_, i) => `line ${i}`));
  expect(await sleeping).toContain("4");
  await cli("rm", "-f", "counts");
}, 90_000);

test("while it is away: ends are noticed afterwards, policies go on, requests wait or are refused by name", async () => {
  await cli("run", "-d", "--name=always", "--restart=always", ...inside, "sleep", "1000");
  await cli("run", "-d", "--name=ends", ...inside, "sh", "-c", "sleep 2; exit 5");
  await cli("run", "-d", "--rm", "--name=goes", ...inside, "sleep", "2");
  await cli("run", "-d", "--name=stays", "--restart=always", ...inside, "sleep", "1000");
  const [always, stays] = [await pidOf("always"), await state("stays")];
  const waiting = tried("wait", "ends");
  // What the engine writes first for a new one cannot be written.
  let asked = Promise.resolve("");
  const inTheWay = join(containerdFolder(), "containerd.toml.new");
  mkdirSync(inTheWay);
  try {
    await killContainerd();
    process.kill(always, "SIGKILL");
    await expect.poll(engineLog, PATIENCE).toContain("containerd could not be started again");
    expect(await cli("ps", "-q")).not.toBe("");
    asked = tried("run", "--rm", ...inside, "echo", "waited");
    await new Promise((resolve) => setTimeout(resolve, 500));
    if (LONG) await refusals();
  } finally {
    rmdirSync(inTheWay);
  }
  if (!LONG) expect(await asked).toBe("waited");
  expect(await waiting).toBe("5");
  await expect.poll(() => state("ends"), PATIENCE).toBe("exited 5 0");
  await expect.poll(() => tried("inspect", "goes"), PATIENCE).toContain("No such object");
  await expect
    .poll(async () => (await state("always")).replace(String(always), "the first"), PATIENCE)
    .toMatch(/^running 0 \d+$/);
  expect(await state("stays")).toBe(stays);
  process.kill(await pidOf("stays"), "SIGKILL");
  await expect
    .poll(async () => (await state("stays")) !== stays && (await state("stays")), PATIENCE)
    .toMatch(/^running 0 \d+$/);
  await cli("rm", "-f", "always", "stays", "ends");
}, 120_000);

/** It is away for longer than anybody waits. */
async function refusals(): Promise<void> {
  const answers = await Promise.all([
    tried("run", "--rm", ...inside, "true"),
    tried("stop", "-t", "1", "stays"),
    tried("kill", "-s", "USR1", "stays"),
    tried("create", ...inside, "true"),
  ]);
  for (const answer of answers) expect(answer).toContain("containerd.sock");
}

test.each(Array.from({ length: ROUNDS }, (_, i) => i))(
  "in the middle of everything, round %i: nothing is left over, nothing is unusable",
  async (round) => {
    const work = async (client: number) => {
      const name = `r${round}c${client}`;
      const answers = [
        await tried("run", "-d", "--name", name, ...inside, "sleep", "1000"),
        await tried("exec", name, "echo", "x"),
        await tried("run", "--rm", ...inside, "echo", "y"),
        await tried("restart", "-t", "0", name),
        await tried("stop", "-t", "0", name),
        await tried("rm", "-f", name),
      ];
      return answers;
    };
    const all = Promise.all([0, 1, 2].map(work));
    const load = send(engine.socket, {
      method: "POST",
      path: "/images/load?quiet=1",
      raw: archive,
    }).catch(String);
    await new Promise((resolve) => setTimeout(resolve, Math.random() * 1_500));
    await killContainerd();
    await all;
    await load;
    expect(await cli("run", "--rm", ...inside, "echo", "well")).toBe("well");
    for (const id of (await cli("ps", "-aq")).split("\n").filter((text) => text !== "")) {
      await expect
        .poll(() => tried("rm", "-f", id), PATIENCE)
        .toMatch(new RegExp(`^${id}$|No such container|is already in progress`));
    }
    await expect.poll(() => tried("ps", "-aq"), PATIENCE).toBe("");
    const bundles = join(containerdFolder(), "io.containerd.runtime.v2.task/skep");
    await expect.poll(() => names(bundles), PATIENCE).toEqual([]);
    await expect.poll(() => names(join(engine.host.runFolder, "x/io")), PATIENCE).toEqual([]);
    await expect.poll(() => engine.host.processes().filter(isShim), PATIENCE).toEqual([]);
  },
  120_000,
);

/** Made when it is needed first. */
const names = (folder: string) => (existsSync(folder) ? readdirSync(folder) : []);

function isShim(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("containerd-shim");
  } catch {
    return false;
  }
}

test("a shim that is killed: its container is told as ended, cleared away and restarted by its policy", async () => {
  await cli("run", "-d", "--name=again", "--restart=always", ...inside, "sleep", "1000");
  await cli("run", "-d", "--name=once", ...inside, "sleep", "1000");
  const pids = [await pidOf("again"), await pidOf("once")];
  for (const pid of engine.host.processes().filter(isShim)) process.kill(pid, "SIGKILL");
  await expect.poll(() => state("once"), PATIENCE).toMatch(/^exited (255|137) 0$/);
  await expect
    .poll(async () => (await state("again")).replace(String(pids[0]), "the first"), PATIENCE)
    .toMatch(/^running 0 \d+$/);
  expect(engine.host.processes().filter((pid) => pids.includes(pid))).toEqual([]);
  await cli("start", "once");
  expect(await cli("exec", "once", "echo", "on")).toBe("on");
  await cli("rm", "-f", "again", "once");
}, 90_000);
