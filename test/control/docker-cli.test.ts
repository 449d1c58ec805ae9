/**
 * The docker command lines of this machine, unmodified, against our swarm endpoints. They are the
 * strictest readers of our JSON that there are: Go's decoder, and years of habits.
 */

import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type Harness, NODE_ID, swarmHarness } from "../../src/api/testing/swarm-harness.ts";
import { aNode, member } from "../../src/manager/control/testing/fixture.ts";
import { LogStream } from "../../src/wire/gen/swarmkit/logbroker_pb.js";
import { TaskSchema } from "../../src/wire/gen/swarmkit/objects_pb.js";
import { NodeRole, TaskState } from "../../src/wire/gen/swarmkit/types_pb.js";

const CLIENTS = ["/usr/local/bin/docker", "/usr/bin/docker"].filter((path) => existsSync(path));

let api: Harness;
let home: string;

beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), "skep-docker-cli-"));
  api = await swarmHarness();
  await aNode(api.context, NODE_ID, { spec: { desiredRole: NodeRole.MANAGER } });
  api.context.raft.push(member(NODE_ID, true));
});
afterEach(async () => {
  await api.close();
  await rm(home, { recursive: true });
});

interface Outcome {
  readonly code: number;
  readonly out: string;
}

function run(client: string, ...args: string[]): Promise<Outcome> {
  const env = { PATH: process.env.PATH, HOME: home, DOCKER_HOST: `unix://${api.socketPath}` };
  return new Promise((resolve) => {
    execFile(client, args, { env, timeout: 30_000 }, (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === "number" ? error.code : -1;
      resolve({ code, out: `${stdout}${stderr}`.trim() });
    });
  });
}

describe.each(CLIENTS)("%s", (client) => {
  const docker = (...args: string[]) => run(client, ...args);
  const succeeds = async (...args: string[]) => {
    const { code, out } = await docker(...args);
    expect(`${code} ${out}`).toMatch(/^0 /);
    return out;
  };

  test("makes, shows, changes, rolls back, scales and removes a service", async () => {
    const flags = "-d --no-resolve-image --name web --replicas 3 --limit-cpu 0.5 --limit-pids 9";
    const more = "--mount type=tmpfs,target=/t --network over --update-order start-first";
    const create = ["service", "create", ...`${flags} ${more} --health-cmd true`.split(" ")];
    const id = await succeeds(...create, "nginx:1.27", "sh", "-c", "x");
    expect(id).toMatch(/^[0-9a-z]{25}$/);
    expect(await succeeds("service", "ls")).toMatch(/web\s+replicated\s+0\/3\s+nginx:1\.27/);
    const shown = await succeeds("service", "inspect", "--pretty", "web");
    for (const text of ["CPU:\t\t0.5", "PIDs:\t\t9", "start-first", "Networks: over"]) {
      expect(shown).toContain(text);
    }
    const replicas = async () =>
      succeeds("service", "inspect", "-f", "{{.Spec.Mode.Replicated.Replicas}}", "web");
    await succeeds("service", "update", "-d", "--no-resolve-image", "--replicas", "5", "web");
    expect(await replicas()).toBe("5");
    await succeeds("service", "rollback", "-d", "web");
    expect(await replicas()).toBe("3");
    await succeeds("service", "scale", "-d", "web=2");
    expect(await replicas()).toBe("2");
    await succeeds("service", "rm", "web");
    expect(await docker("service", "inspect", "web")).toMatchObject({ code: 1 });
  });

  test("shows tasks and logs", async () => {
    const id = await succeeds(
      "service",
      "create",
      "-d",
      "--no-resolve-image",
      "--name",
      "web",
      "x",
    );
    const annotations = { name: `web.1.t` };
    await api.context.state.update("orchestrator", (tx) => {
      const runtime = { case: "container" as const, value: { image: "x" } };
      const status = { state: TaskState.RUNNING, timestamp: { seconds: 1n } };
      const desiredState = TaskState.RUNNING;
      const task = { id: "t1", serviceId: id, nodeId: NODE_ID, slot: 1n, status, desiredState };
      tx.create("task", create(TaskSchema, { ...task, annotations, spec: { runtime } }));
    });
    const row = /web\.1\s+x\S*\s+host-node1\s+Running\s+Running/;
    expect(await succeeds("service", "ps", "web")).toMatch(row);
    const context = { serviceId: id, nodeId: NODE_ID, taskId: "t1" };
    const data = new TextEncoder().encode("hello\n");
    api.logs.batches = [{ messages: [{ context, stream: LogStream.STDOUT, data }] }];
    expect(await succeeds("service", "logs", "web")).toMatch(/^web\.1\.t1@host-node1\s+\| hello$/);
  });

  test("keeps secrets and configs, and says who uses them", async () => {
    const file = join(home, "data");
    await writeFile(file, "hunter2");
    await succeeds("secret", "create", "pw", file);
    await succeeds("config", "create", "cf", file);
    expect(await succeeds("config", "inspect", "--pretty", "cf")).toContain("hunter2");
    expect(await succeeds("secret", "inspect", "pw")).not.toContain("Data");
    const using = ["--secret", "pw", "--config", "cf"];
    await succeeds("service", "create", "-d", "--no-resolve-image", "--name", "web", ...using, "x");
    expect((await docker("secret", "rm", "pw")).out).toContain(
      "secret 'pw' is in use by the following service: web",
    );
    await succeeds("service", "rm", "web");
    await succeeds("secret", "rm", "pw");
    await succeeds("config", "rm", "cf");
  });

  test("lists and changes nodes, and the swarm", async () => {
    expect(await succeeds("node", "ls")).toMatch(/node1 \*\s+host-node1\s+Ready\s+Active\s+Leader/);
    await succeeds("node", "update", "--availability", "drain", "--label-add", "a=b", NODE_ID);
    const shown = await succeeds("node", "inspect", "--pretty", "self");
    expect(shown).toMatch(/a=b[\s\S]*Availability:\s+Drain/);
    expect((await docker("node", "demote", NODE_ID)).out).toContain(
      "attempting to demote the last manager of the swarm",
    );
    await succeeds("swarm", "update", "--task-history-limit", "3");
    const limit = "{{.Swarm.Cluster.Spec.Orchestration.TaskHistoryRetentionLimit}}";
    expect(await succeeds("info", "-f", limit)).toMatch(/^3\b/);
    expect(await succeeds("swarm", "join-token", "-q", "worker")).toBe("w");
  });
});
