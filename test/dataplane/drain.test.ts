/** A task with real connections in a real network namespace, waited for before it is stopped. */

import { type ChildProcess, spawn } from "node:child_process";
import { createInterface, type Interface } from "node:readline";
import { fileURLToPath } from "node:url";
import { create } from "@bufbuild/protobuf";
import { afterEach, beforeEach, expect, test } from "vitest";
import { must } from "#base/invariant.ts";
import { drain } from "#engine/swarm-executor/drain.ts";
import type { Release } from "#engine/swarm-executor/ports.ts";
import { silentLog } from "#platform/log.ts";
import { realClock } from "#platform/real-ports.ts";
import { TaskSchema } from "#wire/gen/swarmkit/objects_pb.js";

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
  return drain(
    { releases: { released: async () => release }, clock: realClock, log: silentLog },
    { task: create(TaskSchema, { id: "t1" }), pid: must(child.pid, "pid"), graceMs },
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
