/** A swarm that is lost whole, and comes back out of a file on another machine and address. */

import { create } from "@bufbuild/protobuf";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { must } from "#base/invariant.ts";
import { formatBackupKey } from "#pki/backup-key.ts";
import { realRandom } from "#platform/real-ports.ts";
import { Dispatcher } from "#wire/gen/swarmkit/dispatcher_pb.js";
import {
  NodeSpec_Availability,
  SecretSpecSchema,
  ServiceSpecSchema,
} from "#wire/gen/swarmkit/specs_pb.js";
import { NodeStatus_State, TaskState } from "#wire/gen/swarmkit/types_pb.js";
import { channelShowing, stolenFrom } from "./credentials.ts";
import { clusterOf, nodesOf, TestCluster, type TestNode } from "./fixtures.ts";
import { runningExecutor } from "./pretend-swarm.ts";

const key = formatBackupKey(realRandom.bytes(32));

let cluster: TestCluster;
let manager: TestNode;

beforeEach(async () => {
  cluster = new TestCluster(runningExecutor);
  manager = await cluster.node("m1");
});

afterEach(() => cluster.close());

function restoreOn(node: TestNode, backup: Uint8Array, withKey = key): Promise<string> {
  return node.swarm.restore({
    listenAddr: node.address,
    advertiseAddr: node.address,
    dataPathAddr: "",
    availability: NodeSpec_Availability.ACTIVE,
    backup,
    key: withKey,
  });
}

async function runningTasks(node: TestNode) {
  const { tasks } = await node.swarm.control().listTasks({});
  return tasks.filter(
    ({ status, desiredState }) =>
      status?.state === TaskState.RUNNING && desiredState === TaskState.RUNNING,
  );
}

test("everything comes back, workers with what they run, and the old managers do not", async () => {
  const [second, worker, replacement] = [
    await cluster.node("m2"),
    await cluster.node("w1"),
    await cluster.node("r1"),
  ];
  await manager.init({ autoLockManagers: true });
  const before = await clusterOf(manager);
  const unlockKey = await manager.swarm.unlockKey();
  await second.join(manager, before.manager);
  await worker.join(manager, before.worker);
  const control = manager.swarm.control();
  const { secret } = await control.createSecret({
    spec: create(SecretSpecSchema, { annotations: { name: "s" }, data: Buffer.from("hidden") }),
  });
  await control.createService({
    spec: create(ServiceSpecSchema, {
      annotations: { name: "web" },
      mode: { case: "replicated", value: { replicas: 6n } },
      task: { runtime: { case: "container", value: { image: "web:1" } } },
    }),
  });
  await vi.waitUntil(async () => (await runningTasks(manager)).length === 6, { timeout: 20_000 });
  const onWorker = (await runningTasks(manager))
    .filter(({ nodeId }) => nodeId === worker.swarm.localNodeId())
    .map(({ id }) => id);
  expect(onWorker.length).toBeGreaterThan(0);
  // By a manager that does not lead.
  const backup = await second.swarm.backup(key);
  expect(Buffer.from(backup).includes("hidden")).toBe(false);
  await manager.stop();
  await second.stop();

  const nodeId = await restoreOn(replacement, backup);
  const after = await clusterOf(replacement);
  expect(after.cluster.id).toBe(before.cluster.id);
  expect([after.worker, after.manager]).toEqual([before.worker, before.manager]);
  expect(await replacement.swarm.unlockKey()).toBe(unlockKey);
  const stored = replacement.swarm.manager()?.state.view().get("secret", must(secret, "secret").id);
  expect(Buffer.from(stored?.spec?.data ?? []).toString()).toBe("hidden");
  expect([...(await nodesOf(replacement)).keys()].sort()).toEqual(
    [nodeId, worker.swarm.localNodeId()].sort(),
  );
  worker.swarm.reconnect(replacement.address);
  const workerState = async () =>
    (await nodesOf(replacement)).get(worker.swarm.localNodeId())?.status?.state;
  await expect.poll(workerState, { timeout: 30_000 }).toBe(NodeStatus_State.READY);
  await expect
    .poll(async () => (await runningTasks(replacement)).length, { timeout: 30_000 })
    .toBe(6);
  // What ran on the worker went on; only what the managers ran was started anew.
  const ids = (await runningTasks(replacement)).map(({ id }) => id);
  expect(ids).toEqual(expect.arrayContaining(onWorker));
  // The old tokens still open the swarm.
  const fresh = await cluster.node("w2");
  await fresh.join(replacement, before.worker);
  const again = await replacement.restart();
  await expect.poll(() => again.swarm.info().state, { timeout: 10_000 }).toBe("locked");
  await again.swarm.unlock(unlockKey);
  expect(again.swarm.localNodeId()).toBe(nodeId);
});

