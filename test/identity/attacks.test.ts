/** What strangers, and those who were members, do at the manager port on purpose. */

import { once } from "node:events";
import { connect as connectTcp, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { afterEach, beforeEach, expect, test } from "vitest";
import { EngineError } from "#base/error.ts";
import { must } from "#base/invariant.ts";
import type { RpcChannel } from "#platform/grpc/client.ts";
import { NodeRole } from "#wire/gen/swarmkit/types_pb.js";
import { Watch, WatchActionKind } from "#wire/gen/swarmkit/watch_pb.js";
import { channelShowing, type Shown, stolenFrom } from "./credentials.ts";
import { authorityOf, clusterOf, nodesOf, TestCluster, type TestNode } from "./fixtures.ts";

/** The end of patience on a busy machine. */
const PATIENT = { timeout: 40_000 };

let cluster: TestCluster;
let manager: TestNode;
let channels: RpcChannel[];
let sockets: Socket[];

beforeEach(async () => {
  channels = [];
  sockets = [];
  cluster = new TestCluster();
  manager = await cluster.node("m1");
  await manager.init();
});

afterEach(async () => {
  for (const channel of channels) channel.close();
  for (const socket of sockets) socket.destroy();
  await cluster.close();
});

function channelTo(node: TestNode, shown: Shown | undefined): RpcChannel {
  const channel = channelShowing(node.address, authorityOf(manager).cert, shown);
  channels.push(channel);
  return channel;
}

function portOf({ address }: TestNode): number {
  return Number(address.slice(address.lastIndexOf(":") + 1));
}

test("what a demoted manager follows ends with its demotion, on every manager", async () => {
  const [second, third] = [await cluster.node("m2"), await cluster.node("m3")];
  const { manager: token } = await clusterOf(manager);
  await second.join(manager, token);
  await third.join(manager, token);
  const nodeId = third.swarm.localNodeId();
  const stolen = await stolenFrom(third);
  const watching = [manager, second].map((node) => {
    const entries = [{ kind: "secret", action: WatchActionKind.WATCH_ACTION_CREATE, filters: [] }];
    const stream = channelTo(node, stolen).client(Watch).watch({ entries });
    return stream[Symbol.asyncIterator]();
  });
  // The first message says that it follows.
  for (const stream of watching) await stream.next();
  const ends = watching.map((stream) =>
    stream.next().then(
      () => "told",
      () => "cut",
    ),
  );
  const change = async () => {
    const { meta, spec } = must((await nodesOf(manager)).get(nodeId), "node");
    const nodeVersion = must(meta?.version, "version");
    const demoted = { ...must(spec, "spec"), desiredRole: NodeRole.WORKER };
    await manager.swarm.control().updateNode({ nodeId, nodeVersion, spec: demoted });
    return "done";
  };
  // The leader changes the object, too, when it has heard of its node.
  await expect
    .poll(() => change().catch((error: unknown) => EngineError.from(error).message), PATIENT)
    .toBe("done");
  expect(await Promise.all(ends)).toEqual(["cut", "cut"]);
  const again = channelTo(second, stolen).client(Watch).watch({});
  await expect(again[Symbol.asyncIterator]().next()).rejects.toThrow("is no longer a manager");
  // The node itself goes on as a worker.
  await expect.poll(() => third.swarm.info().controlAvailable, PATIENT).toBe(false);
  await expect
    .poll(async () => (await nodesOf(manager)).get(nodeId)?.status?.state, PATIENT)
    .toBe((await nodesOf(manager)).get(second.swarm.localNodeId())?.status?.state);
});

test("thousands who never show who they are, from one address, keep nobody out", async () => {
  const port = portOf(manager);
  const dial = async () => {
    const socket = connectTcp({ port, host: "127.0.0.1", localAddress: "127.0.0.2" });
    sockets.push(socket);
    socket.on("error", () => undefined);
    await once(socket, "connect");
    return socket;
  };
  const shakeHands = async () => {
    const socket = connectTls({ socket: await dial(), rejectUnauthorized: false });
    sockets.push(socket);
    socket.on("error", () => undefined);
    await once(socket, "secureConnect");
  };
  for (let batch = 0; batch < 22; batch += 1) {
    await Promise.all(Array.from({ length: 100 }, dial));
  }
  // Some got as far as one gets without a certificate.
  await Promise.all(Array.from({ length: 20 }, shakeHands));
  const worker = await cluster.node("w1");
  await worker.join(manager, (await clusterOf(manager)).worker);
  expect(worker.swarm.info().state).toBe("active");
  const left = () => sockets.filter(({ closed, localAddress }) => !closed && localAddress).length;
  await expect.poll(left, PATIENT).toBeLessThanOrEqual(2_048 + 20);
  expect(left()).toBeGreaterThan(1_000);
  expect((await nodesOf(manager)).size).toBe(2);
});
