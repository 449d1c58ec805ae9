/** The engine is killed with SIGKILL at the worst moments; its containers must not notice. */

import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import type { ContainerInspect } from "#wire/docker/containers.ts";
import { docker, type EngineProcess, type Harness, IMAGE, makeHarness } from "./harness.ts";

const DOCKER = "/usr/local/bin/docker";

let harness: Harness;
let engine: EngineProcess | undefined;

beforeAll(async () => {
  harness = await makeHarness();
});

afterAll(() => harness?.remove());

afterEach(async () => {
  await engine?.kill();
  engine = undefined;
});

const cli = (...args: string[]) => docker(DOCKER, harness.socket, args);
const sh = (script: string) => ["--network", "none", IMAGE, "sh", "-c", script];

async function inspect(name: string): Promise<ContainerInspect> {
  const [found] = JSON.parse((await cli("inspect", name)).stdout) as [ContainerInspect];
  return found;
}

async function ok(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await cli(...args);
  expect(stderr).toBe("");
  expect(code).toBe(0);
  return stdout.trim();
}

test("what runs goes on: same process, no line lost, stop and exec still work", async () => {
  engine = await harness.spawn();
  await ok(
    "run",
    "-d",
    "--name",
    "on",
    ...sh("i=0; while true; do echo line $i; i=$((i+1)); sleep 0.01; done"),
  );
  const before = (await inspect("on")).State;
  await engine.kill();
  engine = await harness.spawn();
  const after = (await inspect("on")).State;
  expect(after).toMatchObject({ Status: "running", Pid: before.Pid, StartedAt: before.StartedAt });
  expect(await ok("exec", "on", "echo", "hi")).toBe("hi");
  await ok("stop", "-t", "0", "on");
  expect((await inspect("on")).State).toMatchObject({ Status: "exited", ExitCode: 137 });
  const lines = (await ok("logs", "on")).split("\n");
  expect(lines).toEqual(lines.map((_, i) => `line ${i}`));
  expect(lines.length).toBeGreaterThan(20);
});

const WRITER = "i=0; while [ $i -lt 30000 ]; do echo line number $i; i=$((i+1)); done; sleep 100";

test("a process that writes while nobody reads waits; an orderly restart loses nothing", async () => {
  engine = await harness.spawn();
  await ok("run", "-d", "--name", "full", ...sh(WRITER));
  for (let i = 0; i < 3; i++) {
    await engine.stop();
    engine = await harness.spawn();
  }
  await untilTrue(async () => (await ok("logs", "--tail", "1", "full")) === "line number 29999");
  const lines = (await ok("logs", "full")).split("\n");
  expect(lines).toEqual(lines.map((_, i) => `line number ${i}`));
  await ok("rm", "-f", "full");
});

test("killed while it reads: what was in its memory is gone, and nothing else", async () => {
  engine = await harness.spawn();
  await ok("run", "-d", "--name", "cut", ...sh(WRITER));
  await engine.kill();
  engine = await harness.spawn();
  await untilTrue(async () => (await ok("logs", "--tail", "1", "cut")) === "line number 29999");
  const numbers = (await ok("logs", "cut"))
    .split("\n")
    .filter((line) => /^line number \d+$/.test(line))
    .map((line) => Number(line.slice("line number ".length)));
  const gaps = numbers.flatMap((n, i) => {
    const missing = n - (numbers[i - 1] ?? -1) - 1;
    return missing === 0 ? [] : [missing];
  });
  expect(gaps.length).toBeLessThanOrEqual(1);
  // One read of the FIFO, and the write before it.
  expect(gaps[0] ?? 0).toBeLessThan(15_000);
  await ok("rm", "-f", "cut");
});

test("ends that nobody saw: code and time from the shim, policies obeyed, --rm removed", async () => {
  engine = await harness.spawn();
  await ok("run", "-d", "--name", "short", ...sh("sleep 0.3; exit 5"));
  await ok("run", "-d", "--rm", "--name", "gone", ...sh("sleep 0.3"));
  await ok("run", "-d", "--restart", "always", "--name", "always", ...sh("sleep 0.3; exit 1"));
  await ok("run", "-d", "--restart", "unless-stopped", "--name", "halted", ...sh("sleep 100"));
  await ok("stop", "-t", "0", "halted");
  await engine.kill();
  await new Promise((resolve) => setTimeout(resolve, 600));
  const restartedAt = Date.now();
  engine = await harness.spawn();
  expect((await cli("wait", "short")).stdout).toBe("5\n");
  const { FinishedAt } = (await inspect("short")).State;
  expect(Date.parse(FinishedAt)).toBeLessThan(restartedAt);
  expect((await inspect("halted")).State.Status).toBe("exited");
  await untilTrue(async () => (await cli("inspect", "gone")).code !== 0);
  await untilTrue(async () => (await inspect("always")).State.Running);
  await ok("rm", "-f", "always");
});

test("a created container survives; it starts under the next engine", async () => {
  engine = await harness.spawn();
  await ok("create", "--name", "later", ...sh("echo later"));
  await engine.kill();
  engine = await harness.spawn();
  expect(await ok("start", "-a", "later")).toBe("later");
});

test("a kill in the middle of many starts leaves no task and no snapshot without an owner", async () => {
  engine = await harness.spawn();
  const names = Array.from({ length: 6 }, (_, i) => `mid${i}`);
  const starts = names.map((name) => cli("run", "-d", "--name", name, ...sh("sleep 100")));
  await new Promise((resolve) => setTimeout(resolve, 250));
  await engine.kill();
  await Promise.all(starts);
  engine = await harness.spawn();
  const known = (await ok("ps", "-aq", "--no-trunc")).split("\n").filter((id) => id !== "");
  const folders = await readdir(join(harness.folder, "data/containers"));
  expect(folders.sort()).toEqual(known.sort());
  const tasks = join(harness.folder, "state/io.containerd.runtime.v2.task/skep-test");
  const running = (await ok("ps", "-q", "--no-trunc")).split("\n").filter((id) => id !== "");
  await untilTrue(async () => (await readdir(tasks)).length === running.length);
  expect((await readdir(tasks)).sort()).toEqual(running.sort());
  for (const name of names) await cli("rm", "-f", name);
});

async function untilTrue(check: () => Promise<boolean>): Promise<void> {
  for (let i = 0; i < 1_200; i++) {
    if (await check()) return;
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  throw new Error("it did not become true in 30 s");
}
