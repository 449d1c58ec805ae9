/**
 * SIGKILL of the engine at random points of creates, starts, stops and removals: the next engine
 * leaves nothing on the host that belongs to no container, and everything else usable.
 */

import { randomBytes } from "node:crypto";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { removeCgroup } from "#cli/lab/power.ts";
import { docker, type EngineProcess, type Harness, IMAGE, makeHarness } from "./harness.ts";
import { listLeftovers } from "./leftovers.ts";

const DOCKER = "/usr/local/bin/docker";
const ROUNDS = Number(process.env["SKEP_CRASH_ROUNDS"] ?? 6);
const PARALLEL = 4;

let harness: Harness;
let engine: EngineProcess | undefined;
const cgroupParent = `/skep-crash-${randomBytes(4).toString("hex")}`;

beforeAll(async () => {
  harness = await makeHarness();
});

afterAll(async () => {
  await harness?.remove();
  removeCgroup(cgroupParent);
});

afterEach(async () => {
  await engine?.kill();
  engine = undefined;
});

const cli = (...args: string[]) => docker(DOCKER, harness.socket, args);

async function ids(...flags: string[]): Promise<readonly string[]> {
  const { code, stdout } = await cli("ps", "-q", "--no-trunc", ...flags);
  expect(code).toBe(0);
  return stdout.split("\n").filter((id) => id !== "");
}

/** What each of several clients does until its engine is gone. */
async function work(client: number, round: number): Promise<void> {
  const name = `r${round}c${client}`;
  const common = ["--network=none", `--cgroup-parent=${cgroupParent}`];
  await cli("run", "-d", ...common, "--name", name, "-v", "/data", IMAGE, "sleep", "1000");
  await cli("run", "--rm", ...common, IMAGE, "echo", "hi");
  await cli("restart", "-t", "0", name);
  await cli("rm", "-fv", name);
}

const sorted = (list: readonly string[]) => list.toSorted();

async function expectNothingLeft(): Promise<void> {
  const deadline = Date.now() + 30_000;
  for (;;) {
    const running = sorted(await ids());
    const existing = sorted(await ids("-a"));
    const { ofRunning, ofExisting } = listLeftovers(harness.folder, cgroupParent);
    const wrong = [
      ...Object.entries(ofRunning).map(([what, list]) => [what, sorted(list), running] as const),
      ...Object.entries(ofExisting).map(([what, list]) => [what, sorted(list), existing] as const),
    ].filter(([, found, wanted]) => JSON.stringify(found) !== JSON.stringify(wanted));
    if (wrong.length === 0) return;
    if (Date.now() > deadline) {
      expect(Object.fromEntries(wrong.map(([what, found]) => [what, found]))).toEqual(
        Object.fromEntries(wrong.map(([what, , wanted]) => [what, wanted])),
      );
    }
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

test.each(Array.from({ length: ROUNDS }, (_, round) => round))("round %i", async (round) => {
  engine = await harness.spawn();
  const clients = Array.from({ length: PARALLEL }, (_, client) => work(client, round));
  // Anywhere in the life of the containers: what is cut off differs from run to run.
  const delayMs = Math.round(Math.random() * 1500);
  await new Promise((resolve) => setTimeout(resolve, delayMs));
  await engine.kill();
  await Promise.all(clients);
  engine = await harness.spawn();
  await expectNothingLeft();
  for (const id of await ids("-a")) {
    const started = await cli("start", id);
    if (/is marked for removal|No such container/.test(started.stderr)) {
      // One with --rm that has just ended, or whose removal was cut off and goes on.
      await expect.poll(() => ids("-a"), { timeout: 10_000 }).not.toContain(id);
      continue;
    }
    expect(started).toMatchObject({ code: 0, stderr: "" });
    const sleeps = (await cli("inspect", "-f", "{{.Path}}", id)).stdout === "sleep\n";
    const alive = await cli("exec", id, "echo", "alive");
    if (sleeps) expect(alive).toEqual({ code: 0, stdout: "alive\n", stderr: "" });
    await cli("rm", "-fv", id);
  }
  await expectNothingLeft();
  expect((await cli("volume", "ls", "-q")).stdout).toBe("");
});

test("a start that was cut off can be made again at once, or its container removed", async () => {
  engine = await harness.spawn();
  const flags = ["--network=none", `--cgroup-parent=${cgroupParent}`];
  // Over the time that containerd takes from the first process to the answer.
  for (const delayMs of [30, 50, 70, 90]) {
    const again = (await cli("create", ...flags, IMAGE, "sleep", "1000")).stdout.trim();
    const gone = (await cli("create", ...flags, IMAGE, "sleep", "1000")).stdout.trim();
    const cutOff = [cli("start", again), cli("start", gone)];
    await new Promise((resolve) => setTimeout(resolve, delayMs));
    await engine.kill();
    await Promise.all(cutOff);
    engine = await harness.spawn();
    expect(await cli("rm", "-f", gone)).toMatchObject({ code: 0 });
    expect(await cli("start", again), `after ${delayMs} ms`).toMatchObject({ code: 0, stderr: "" });
    expect(await cli("rm", "-f", again)).toMatchObject({ code: 0 });
  }
  await expectNothingLeft();
});
