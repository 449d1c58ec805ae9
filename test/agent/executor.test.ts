import { execFile } from "node:child_process";
import { copyFile, mkdir, mkdtemp, readdir, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { type Agent, startAgent } from "#agent/agent.ts";
import type { Executor } from "#agent/executor.ts";
import { createSwarmExecutor } from "#engine/swarm-executor/executor.ts";
import { nodePlugins, readHostFacts } from "#engine/swarm-executor/host-facts.ts";
import { openChannel } from "#platform/grpc/client.ts";
import { silentLog } from "#platform/log.ts";
import { realClock, realRandom } from "#platform/real-ports.ts";
import { Logs } from "#wire/gen/swarmkit/logbroker_pb.js";
import { ConfigSchema, SecretSchema } from "#wire/gen/swarmkit/objects_pb.js";
import type { ContainerSpecSchema } from "#wire/gen/swarmkit/specs_pb.js";
import { TaskState } from "#wire/gen/swarmkit/types_pb.js";
import { type DockerHost, startDockerHost } from "./docker-host.ts";
import { connectorTo, startManager, type TestManager } from "./manager.ts";

const run = promisify(execFile);

let directory: string;
let host: DockerHost;
let executor: Executor;
let manager: TestManager;
let agent: Agent;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "skep-executor-"));
  host = await startDockerHost(directory);
  const rootfs = join(directory, "rootfs");
  await mkdir(join(rootfs, "bin"), { recursive: true });
  await copyFile("/bin/busybox", join(rootfs, "bin", "busybox"));
  for (const applet of ["sh", "sleep", "cat", "echo", "true", "stat", "hostname", "mkdir", "rm"]) {
    await symlink("busybox", join(rootfs, "bin", applet));
  }
  await run("tar", ["-C", rootfs, "-cf", join(directory, "rootfs.tar"), "."]);
  const imported = await host.docker.importImage(join(directory, "rootfs.tar"), {
    repo: "box",
    tag: "latest",
  });
  await new Promise((resolve) => imported.on("end", resolve).resume());
});

afterAll(async () => {
  await host?.close();
  await run("umount", [join(directory, "files")]).catch(() => undefined);
  await rm(directory, { recursive: true, force: true });
});

beforeEach(async () => {
  manager = await startManager(join(directory, "m.sock"));
  executor = await createSwarmExecutor({
    ...host,
    clock: realClock,
    log: silentLog,
    host: () =>
      readHostFacts({
        engineVersion: "test",
        engineLabels: {},
        plugins: nodePlugins(["local"], ["bridge"]),
      }),
    filesDir: join(directory, "files"),
  });
  agent = await newAgent();
});

afterEach(async () => {
  await agent.leave();
  await agent.close();
  await manager.close();
  expect(await host.docker.listContainers({ all: true })).toEqual([]);
  expect(await readdir(join(directory, "files"))).toEqual([]);
});

function newAgent(): Promise<Agent> {
  const connector = connectorTo(manager.socket, "n1");
  const ports = { clock: realClock, random: realRandom, log: silentLog };
  return startAgent({ ...ports, executor, connector, dataDir: directory });
}

/** Assigns a task that runs a shell command. */
function shell(
  id: string,
  script: string,
  more: MessageInitShape<typeof ContainerSpecSchema> = {},
) {
  const value = {
    image: "box",
    command: ["/bin/sh", "-c", script],
    stopGracePeriod: durationFromMs(1_000),
    ...more,
  };
  return manager.assign({
    id,
    slot: 1n,
    serviceAnnotations: { name: "web" },
    spec: { runtime: { case: "container", value } },
  });
}

const reaches = (id: string, state: TaskState) =>
  manager.until(`${id} ${TaskState[state]}`, () => {
    const now = manager.status(id)?.state ?? TaskState.NEW;
    if (now > state) throw new Error(`${id} is ${TaskState[now]}: ${manager.status(id)?.err}`);
    return now === state;
  });

async function logsOf(taskId: string): Promise<string> {
  const channel = openChannel({
    target: `unix://${manager.socket}`,
    metadata: { "test-node": "m1" },
  });
  let out = "";
  for await (const { messages } of channel
    .client(Logs)
    .subscribeLogs({ selector: { taskIds: [taskId] } })) {
    for (const { data } of messages) out += new TextDecoder().decode(data);
  }
  channel.close();
  return out;
}

