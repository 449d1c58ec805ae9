/** Rotations of the root that do not go smoothly: nodes away, leaders lost, a second thought. */

import { readFile } from "node:fs/promises";
import { create } from "@bufbuild/protobuf";
import { afterEach, beforeEach, expect, test } from "vitest";
import { EngineError } from "#base/error.ts";
import { must } from "#base/invariant.ts";
import { swarmPaths } from "#daemon/swarm-node/paths.ts";
import { issuerOf, normalizePem, verifyChain } from "#platform/x509/certificate.ts";
import { operatorsRoot } from "#platform/x509/testing/operators-root.ts";

import { type CAConfig, CAConfigSchema, NodeStatus_State } from "#wire/gen/swarmkit/types_pb.js";
import { clusterOf, nodesOf, TestCluster, type TestNode } from "./fixtures.ts";

/** The end of patience on a busy machine. */
const PATIENT = { timeout: 60_000, interval: 200 };

let cluster: TestCluster;

beforeEach(() => {
  cluster = new TestCluster();
});

afterEach(() => cluster.close());

async function rotate(by: TestNode, more: Partial<CAConfig> = {}): Promise<void> {
  const change = async () => {
    const { spec, meta, id } = (await clusterOf(by)).cluster;
    const known = spec?.caConfig ?? create(CAConfigSchema);
    const caConfig = { ...known, forceRotate: known.forceRotate + 1n, ...more };
    await by.swarm.control().updateCluster({
      clusterId: id,
      clusterVersion: must(meta?.version, "version"),
      spec: { ...must(spec, "spec"), caConfig },
    });
    return "done";
  };
  // Somebody else may write the object between the read and the write.
  await expect
    .poll(() => change().catch((error: unknown) => EngineError.from(error).message), PATIENT)
    .toBe("done");
}

async function rootOf(by: TestNode) {
  const { rootCa } = (await clusterOf(by)).cluster;
  const next = rootCa?.rootRotation?.caCert;
  return {
    cert: Buffer.from(rootCa?.caCert ?? []).toString(),
    next: next === undefined ? undefined : Buffer.from(next).toString(),
  };
}

const isOver = async (by: TestNode) => (await rootOf(by)).next === undefined;

/** Whether the certificate on the node's disk is of that root's key. */
async function isOf(node: TestNode, root: string): Promise<boolean> {
  const paths = swarmPaths(node.dataRoot);
  const cert = await readFile(paths.nodeCert, "utf8");
  const issuer = issuerOf(cert, await readFile(paths.rootCert, "utf8"));
  const wanted = issuerOf(root, root);
  return Buffer.from(issuer?.publicKey ?? []).equals(Buffer.from(must(wanted, "root").publicKey));
}

async function trusts(node: TestNode, root: string): Promise<boolean> {
  const { rootCert, nodeCert } = swarmPaths(node.dataRoot);
  if (normalizePem(await readFile(rootCert, "utf8")) !== normalizePem(root)) return false;
  verifyChain(await readFile(nodeCert, "utf8"), root, Date.now());
  return true;
}

test("a second rotation takes the first one's place, and nodes that were away for either follow", async () => {
  const manager = await cluster.node("m1");
  const [quick, away] = [await cluster.node("w1"), await cluster.node("w2")];
  await manager.init();
  const { worker: token } = await clusterOf(manager);
  for (const node of [quick, away]) await node.join(manager, token);
  const old = (await rootOf(manager)).cert;
  await away.stop();
  await rotate(manager);
  const first = must((await rootOf(manager)).next, "rotation");
  await expect.poll(() => isOf(quick, first), PATIENT).toBe(true);
  // It has seen the first and sleeps through the second. The operator brings a root this time.
  await quick.stop();
  const own = operatorsRoot("rsa:2048");
  await rotate(manager, {
    signingCaCert: Buffer.from(own.cert),
    signingCaKey: Buffer.from(own.key),
  });
  expect(await rootOf(manager)).toEqual({ cert: old, next: normalizePem(own.cert) });
  // Who joins meanwhile has the old token, and a certificate of the newest root.
  const late = await cluster.node("w3");
  await late.join(manager, token);
  expect(await isOf(late, own.cert)).toBe(true);
  await expect.poll(() => isOf(manager, own.cert), PATIENT).toBe(true);
  expect(await isOver(manager)).toBe(false);
  const back = [await away.restart(), await quick.restart()];
  await expect.poll(() => isOver(manager), PATIENT).toBe(true);
  for (const node of [manager, late, ...back]) {
    await expect.poll(() => trusts(node, own.cert), PATIENT).toBe(true);
    await expect.poll(() => node.swarm.info().state, PATIENT).toBe("active");
  }
  expect((await nodesOf(manager)).size).toBe(4);
});

test("who has its certificate and sleeps while the root is exchanged comes back into the new one", async () => {
  const manager = await cluster.node("m1");
  const [early, last] = [await cluster.node("w1"), await cluster.node("w2")];
  await manager.init();
  const { worker: token } = await clusterOf(manager);
  for (const node of [early, last]) await node.join(manager, token);
  await last.stop();
  await rotate(manager);
  const next = must((await rootOf(manager)).next, "rotation");
  const shown = async () => {
    const node = (await nodesOf(manager)).get(early.swarm.localNodeId());
    const issuer = must(issuerOf(next, next), "issuer").publicKey;
    const seen = node?.description?.tlsInfo?.certIssuerPublicKey ?? [];
    return Buffer.from(seen).equals(Buffer.from(issuer));
  };
  await expect.poll(shown, PATIENT).toBe(true);
  await early.stop();
  await last.restart();
  await expect.poll(() => isOver(manager), PATIENT).toBe(true);
  expect((await rootOf(manager)).cert).toBe(normalizePem(next));
  const back = await early.restart();
  await expect.poll(() => trusts(back, next), PATIENT).toBe(true);
  const state = async () => (await nodesOf(manager)).get(back.swarm.localNodeId())?.status?.state;
  await expect.poll(state, PATIENT).toBe(NodeStatus_State.READY);
});

test("a rotation goes on under another leader, and ends when the lost one is back", async () => {
  const names = ["m1", "m2", "m3"];
  const managers = await Promise.all(names.map((name) => cluster.node(name)));
  const [first, second, third] = managers as [TestNode, TestNode, TestNode];
  await first.init();
  const { manager: token } = await clusterOf(first);
  await second.join(first, token);
  await third.join(first, token);
  await rotate(first);
  const next = must((await rootOf(first)).next, "rotation");
  await first.stop();
  await expect.poll(() => isOf(second, next), PATIENT).toBe(true);
  await expect.poll(() => isOf(third, next), PATIENT).toBe(true);
  expect(await isOver(second)).toBe(false);
  const back = await first.restart();
  await expect.poll(() => isOver(second), PATIENT).toBe(true);
  for (const node of [back, second, third]) {
    await expect.poll(() => trusts(node, next), PATIENT).toBe(true);
    await expect.poll(async () => (await nodesOf(node)).size, PATIENT).toBe(3);
  }
});
