/** What whoever has a worker's certificate and key can do: what that worker can, and no more. */

import { create } from "@bufbuild/protobuf";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { must } from "#base/invariant.ts";
import type { RpcChannel } from "#platform/grpc/client.ts";
import { readCertificate } from "#platform/x509/certificate.ts";
import { createRequest, generateKey } from "#platform/x509/issue.ts";
import { DataPlane } from "#wire/gen/skep/dataplane_pb.js";
import { NodeCA } from "#wire/gen/swarmkit/ca_pb.js";
import { Dispatcher } from "#wire/gen/swarmkit/dispatcher_pb.js";
import { LogBroker } from "#wire/gen/swarmkit/logbroker_pb.js";
import { ResourceAllocator } from "#wire/gen/swarmkit/resource_pb.js";
import { SecretSpecSchema, ServiceSpecSchema } from "#wire/gen/swarmkit/specs_pb.js";
import { TaskState } from "#wire/gen/swarmkit/types_pb.js";
import { channelShowing, stolenFrom } from "./credentials.ts";
import { authorityOf, clusterOf, nodesOf, TestCluster, type TestNode } from "./fixtures.ts";
import { runningExecutor } from "./pretend-swarm.ts";

let cluster: TestCluster;
let manager: TestNode;
let follower: TestNode;
let robbed: TestNode;
let other: TestNode;
let channels: RpcChannel[];

beforeEach(async () => {
  channels = [];
  cluster = new TestCluster(runningExecutor);
  manager = await cluster.node("m1");
  follower = await cluster.node("m2");
  robbed = await cluster.node("w1");
  other = await cluster.node("w2");
  await manager.init();
  const { worker: token, manager: managerToken } = await clusterOf(manager);
  await follower.join(manager, managerToken);
  await robbed.join(manager, token);
  await other.join(manager, token);
});

afterEach(async () => {
  for (const channel of channels) channel.close();
  await cluster.close();
});

async function thiefAt(node: TestNode): Promise<RpcChannel> {
  const channel = channelShowing(node.address, authorityOf(manager).cert, await stolenFrom(robbed));
  channels.push(channel);
  return channel;
}

/** A service with a secret of its own on one host; resolves to its task once that runs. */
async function serviceOn(hostname: string): Promise<{ taskId: string; secretId: string }> {
  const control = manager.swarm.control();
  const { secret } = await control.createSecret({
    spec: create(SecretSpecSchema, {
      annotations: { name: `secret-${hostname}` },
      data: Buffer.from(`of ${hostname}`),
    }),
  });
  const { id: secretId } = must(secret, "secret");
  const reference = {
    secretId,
    secretName: `secret-${hostname}`,
    target: { case: "file" as const, value: { name: "s", uid: "0", gid: "0", mode: 0o400 } },
  };
  const { service } = await control.createService({
    spec: create(ServiceSpecSchema, {
      annotations: { name: `service-${hostname}` },
      mode: { case: "replicated", value: { replicas: 1n } },
      task: {
        runtime: { case: "container", value: { image: "web:1", secrets: [reference] } },
        placement: { constraints: [`node.hostname==${hostname}`] },
      },
    }),
  });
  const serviceIds = [must(service, "service").id];
  const task = await vi.waitUntil(
    async () => {
      const { tasks } = await control.listTasks({ filters: { serviceIds } });
      return tasks.find(({ status }) => status?.state === TaskState.RUNNING);
    },
    { timeout: 20_000 },
  );
  return { taskId: task.id, secretId };
}

test("it reads the tasks and secrets of its own node and of no other", async () => {
  const [own, foreign] = [await serviceOn("w1"), await serviceOn("w2")];
  // Two who use one identity take each other's sessions away.
  await robbed.stop();
  for (const at of [manager, follower]) {
    const channel = await thiefAt(at);
    const dispatcher = channel.client(Dispatcher);
    const end = new AbortController();
    const { signal } = end;
    const sessions = dispatcher.session({}, { signal })[Symbol.asyncIterator]();
    const { sessionId } = must((await sessions.next()).value, "session");
    for await (const { changes } of dispatcher.assignments({ sessionId }, { signal })) {
      const items = changes.map(({ assignment }) => assignment?.item);
      const ids = (kind: string) =>
        items.flatMap((item) => (item?.case === kind ? [item.value.id] : []));
      expect(ids("task")).toEqual([own.taskId]);
      expect(ids("secret")).toEqual([own.secretId]);
      break;
    }
    // It speaks for the tasks of its node alone, also in company.
    const status = { state: TaskState.FAILED };
    const updates = [own.taskId, foreign.taskId].map((taskId) => ({ taskId, status }));
    await expect(dispatcher.updateTaskStatus({ sessionId, updates })).rejects.toMatchObject({
      code: "permission-denied",
      message: "cannot update a task not assigned this node",
    });
    end.abort();
  }
  const { task } = await manager.swarm.control().getTask({ taskId: own.taskId });
  expect(task?.status?.state).toBe(TaskState.RUNNING);
});

