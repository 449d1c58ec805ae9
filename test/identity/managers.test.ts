/** Three managers on one machine: forwarding, failing over, coming back, changing roles. */

import { afterEach, beforeEach, expect, test } from "vitest";
import { NodeRole } from "#wire/gen/swarmkit/types_pb.js";
import { clusterOf, nodesOf, TestCluster, type TestNode } from "./fixtures.ts";

let cluster: TestCluster;

beforeEach(() => {
  cluster = new TestCluster();
});

afterEach(() => cluster.close());

async function threeManagers(): Promise<[TestNode, TestNode, TestNode]> {
  const [first, second, third] = [
    await cluster.node("m1"),
    await cluster.node("m2"),
    await cluster.node("m3"),
  ];
  await first.init();
  const { manager: token } = await clusterOf(first);
  await second.join(first, token);
  await third.join(second, token);
  return [first, second, third];
}

function leaderOf(node: TestNode): string {
  return node.swarm.manager()?.state.leader()?.nodeId ?? "";
}

async function wanted(node: TestNode, nodeId: string, role: NodeRole): Promise<void> {
  const control = node.swarm.control();
  const { node: found } = await control.getNode({ nodeId });
  if (found?.spec === undefined || found.meta?.version === undefined) throw new Error("no node");
  const spec = { ...found.spec, desiredRole: role };
  await control.updateNode({ nodeId, nodeVersion: found.meta.version, spec });
}

test("every manager answers, the leader does the work, and sees who asked", async () => {
  const [first, second, third] = await threeManagers();
  expect(leaderOf(third)).toBe(first.swarm.localNodeId());
  for (const node of [first, second, third]) {
    expect(node.swarm.info()).toMatchObject({ state: "active", controlAvailable: true });
    const nodes = await nodesOf(node);
    expect([...nodes.values()].filter((each) => each.managerStatus !== undefined).length).toBe(3);
  }
  // A write through a follower, and its effect seen through another.
  await wanted(second, third.swarm.localNodeId(), NodeRole.MANAGER);
  const worker = await cluster.node("w1");
  const { worker: token } = await clusterOf(third);
  await worker.join(third, token);
  expect((await nodesOf(second)).get(worker.swarm.localNodeId())?.role).toBe(NodeRole.WORKER);
});

test("when the leader stops another leads, and it comes back from its disk", async () => {
  const [first, second, third] = await threeManagers();
  const nodeId = first.swarm.localNodeId();
  await first.stop();
  await expect.poll(() => leaderOf(second), { timeout: 10_000 }).not.toBe(nodeId);
  await expect.poll(() => leaderOf(second), { timeout: 10_000 }).not.toBe("");
  expect((await nodesOf(third)).size).toBe(3);
  const again = await first.restart();
  await expect.poll(() => again.swarm.info().state, { timeout: 10_000 }).toBe("active");
  expect(again.swarm.localNodeId()).toBe(nodeId);
  expect((await nodesOf(again)).size).toBe(3);
});

test("without a majority there is no leader, and docker's sentence says so", async () => {
  const [first, second, third] = await threeManagers();
  await second.stop();
  await third.stop();
  await expect.poll(() => leaderOf(first), { timeout: 10_000 }).toBe("");
  await expect(first.swarm.control().listNodes({})).rejects.toThrow(
    "The swarm does not have a leader. It's possible that too few managers are online.",
  );
});

test("what an ending manager can answer no more, it refuses, and says where to ask", async () => {
  const [first, second, third] = await threeManagers();
  await second.stop();
  await third.stop();
  await expect.poll(() => leaderOf(first), { timeout: 10_000 }).toBe("");
  const waits = expect(first.swarm.control().listNodes({})).rejects.toMatchObject({
    code: "unavailable",
    message: expect.stringContaining("before there was an answer: ask another manager"),
  });
  await first.stop();
  await waits;
});

