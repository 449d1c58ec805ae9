import { type ChildProcess, fork } from "node:child_process";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { create } from "@bufbuild/protobuf";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type Agent, type AgentOptions, startAgent } from "#agent/agent.ts";
import { deferred, sleep } from "#platform/async.ts";
import { openChannel } from "#platform/grpc/client.ts";
import { silentLog } from "#platform/log.ts";
import { realClock, realRandom } from "#platform/real-ports.ts";
import { Logs } from "#wire/gen/swarmkit/logbroker_pb.js";
import { SecretSchema } from "#wire/gen/swarmkit/objects_pb.js";
import { NodeStatus_State as NodeState, TaskState } from "#wire/gen/swarmkit/types_pb.js";
import { createFileHost, type FileHost } from "./file-host.ts";
import { connectorTo, startManager, type TestManager } from "./manager.ts";

let directory: string;
let manager: TestManager;
let host: FileHost;
let cleanups: (() => Promise<unknown>)[];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "skep-agent-"));
  cleanups = [() => rm(directory, { recursive: true, force: true })];
  manager = await startManager(join(directory, "m.sock"));
  cleanups.unshift(() => manager.close());
  host = await createFileHost(join(directory, "host"));
});

afterEach(async () => {
  for (const cleanup of cleanups) await cleanup();
});

async function agent(options: Partial<AgentOptions> = {}): Promise<Agent> {
  const started = await startAgent({
    executor: host.executor,
    connector: connectorTo(manager.socket, "n1"),
    clock: realClock,
    random: realRandom,
    log: silentLog,
    dataDir: directory,
    ...options,
  });
  let closed: Promise<void> | undefined;
  const close = () => (closed ??= started.close());
  cleanups.unshift(close);
  return { ...wrap(started), close };
}

/** The members of an agent as an object that can be spread over. */
function wrap(inner: Agent): Agent {
  return {
    ready: inner.ready,
    dismissed: inner.dismissed,
    statuses: () => inner.statuses(),
    refresh: () => inner.refresh(),
    reseal: () => inner.reseal(),
    leave: (signal) => inner.leave(signal),
    close: () => inner.close(),
  };
}

const stateOf = (id: string) => manager.status(id)?.state;
const reaches = (id: string, state: TaskState) =>
  manager.until(`task ${id} in ${TaskState[state]}`, () => stateOf(id) === state);

test("an assigned task runs, ends, and every way of ending is told", async () => {
  await manager.assign(
    { id: "t1" },
    { id: "t2" },
    { id: "t3", spec: { runtime: { case: "container", value: { image: "missing" } } } },
    { id: "t4", spec: {} },
  );
  await agent();
  await reaches("t1", TaskState.RUNNING);
  await reaches("t2", TaskState.RUNNING);
  expect(manager.status("t1")).toMatchObject({
    message: "started",
    appliedBy: "m1",
    runtimeStatus: { case: "container", value: { containerId: "c-t1" } },
  });
  await host.exit("t1", 0);
  await host.exit("t2", 7);
  await reaches("t1", TaskState.COMPLETE);
  await reaches("t2", TaskState.FAILED);
  expect(manager.status("t2")).toMatchObject({
    err: "task: non-zero exit (7)",
    runtimeStatus: { value: { exitCode: 7 } },
  });
  await reaches("t3", TaskState.REJECTED);
  expect(manager.status("t3")).toMatchObject({ err: "No such image: missing" });
  await reaches("t4", TaskState.REJECTED);
  expect(manager.status("t4")).toMatchObject({ message: "resolving controller failed" });
});

test("a ready task waits for its turn, is shut down on request, and removed with its task", async () => {
  await agent();
  await manager.assign({ id: "t1", desiredState: TaskState.READY });
  await reaches("t1", TaskState.READY);
  expect(await host.container("t1")).toBe("created");
  await manager.change("t1", { desiredState: TaskState.RUNNING });
  await reaches("t1", TaskState.RUNNING);
  await manager.change("t1", { desiredState: TaskState.SHUTDOWN });
  await reaches("t1", TaskState.SHUTDOWN);
  expect(await host.container("t1")).toBe("exited 143");
  await manager.remove("t1");
  await expect.poll(() => host.containers()).toEqual([]);
  await expect.poll(() => readdir(join(directory, "worker", "tasks"))).toEqual([]);
});

test("secrets come with the task that needs them", async () => {
  await manager.state.update("api", (tx) =>
    tx.create("secret", create(SecretSchema, { id: "s1", spec: { annotations: { name: "s" } } })),
  );
  await agent();
  const container = { image: "x", secrets: [{ secretId: "s1", secretName: "s" }] };
  await manager.assign({ id: "t1", spec: { runtime: { case: "container", value: container } } });
  await reaches("t1", TaskState.RUNNING);
});

test("fifty tasks run in parallel, under the limit of prepares", async () => {
  await agent();
  const ids = Array.from({ length: 50 }, (_, n) => `t${n}`);
  await manager.assign(...ids.map((id) => ({ id })));
  await manager.until("all running", () => ids.every((id) => stateOf(id) === TaskState.RUNNING));
});

test("tasks go on without a manager, and what happened meanwhile is told to the next", async () => {
  await manager.assign({ id: "t1" }, { id: "t2" });
  const running = await agent();
  await reaches("t1", TaskState.RUNNING);
  await reaches("t2", TaskState.RUNNING);
  const { state, socket } = manager;
  state.setLeader(false);
  await host.exit("t1", 3);
  await expect.poll(() => running.statuses().get("t1")?.state).toBe(TaskState.FAILED);
  // The agent restarts with no manager in reach, and keeps what it has.
  await running.close();
  const again = await agent();
  expect(again.statuses().get("t1")?.state).toBe(TaskState.FAILED);
  expect(again.statuses().get("t2")?.state).toBe(TaskState.RUNNING);
  await host.exit("t2", 4);
  await expect.poll(() => again.statuses().get("t2")?.state).toBe(TaskState.FAILED);
  expect(stateOf("t1")).toBe(TaskState.RUNNING);
  state.setLeader(true);
  await reaches("t1", TaskState.FAILED);
  await reaches("t2", TaskState.FAILED);
  expect((await host.starts()).get("t2")).toBe(1);
  expect(socket).toBe(manager.socket);
});