test("the session of another node is no good to it", async () => {
  const dispatcher = (await thiefAt(manager)).client(Dispatcher);
  const known = channelShowing(manager.address, authorityOf(manager).cert, await stolenFrom(other));
  channels.push(known);
  const sessions = known.client(Dispatcher).session({})[Symbol.asyncIterator]();
  const { sessionId } = must((await sessions.next()).value, "session");
  const refused = { code: "invalid-argument", message: "session invalid" };
  await expect(dispatcher.heartbeat({ sessionId })).rejects.toMatchObject(refused);
  const assignments = dispatcher.assignments({ sessionId })[Symbol.asyncIterator]();
  await expect(assignments.next()).rejects.toMatchObject(refused);
  await expect(
    dispatcher.updateTaskStatus({ sessionId, updates: [{ taskId: "any" }] }),
  ).rejects.toMatchObject(refused);
  await expect(dispatcher.updateVolumeStatus({ sessionId })).rejects.toMatchObject(refused);
  const plane = (await thiefAt(manager)).client(DataPlane);
  await expect(plane.acknowledge({ sessionId, revision: 1n })).rejects.toMatchObject(refused);
  const tables = plane.watch({ sessionId })[Symbol.asyncIterator]();
  await expect(tables.next()).rejects.toMatchObject(refused);
});

test("it can't end what another node has attached, nor publish logs in its name", async () => {
  const { taskId } = await serviceOn("w2");
  const channel = await thiefAt(follower);
  const resources = channel.client(ResourceAllocator);
  await expect(resources.detachNetwork({ attachmentId: taskId })).rejects.toMatchObject({
    code: "permission-denied",
  });
  // The other node's own agent is silent, so that the test hears what it would be told.
  const otherId = other.swarm.localNodeId();
  const credentials = await stolenFrom(other);
  await other.stop();
  const listener = channelShowing(manager.address, authorityOf(manager).cert, credentials);
  channels.push(listener);
  const subscription = listener.client(LogBroker).listenSubscriptions({})[Symbol.asyncIterator]();
  const told = subscription.next();
  const logs = manager.swarm.logs().subscribeLogs({
    selector: { taskIds: [taskId] },
    options: { follow: true },
  });
  const lines = logs[Symbol.asyncIterator]();
  void lines.next().catch(() => undefined);
  const subscriptionId = must((await told).value, "subscription").id;
  const publish = (nodeId: string) =>
    channel.client(LogBroker).publishLogs(
      (async function* () {
        yield { subscriptionId, messages: [{ context: { nodeId, taskId } }] };
      })(),
    );
  const unknown = { code: "not-found", message: "unknown subscription ID" };
  await expect(publish(robbed.swarm.localNodeId())).rejects.toMatchObject(unknown);
  await expect(publish(otherId)).rejects.toMatchObject(unknown);
});

test("a certificate that it asks for is for its own node, whatever it asks", async () => {
  const client = (await thiefAt(follower)).client(NodeCA);
  const csr = Buffer.from(await createRequest(generateKey(), manager.swarm.localNodeId()));
  const { manager: token } = await clusterOf(manager);
  const { nodeId } = await client.issueNodeCertificate({ csr, token });
  expect(nodeId).toBe(robbed.swarm.localNodeId());
  const { certificate } = await client.nodeCertificateStatus({ nodeId });
  const pem = Buffer.from(certificate?.certificate ?? []).toString();
  expect(readCertificate(pem)).toMatchObject({
    commonName: nodeId,
    organizationalUnit: "swarm-worker",
  });
});

test("with the node's removal the thief's open streams end on every manager", async () => {
  const nodeId = robbed.swarm.localNodeId();
  await robbed.stop();
  const open = [await thiefAt(manager), await thiefAt(follower)].map((channel) => {
    const listening = channel.client(LogBroker).listenSubscriptions({});
    return { channel, end: listening[Symbol.asyncIterator]().next() };
  });
  const ends = open.map(({ end }) =>
    end.then(
      () => "answered",
      (error: Error) => error.message,
    ),
  );
  // They are open when the last of them has replaced the first.
  await expect(ends[0]).resolves.toContain("listens on another connection");
  const { channel } = must(open[0], "stream");
  const again = channel.client(LogBroker).listenSubscriptions({})[Symbol.asyncIterator]().next();
  const dispatcher = channel.client(Dispatcher);
  const sessions = dispatcher.session({})[Symbol.asyncIterator]();
  await sessions.next();
  const over = sessions.next().then(
    () => "told",
    () => "cut",
  );
  again.catch(() => undefined);
  await manager.swarm.control().removeNode({ nodeId, force: true });
  expect(await over).toBe("cut");
  await expect(again).rejects.toThrow();
  await expect(ends[1]).resolves.not.toBe("answered");
  for (const each of open) {
    const late = each.channel.client(Dispatcher).heartbeat({ sessionId: "x" });
    await expect(late).rejects.toThrow(`node ${nodeId} was removed from swarm`);
  }
  expect((await nodesOf(manager)).has(nodeId)).toBe(false);
});
