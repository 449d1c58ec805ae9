/** Managers of several versions: what the newest knows is used when all know it, and not before. */

import { existsSync } from "node:fs";
import { afterEach, beforeEach, expect, test } from "vitest";
import { must } from "#base/invariant.ts";
import { swarmOfBackup } from "#daemon/swarm-node/new-swarm.ts";
import { swarmPaths } from "#daemon/swarm-node/paths.ts";
import { FEATURE_LEVEL } from "#model/feature-level.ts";
import { realRandom } from "#platform/real-ports.ts";
import { storeSnapshotOf } from "#store/snapshot.ts";
import type { Cluster, Node } from "#wire/gen/swarmkit/objects_pb.js";
import { RaftMembership } from "#wire/gen/swarmkit/raft_pb.js";
import { NodeSpec_Availability } from "#wire/gen/swarmkit/specs_pb.js";
import { NodeRole } from "#wire/gen/swarmkit/types_pb.js";
import { channelShowing, stolenFrom } from "./credentials.ts";
import { authorityOf, clusterOf, nodesOf, TestCluster, type TestNode } from "./fixtures.ts";

/** The end of patience on a busy machine. */
const PATIENT = { timeout: 30_000 };
const REFUSAL = /uses features of level \d+, and this version of skep knows them up to level \d+/;

let cluster: TestCluster;
let first: TestNode;

beforeEach(async () => {
  cluster = new TestCluster();
  first = await cluster.node("m1");
  await first.init();
});

afterEach(() => cluster.close());

async function setLevel(featureLevel: number): Promise<void> {
  await must(first.swarm.manager(), "manager").state.update("leader", (tx) => {
    const object: Cluster = must(tx.byName("cluster", "default"), "cluster");
    tx.update("cluster", { ...object, featureLevel });
  });
}

/** As its agent reports it. */
async function report(nodeId: string, featureLevel: number): Promise<void> {
  await must(first.swarm.manager(), "manager").state.update("leader", (tx) => {
    const node: Node = must(tx.get("node", nodeId), "node");
    const description = { ...must(node.description, "description"), featureLevel };
    tx.update("node", { ...node, description });
  });
}

const level = async () =>
  must(first.swarm.manager(), "manager").state.view().byName("cluster", "default")?.featureLevel;
const join = async (node: TestNode, role: "worker" | "manager") =>
  node.join(first, (await clusterOf(first))[role]);

test("a swarm of an older version uses more when its last manager knows more", async () => {
  expect(await level()).toBe(FEATURE_LEVEL);
  const [second, third] = [await cluster.node("m2"), await cluster.node("m3")];
  await join(second, "manager");
  await join(third, "manager");
  // One that is away: nobody but this test says what it knows.
  const away = third.swarm.localNodeId();
  await third.stop();
  await report(away, 0);
  await setLevel(0);
  // Any change of a node is a reason to look, and the old manager one not to raise it.
  await report(first.swarm.localNodeId(), FEATURE_LEVEL + 1);
  await report(first.swarm.localNodeId(), FEATURE_LEVEL);
  expect(await level()).toBe(0);
  await report(away, FEATURE_LEVEL);
  await expect.poll(level, PATIENT).toBe(FEATURE_LEVEL);
});

test("who knows less than is used does not become a manager", async () => {
  const [second, worker] = [await cluster.node("m2"), await cluster.node("w1")];
  await join(second, "manager");
  await join(worker, "worker");
  // The certificate of a manager, and a program from before there were levels.
  const channel = channelShowing(first.address, authorityOf(first).cert, await stolenFrom(second));
  const request = { addr: second.address };
  await expect(channel.client(RaftMembership).join(request)).rejects.toThrow(REFUSAL);
  channel.close();
  const nodeId = worker.swarm.localNodeId();
  await report(nodeId, FEATURE_LEVEL - 1);
  const promote = async () => {
    const { meta, spec } = must((await nodesOf(first)).get(nodeId), "node");
    await first.swarm.control().updateNode({
      nodeId,
      nodeVersion: must(meta?.version, "version"),
      spec: { ...must(spec, "spec"), desiredRole: NodeRole.MANAGER },
    });
  };
  await expect(promote()).rejects.toThrow(`node ${nodeId} can't become a manager: this swarm uses`);
  await report(nodeId, FEATURE_LEVEL);
  await promote();
  await expect.poll(() => worker.swarm.info().controlAvailable, PATIENT).toBe(true);
});

test("who knows less than is used manages no more, and says why also after a restart", async () => {
  const backup = must(first.swarm.manager(), "manager").state.view();
  await setLevel(FEATURE_LEVEL + 1);
  await expect.poll(() => first.swarm.info().error, PATIENT).toMatch(REFUSAL);
  expect(() => first.swarm.control()).toThrow();
  const again = await first.restart();
  await expect.poll(() => again.swarm.info().error, PATIENT).toMatch(REFUSAL);
  // What is on the disk stays there for the version that knows it.
  expect(existsSync(swarmPaths(first.dataRoot).raft)).toBe(true);
  const store = storeSnapshotOf(backup);
  const [object] = store.clusters;
  const newer = { ...must(object, "cluster"), featureLevel: FEATURE_LEVEL + 1 };
  const file = { clusterId: newer.id, createdAt: "", store: { ...store, clusters: [newer] } };
  const { ACTIVE } = NodeSpec_Availability;
  expect(() => swarmOfBackup(file, ACTIVE, realRandom)).toThrow(REFUSAL);
});