test("a follower is demoted to a worker and promoted again, all at run time", async () => {
  const [first, second, third] = await threeManagers();
  const nodeId = third.swarm.localNodeId();
  await wanted(first, nodeId, NodeRole.WORKER);
  await expect.poll(() => third.swarm.info().controlAvailable, { timeout: 15_000 }).toBe(false);
  expect(third.swarm.info().state).toBe("active");
  await expect
    .poll(async () => (await nodesOf(second)).get(nodeId)?.role, { timeout: 10_000 })
    .toBe(NodeRole.WORKER);
  expect((await nodesOf(first)).get(nodeId)?.managerStatus).toBeUndefined();
  // What its log tells of its earlier time is no vote: who counts on it would lose the majority.
  const votes = new Promise((resolve) => {
    third.swarm.onChange(() => {
      const seen = first.swarm.manager()?.membership.list() ?? [];
      if (third.swarm.info().controlAvailable) {
        resolve(seen.some((member) => member.nodeId === nodeId && member.voter));
      }
    });
  });
  await wanted(second, nodeId, NodeRole.MANAGER);
  await expect.poll(() => third.swarm.info().controlAvailable, { timeout: 30_000 }).toBe(true);
  expect(await votes).toBe(true);
  expect((await nodesOf(third)).size).toBe(3);
});

test("a demoted leader hands over first", async () => {
  const [first, second] = await threeManagers();
  const nodeId = first.swarm.localNodeId();
  await wanted(first, nodeId, NodeRole.WORKER);
  await expect.poll(() => leaderOf(second), { timeout: 10_000 }).not.toBe(nodeId);
  await expect.poll(() => first.swarm.info().controlAvailable, { timeout: 15_000 }).toBe(false);
  await expect
    .poll(async () => (await nodesOf(second)).get(nodeId)?.managerStatus, { timeout: 10_000 })
    .toBeUndefined();
});

test("one manager restarts from its disk, with everything that it knew", async () => {
  const manager = await cluster.node("m1");
  await manager.init();
  const { worker: token } = await clusterOf(manager);
  const worker = await cluster.node("w1");
  await worker.join(manager, token);
  const again = await manager.restart();
  await expect.poll(() => again.swarm.info().state, { timeout: 10_000 }).toBe("active");
  expect((await clusterOf(again)).worker).toBe(token);
  const nodeId = worker.swarm.localNodeId();
  const back = await worker.restart();
  await expect.poll(() => back.swarm.info().state, { timeout: 10_000 }).toBe("active");
  expect(back.swarm.localNodeId()).toBe(nodeId);
});

test("a locked manager stays locked until it is given the key", async () => {
  const manager = await cluster.node("m1");
  await manager.init({ autoLockManagers: true });
  const key = await manager.swarm.unlockKey();
  expect(key).toMatch(/^SWMKEY-1-[A-Za-z0-9+/]{43}$/);
  await expect(manager.swarm.unlock(key)).rejects.toThrow("swarm is not locked");
  const again = await manager.restart();
  await expect.poll(() => again.swarm.info().state, { timeout: 10_000 }).toBe("locked");
  expect(() => again.swarm.control()).toThrow("Swarm is encrypted and needs to be unlocked");
  await expect(again.swarm.leave(false)).rejects.toThrow("Swarm is encrypted and locked.");
  const wrong = `SWMKEY-1-${"A".repeat(43)}`;
  await expect(again.swarm.unlock(wrong)).rejects.toMatchObject({
    code: "unauthenticated",
    message: "swarm could not be unlocked: invalid key provided",
  });
  await again.swarm.unlock(key);
  expect(again.swarm.info()).toMatchObject({ state: "active", controlAvailable: true });
});

test("a lost majority is given up by force, and the swarm goes on", async () => {
  const [first, second, third] = await threeManagers();
  const { worker: token } = await clusterOf(first);
  await second.stop();
  await third.stop();
  await first.init({ forceNewCluster: true });
  expect((await clusterOf(first)).worker).toBe(token);
  const nodes = [...(await nodesOf(first)).values()];
  expect(nodes.filter((each) => each.managerStatus !== undefined).length).toBe(1);
});

test("a node that never got ready stops all the same", async () => {
  const manager = await cluster.node("m1");
  await manager.init();
  const { worker: token } = await clusterOf(manager);
  const worker = await cluster.node("w1");
  await worker.join(manager, token);
  await manager.stop();
  const again = await worker.restart();
  await again.stop();
  expect(again.swarm.info().state).not.toBe("active");
});
