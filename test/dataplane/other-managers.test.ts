/** An agent of ours under a manager that has no data plane, as Docker's: it works as it can. */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { startAgent } from "#agent/agent.ts";
import { silentLog } from "#platform/log.ts";
import { realClock, realRandom } from "#platform/real-ports.ts";
import { TaskState } from "#wire/gen/swarmkit/types_pb.js";
import { connectorTo, startManager } from "../agent/manager.ts";
import { TaskHost } from "./task-host.ts";

let directory: string;
let cleanups: (() => Promise<unknown>)[];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "skep-dataplane-"));
  cleanups = [() => rm(directory, { recursive: true, force: true })];
});

afterEach(async () => {
  for (const cleanup of cleanups) await cleanup();
});

test("nothing is waited for that never comes", async () => {
  const manager = await startManager(join(directory, "m.sock"));
  cleanups.unshift(() => manager.close());
  const host = new TaskHost("n1");
  const agent = await startAgent({
    executor: await host.open(directory),
    connector: connectorTo(manager.socket, "n1"),
    clock: realClock,
    random: realRandom,
    log: silentLog,
    dataDir: directory,
  });
  cleanups.unshift(() => agent.close());
  cleanups.unshift(() => host.close());
  await manager.assign({ id: "t1" });
  const state = () => manager.status("t1")?.state;
  await manager.until("it runs", () => state() === TaskState.RUNNING);
  await manager.change("t1", { desiredState: TaskState.SHUTDOWN });
  await manager.until("it has stopped", () => state() === TaskState.SHUTDOWN);
  expect(host.stopped.get("t1")).toBe("unsupported");
  // The session that began first is the one that goes on.
  await manager.assign({ id: "t2" });
  await manager.until("another runs", () => manager.status("t2")?.state === TaskState.RUNNING);
});
