/** Certificates that change under running nodes: renewal, root rotation, and expiry while asleep. */

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { afterEach, beforeEach, expect, test } from "vitest";
import { readCertificate } from "#platform/x509/certificate.ts";
import { CAConfigSchema } from "#wire/gen/swarmkit/types_pb.js";
import {
  authorityOf,
  clusterOf,
  nodesOf,
  SleepersClock,
  shortenCertificates,
  TestCluster,
  type TestNode,
} from "./fixtures.ts";

let cluster: TestCluster;

beforeEach(() => {
  cluster = new TestCluster();
});

afterEach(() => cluster.close());

function certificate(node: TestNode, name = "swarm-node.crt"): Promise<string> {
  return readFile(join(node.dataRoot, "swarm", "certificates", name), "utf8");
}

test("a new root reaches every node without anybody losing a connection", async () => {
  const [first, second, worker] = [
    await cluster.node("m1"),
    await cluster.node("m2"),
    await cluster.node("w1"),
  ];
  await first.init();
  const before = await clusterOf(first);
  await second.join(first, before.manager);
  await worker.join(second, before.worker);
  const { spec, meta, id } = (await clusterOf(first)).cluster;
  if (spec === undefined || meta?.version === undefined) throw new Error("no cluster");
  const caConfig = { ...(spec.caConfig ?? create(CAConfigSchema)), forceRotate: 1n };
  const oldRoot = await certificate(worker, "swarm-root-ca.crt");
  await second.swarm.control().updateCluster({
    clusterId: id,
    clusterVersion: meta.version,
    spec: { ...spec, caConfig },
  });
  await expect
    .poll(async () => (await clusterOf(second)).worker, { timeout: 60_000, interval: 200 })
    .not.toBe(before.worker);
  const after = await clusterOf(first);
  expect(after.cluster.rootCa?.rootRotation).toBeUndefined();
  const newRoot = Buffer.from(after.cluster.rootCa?.caCert ?? []).toString();
  expect(newRoot).not.toBe(oldRoot);
  for (const node of [first, second, worker]) {
    await expect
      .poll(() => certificate(node, "swarm-root-ca.crt"), { timeout: 10_000 })
      .toBe(newRoot);
    expect(node.swarm.info().state).toBe("active");
  }
  // The old token names the old root, and is no token any more.
  const late = await cluster.node("w2");
  await expect(late.join(first, before.worker)).rejects.toThrow("does not match fingerprint");
  await late.join(second, after.worker);
  const back = await worker.restart();
  await expect.poll(() => back.swarm.info().state, { timeout: 10_000 }).toBe("active");
  expect((await nodesOf(second)).size).toBe(4);
});

test("a worker whose certificate expired while it slept renews by its key and comes back", async () => {
  const manager = await cluster.node("m1");
  await manager.init();
  const { worker: token } = await clusterOf(manager);
  const worker = await cluster.node("w1");
  await worker.join(manager, token);
  const nodeId = worker.swarm.localNodeId();
  await worker.stop();
  await cluster.expire(worker, authorityOf(manager));
  const expired = await certificate(worker);
  const back = await worker.restart();
  await expect.poll(() => back.swarm.info().state, { timeout: 20_000 }).toBe("active");
  expect(back.swarm.localNodeId()).toBe(nodeId);
  await expect.poll(() => certificate(worker), { timeout: 20_000 }).not.toBe(expired);
});

test("a manager whose certificate ended under it while it slept renews by its key with the leader it hears", async () => {
  const first = await cluster.node("m1");
  await first.init();
  const { manager: token } = await clusterOf(first);
  const second = await cluster.node("m2");
  await second.join(first, token);
  await shortenCertificates(first, 5_000);
  // It goes on to tick.
  const clock = new SleepersClock(100);
  const sleeper = await cluster.node("m3", 0, clock);
  await sleeper.join(first, token);
  const nodeId = sleeper.swarm.localNodeId();
  clock.sleep();
  const agoMs = async () => Date.now() - readCertificate(await certificate(sleeper)).notAfterMs;
  await expect.poll(agoMs, { timeout: 30_000 }).toBeGreaterThan(1_000);
  const ended = await certificate(sleeper);
  // The leader's own connection to it still stands, so that it has no reason to look for another.
  expect(sleeper.swarm.manager()?.state.leader()?.nodeId).toBe(first.swarm.localNodeId());
  clock.wake();
  await expect.poll(() => certificate(sleeper), { timeout: 20_000 }).not.toBe(ended);
  expect(sleeper.swarm.localNodeId()).toBe(nodeId);
  await expect
    .poll(async () => (await nodesOf(sleeper).catch(() => new Map())).size, { timeout: 20_000 })
    .toBe(3);
});

test("a swarm that slept until all of its certificates had expired wakes up", async () => {
  const managers = [await cluster.node("m1"), await cluster.node("m2"), await cluster.node("m3")];
  const [first, ...others] = managers;
  if (first === undefined) throw new Error("no manager");
  await first.init();
  const { manager: token } = await clusterOf(first);
  for (const other of others) await other.join(first, token);
  const authority = authorityOf(first);
  for (const node of managers) await node.stop();
  for (const node of managers) await cluster.expire(node, authority);
  const awake = await Promise.all(managers.map((node) => node.restart()));
  for (const node of awake) {
    await expect.poll(() => node.swarm.info().state, { timeout: 30_000 }).toBe("active");
    expect((await nodesOf(node)).size).toBe(3);
  }
});