test("a task deleted while the node was away is gone when it is back", async () => {
  await manager.assign({ id: "t1" }, { id: "t2" });
  const first = await agent();
  await reaches("t1", TaskState.RUNNING);
  await reaches("t2", TaskState.RUNNING);
  await first.close();
  await manager.remove("t1");
  await agent();
  await expect.poll(() => host.containers()).toEqual(["t2"]);
  expect(await host.container("t2")).toBe("running");
});

test("a node that falls silent is down; when it is back it is ready, with its new description", async () => {
  const first = await agent();
  await first.ready;
  await first.close();
  const nodeState = () => manager.state.view().get("node", "n1")?.status;
  await manager.until("node down", () => nodeState()?.state === NodeState.DOWN);
  expect(nodeState()?.message).toBe("heartbeat failure");
  const second = await agent();
  await manager.until("node ready", () => nodeState()?.state === NodeState.READY);
  host.hostname = "renamed";
  second.refresh();
  const description = () => manager.state.view().get("node", "n1")?.description;
  await manager.until("description", () => description()?.hostname === "renamed");
  expect(nodeState()?.state).toBe(NodeState.READY);
});

test("a node that is refused, and that the cluster does not know, removes its tasks and says why", async () => {
  const connector = connectorTo(manager.socket, "n1", async () => true);
  const unwanted = await agent({ connector });
  await manager.assign({ id: "t1" });
  await reaches("t1", TaskState.RUNNING);
  manager.dismiss("n1");
  const refusal = await unwanted.dismissed;
  expect(refusal).toMatchObject({ code: "permission-denied", message: "n1 was removed" });
  expect(await host.containers()).toEqual([]);
});

test("a node that is refused for any other reason keeps its tasks", async () => {
  const asked = deferred();
  const connector = connectorTo(manager.socket, "n1", async () => {
    asked.resolve();
    return false;
  });
  const refused = await agent({ connector });
  await manager.assign({ id: "t1" });
  await reaches("t1", TaskState.RUNNING);
  manager.dismiss("n1");
  await asked.promise;
  expect(await host.containers()).toHaveLength(1);
  expect(refused.statuses().get("t1")?.state).toBe(TaskState.RUNNING);
});

test("leaving removes all tasks", async () => {
  const leaving = await agent();
  await manager.assign({ id: "t1" });
  await reaches("t1", TaskState.RUNNING);
  await leaving.leave();
  expect(await host.containers()).toEqual([]);
});

test("service logs come from the node, to the end or following", async () => {
  await agent();
  await manager.assign({ id: "t1" }, { id: "t2" });
  await reaches("t1", TaskState.RUNNING);
  await reaches("t2", TaskState.RUNNING);
  const channel = openChannel({
    target: `unix://${manager.socket}`,
    metadata: { "test-node": "m1" },
  });
  cleanups.unshift(async () => channel.close());
  const logs = channel.client(Logs);
  const lines: string[] = [];
  for await (const { messages } of logs.subscribeLogs({ selector: { serviceIds: ["svc"] } })) {
    for (const { data } of messages) lines.push(new TextDecoder().decode(data));
  }
  expect(lines.sort()).toEqual(["t1 first\n", "t2 first\n"]);
  const following: string[] = [];
  const stream = logs.subscribeLogs({
    selector: { serviceIds: ["svc"] },
    options: { follow: true },
  });
  for await (const { messages } of stream) {
    for (const { data } of messages) following.push(new TextDecoder().decode(data));
    if (following.length === 2) await manager.assign({ id: "t3" });
    if (following.length === 6) break;
  }
  expect(following.sort()).toEqual(
    ["t1", "t2", "t3"].flatMap((id) => [`${id} first\n`, `${id} later\n`]),
  );
});

test("kill -9 at any moment: every task runs in the end, started once, and none is lost", async () => {
  const ids = Array.from({ length: 12 }, (_, n) => `t${n}`);
  const program = fileURLToPath(new URL("./agent-process.ts", import.meta.url));
  const spawn = async (): Promise<ChildProcess> => {
    const child = fork(program, [directory, join(directory, "host"), manager.socket], {
      execArgv: ["--import", "tsx"],
      stdio: ["ignore", "ignore", "inherit", "ipc"],
    });
    await new Promise<void>((resolve, reject) => {
      child.once("message", () => resolve());
      child.once("exit", (code) => reject(new Error(`agent ended with ${code}`)));
    });
    return child;
  };
  const kill = async (child: ChildProcess): Promise<void> => {
    const gone = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGKILL");
    await gone;
  };
  for (let round = 0; round < 6; round += 1) {
    const child = await spawn();
    try {
      await manager.assign({ id: ids[2 * round] ?? "" }, { id: ids[2 * round + 1] ?? "" });
      await sleep(realClock, realRandom.int(60));
    } finally {
      await kill(child);
    }
  }
  const last = await spawn();
  try {
    await manager.until("all running", () => ids.every((id) => stateOf(id) === TaskState.RUNNING));
    const starts = await host.starts();
    expect(Math.max(...starts.values())).toBe(1);
    expect(await host.containers()).toHaveLength(ids.length);
  } finally {
    await kill(last);
  }
});
