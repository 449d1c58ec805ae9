/** A task with real connections in a real network namespace, waited for before it is stopped. */

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface, type Interface } from "node:readline";
import { fileURLToPath } from "node:url";
import { create } from "@bufbuild/protobuf";
import { afterEach, beforeEach, expect, test } from "vitest";
import { EngineError } from "#base/error.ts";
import { must } from "#base/invariant.ts";
import {
  type ControllerPorts,
  createContainerController,
} from "#engine/swarm-executor/container-controller.ts";
import { connectionsOf, drain } from "#engine/swarm-executor/drain.ts";
import type { Release } from "#engine/swarm-executor/ports.ts";
import { Semaphore } from "#platform/async.ts";
import { silentLog } from "#platform/log.ts";
import { realClock } from "#platform/real-ports.ts";
import { ManualClock, turn } from "#platform/testing/manual-clock.ts";
import { TaskSchema } from "#wire/gen/swarmkit/objects_pb.js";
import { TaskState } from "#wire/gen/swarmkit/types_pb.js";

const PROCESS = fileURLToPath(new URL("inbound-process.ts", import.meta.url));
const never = new AbortController().signal;

let child: ChildProcess;
let lines: AsyncIterator<string>;
let reader: Interface;

beforeEach(async () => {
  child = spawn("unshare", ["--net", process.execPath, "--import", "tsx", PROCESS], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  reader = createInterface(must(child.stdout, "stdout"));
  lines = reader[Symbol.asyncIterator]();
  expect((await lines.next()).value).toBe("ready");
});

afterEach(() => {
  reader.close();
  child.kill("SIGKILL");
});

function draining(graceMs: number, release: Release = "released") {
  const pid = must(child.pid, "pid");
  return drain(
    { releases: { released: async () => release }, clock: realClock, log: silentLog },
    { task: create(TaskSchema, { id: "t1" }), connections: () => connectionsOf(pid), graceMs },
    never,
  );
}

async function closeOne(): Promise<void> {
  must(child.stdin, "stdin").write("\n");
  expect((await lines.next()).value).toBe("gone");
}

test("the last connection that ends lets the task stop", async () => {
  let over = false;
  const drained = draining(60_000).then(() => {
    over = true;
    return undefined;
  });
  await closeOne();
  expect(over).toBe(false);
  await closeOne();
  await drained;
});

test("the grace period ends the wait, and so does what nobody can lead away", async () => {
  await draining(100);
  await draining(60_000, "unsupported");
});

/** The controller of a task that has turned unhealthy, on a clock that moves while somebody waits for it. */
function unhealthyTask(failingStops = 0) {
  const clock = new ManualClock();
  let stops = 0;
  let stop: (atMs: number) => void = () => undefined;
  const stopped = new Promise<number>((resolve) => (stop = resolve));
  const task = create(TaskSchema, {
    id: "t1",
    spec: { runtime: { case: "container", value: { image: "web:demo" } } },
    status: { state: TaskState.RUNNING },
    networks: [{ addresses: ["10.9.9.1/24"] }],
  });
  const State = { Running: true, Pid: child.pid, Health: { Status: "unhealthy" } };
  const Labels = { "com.docker.swarm.task.id": task.id };
  const Config = { Labels, Healthcheck: { Test: ["CMD", "check"] } };
  const ports = {
    clock,
    log: silentLog,
    node: () => undefined,
    starts: new Semaphore(1),
    events: { subscribe: async function* () {} },
    releases: { released: async () => "released" },
    networks: { deactivate: async () => undefined },
    containers: {
      inspect: async () => ({ Id: "c1", State, Config }),
      wait: async (_: string, __: string, signal: AbortSignal) => {
        await Promise.race([stopped, once(signal, "abort")]);
        signal.throwIfAborted();
        return { statusCode: 0 };
      },
      stop: async () => {
        stops += 1;
        if (stops <= failingStops) throw new EngineError("unavailable", "containerd is busy");
        stop(clock.monotonicMs());
      },
    },
  } as unknown as ControllerPorts;
  const over = createContainerController(ports, task, () => undefined).wait(never);
  const failed = expect(over).rejects.toThrow("unhealthy container");
  return {
    clock,
    /** When the container was stopped. */
    stopped: async () => {
      const done = new AbortController();
      void stopped.then(() => done.abort());
      while (!done.signal.aborted) await moveOn(clock);
      await failed;
      return stopped;
    },
  };
}

async function moveOn(clock: ManualClock): Promise<void> {
  await turn();
  if (clock.pending > 0) await clock.advance(50);
}

test("an unhealthy container has two seconds for what it is answering", async () => {
  expect(await unhealthyTask().stopped()).toBe(2_000);
});

test("an unhealthy container is stopped when it has answered", async () => {
  const { clock, stopped } = unhealthyTask();
  while (clock.monotonicMs() < 500) await moveOn(clock);
  await closeOne();
  await closeOne();
  const atMs = await stopped();
  expect(atMs).toBeGreaterThanOrEqual(750);
  expect(atMs).toBeLessThan(2_000);
});

test("an unhealthy container that could not be stopped is stopped later", async () => {
  await closeOne();
  await closeOne();
  expect(await unhealthyTask(2).stopped()).toBeGreaterThan(10_000);
});