test("a task runs as a container under its name, labels and environment", async () => {
  await shell("t1", "echo $WHO; hostname; sleep 60", {
    env: ["WHO={{.Service.Name}}.{{.Task.Slot}}"],
    hostname: "h{{.Task.Slot}}",
  });
  await reaches("t1", TaskState.RUNNING);
  const inspected = await host.docker.getContainer("web.1.t1").inspect();
  expect(inspected.Config.Labels["com.docker.swarm.task.id"]).toBe("t1");
  expect(manager.status("t1")?.runtimeStatus.value).toMatchObject({
    containerId: inspected.Id,
    pid: inspected.State.Pid,
  });
  await expect.poll(() => logsOf("t1")).toBe("web.1\nh1\n");
  await manager.change("t1", { desiredState: TaskState.SHUTDOWN });
  await reaches("t1", TaskState.SHUTDOWN);
  expect((await host.docker.getContainer("web.1.t1").inspect()).State.Running).toBe(false);
});

test("exit codes and missing images end a task with docker's words", async () => {
  await shell("ok", "true");
  await shell("bad", "exit 42");
  await shell("none", "true", { image: "nowhere/none" });
  await shell("wrong", "true", { command: ["/no/such/program"] });
  await reaches("ok", TaskState.COMPLETE);
  await reaches("bad", TaskState.FAILED);
  expect(manager.status("bad")).toMatchObject({
    err: "task: non-zero exit (42)",
    runtimeStatus: { value: { exitCode: 42 } },
  });
  await reaches("none", TaskState.REJECTED);
  expect(manager.status("none")?.err).toBe(
    "No such image: nowhere/none:latest (no registry in this test)",
  );
  await reaches("wrong", TaskState.FAILED);
  expect(manager.status("wrong")?.err).toContain("starting container failed");
});

test("secrets and configs are files with their owner and mode, and go with the task", async () => {
  await manager.state.update("api", (tx) => {
    const data = new TextEncoder().encode("s3cret");
    tx.create(
      "secret",
      create(SecretSchema, { id: "s", spec: { annotations: { name: "s" }, data } }),
    );
    const template = new TextEncoder().encode('for {{.Service.Name}} {{secret "key"}}');
    const spec = { annotations: { name: "c" }, data: template, templating: { name: "golang" } };
    tx.create("config", create(ConfigSchema, { id: "c", spec }));
  });
  await shell(
    "t1",
    "exec 2>&1; stat -c '%a %u %g' /run/secrets/key; cat /run/secrets/key /etc/app.conf; echo; echo x > /run/secrets/key || echo readonly",
    {
      secrets: [
        {
          secretId: "s",
          secretName: "s",
          target: { case: "file", value: { name: "key", uid: "7", gid: "8", mode: 0o440 } },
        },
      ],
      configs: [
        {
          configId: "c",
          configName: "c",
          target: {
            case: "file",
            value: { name: "/etc/app.conf", uid: "0", gid: "0", mode: 0o444 },
          },
        },
      ],
    },
  );
  await reaches("t1", TaskState.COMPLETE);
  const out = await logsOf("t1");
  expect(out).toContain("440 7 8\ns3cretfor web s3cret\n");
  expect(out).toContain("readonly");
  expect(await readdir(join(directory, "files"))).toEqual(["t1"]);
});

test("a task with a health check runs when it is healthy, and ends when it is not", async () => {
  const healthcheck = {
    test: ["CMD-SHELL", "cat /tmp/ok"],
    interval: durationFromMs(300),
    timeout: durationFromMs(5_000),
    retries: 1,
    startPeriod: durationFromMs(10_000),
  };
  await shell("t1", "mkdir -p /tmp; sleep 1; echo > /tmp/ok; sleep 2; rm /tmp/ok; sleep 60", {
    healthcheck,
  });
  await reaches("t1", TaskState.STARTING);
  await reaches("t1", TaskState.RUNNING);
  await reaches("t1", TaskState.FAILED);
  expect(manager.status("t1")?.err).toBe(
    "task: non-zero exit (137): dockerexec: unhealthy container",
  );
});

test("an agent that comes back finds its containers as they are", async () => {
  await shell("t1", "sleep 60");
  await shell("t2", "sleep 1; exit 9");
  await reaches("t1", TaskState.RUNNING);
  await reaches("t2", TaskState.RUNNING);
  const before = await host.docker.getContainer("web.1.t1").inspect();
  await agent.close();
  await host.docker.getContainer("web.1.t2").wait();
  // What is left of a task that nobody knows.
  await host.docker.createContainer({
    Image: "box",
    Cmd: ["/bin/true"],
    Labels: { "com.docker.swarm.task.id": "lost" },
  });
  agent = await newAgent();
  await reaches("t2", TaskState.FAILED);
  expect(manager.status("t2")?.err).toBe("task: non-zero exit (9)");
  const after = await host.docker.getContainer("web.1.t1").inspect();
  expect(after.State.Pid).toBe(before.State.Pid);
  expect(manager.status("t1")?.state).toBe(TaskState.RUNNING);
  await expect.poll(async () => (await host.docker.listContainers({ all: true })).length).toBe(2);
});