test("a manager of before is refused with the certificate that it still has", async () => {
  const replacement = await cluster.node("r1");
  const oldId = await manager.init();
  const shown = await stolenFrom(manager);
  const backup = await manager.swarm.backup(key);
  await manager.stop();
  await restoreOn(replacement, backup);
  const { cluster: object } = await clusterOf(replacement);
  const root = Buffer.from(object.rootCa?.caCert ?? []).toString();
  const channel = channelShowing(replacement.address, root, shown);
  try {
    await expect(channel.client(Dispatcher).heartbeat({ sessionId: "x" })).rejects.toThrow(
      `node ${oldId} was removed from swarm`,
    );
  } finally {
    channel.close();
  }
});

test("in the middle of a root rotation a backup is as good as any", async () => {
  const [worker, replacement] = [await cluster.node("w1"), await cluster.node("r1")];
  await manager.init();
  const { cluster: object, worker: token } = await clusterOf(manager);
  await worker.join(manager, token);
  await worker.stop();
  const { spec, meta } = object;
  await manager.swarm.control().updateCluster({
    clusterId: object.id,
    clusterVersion: must(meta?.version, "version"),
    spec: { ...must(spec, "spec"), caConfig: { ...must(spec?.caConfig, "ca"), forceRotate: 1n } },
  });
  const backup = await manager.swarm.backup(key);
  await manager.stop();
  await restoreOn(replacement, backup);
  const rotating = async () => (await clusterOf(replacement)).cluster.rootCa?.rootRotation;
  expect(await rotating()).toBeDefined();
  // It goes on, and ends when the node that slept has been told.
  const back = await worker.restart();
  back.swarm.reconnect(replacement.address);
  await expect.poll(rotating, { timeout: 60_000, interval: 200 }).toBeUndefined();
});

test("what is no backup, or is damaged, or has another key, is refused and leaves nothing", async () => {
  const replacement = await cluster.node("r1");
  await manager.init();
  const backup = await manager.swarm.backup(key);
  const other = formatBackupKey(realRandom.bytes(32));
  const damaged = Buffer.from(backup);
  damaged[damaged.length - 40] = (damaged[damaged.length - 40] ?? 0) ^ 1;
  // What the readable line says is part of what is sealed.
  const renamed = Buffer.from(
    Buffer.from(backup).toString("latin1").replace('"Cluster":"', '"Cluster":"x'),
    "latin1",
  );
  const refused = "cannot be opened: it is damaged, or this is not its key";
  await expect(restoreOn(replacement, backup, other)).rejects.toThrow(refused);
  await expect(restoreOn(replacement, damaged)).rejects.toThrow(refused);
  await expect(restoreOn(replacement, renamed)).rejects.toThrow(refused);
  await expect(restoreOn(replacement, backup.subarray(0, 100))).rejects.toThrow();
  await expect(restoreOn(replacement, Buffer.from("nothing"))).rejects.toThrow("not a backup");
  await expect(restoreOn(replacement, backup, "nonsense")).rejects.toThrow("invalid backup key");
  await expect(manager.swarm.backup("nonsense")).rejects.toThrow("invalid backup key");
  await expect(restoreOn(manager, backup)).rejects.toThrow("already part of a swarm");
  expect(replacement.swarm.info().state).toBe("inactive");
  await expect(replacement.swarm.backup(key)).rejects.toThrow("not a swarm manager");
});
