/** Nodes that an operator lets in or turns away, and tokens with bounds. */

import { existsSync } from "node:fs";
import { stat } from "node:fs/promises";
import { create } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { afterEach, beforeEach, expect, test } from "vitest";
import { nodeToJson } from "#api/convert/nodes.ts";
import { must } from "#base/invariant.ts";
import { swarmPaths } from "#daemon/swarm-node/paths.ts";
import { fingerprintOf, readCertificate } from "#platform/x509/certificate.ts";
import type { Node } from "#wire/gen/swarmkit/objects_pb.js";
import { ClusterSpecSchema, NodeSpec_Membership } from "#wire/gen/swarmkit/specs_pb.js";
import { AnnotationsSchema, NodeRole } from "#wire/gen/swarmkit/types_pb.js";
import { stolenFrom } from "./credentials.ts";
import { clusterOf, nodesOf, TestCluster, type TestNode } from "./fixtures.ts";

const { PENDING, ACCEPTED } = NodeSpec_Membership;
const { WORKER, MANAGER } = NodeRole;
/** The end of patience on a busy machine. */
const PATIENT = { timeout: 30_000 };

let cluster: TestCluster;
let manager: TestNode;

beforeEach(async () => {
  cluster = new TestCluster();
  manager = await cluster.node("m1");
});

afterEach(() => cluster.close());

/** Of both roles, those that come in at once. */
function accepting(...roles: readonly NodeRole[]) {
  const policies = [WORKER, MANAGER].map((role) => ({ role, autoaccept: roles.includes(role) }));
  return create(ClusterSpecSchema, { acceptancePolicy: { policies } });
}

async function waiting(): Promise<Node> {
  const found = [...(await nodesOf(manager)).values()].filter(
    ({ spec }) => spec?.membership === PENDING,
  );
  expect(found.length).toBe(1);
  return must(found[0], "node");
}

async function accept({ id, meta, spec }: Node): Promise<void> {
  await manager.swarm.control().updateNode({
    nodeId: id,
    nodeVersion: must(meta?.version, "version"),
    spec: { ...must(spec, "spec"), membership: ACCEPTED },
  });
}

test.each(["with", "without"])(
  "a worker %s its token waits, is compared by its key, and is let in",
  async (how) => {
    await manager.init({ spec: accepting(MANAGER) });
    const { worker: token, manager: managerToken } = await clusterOf(manager);
    const worker = await cluster.node("w1");
    const refusal = await worker.join(manager, how === "with" ? token : "").then(
      () => "",
      (error: Error) => error.message,
    );
    const node = await waiting();
    const fingerprint = must(nodeToJson(node).KeyFingerprint, "fingerprint");
    expect(refusal).toContain(`Its key is ${fingerprint}.`);
    expect(refusal).toContain(`skep node accept ${node.id}`);
    expect(worker.swarm.info()).toMatchObject({ state: "pending", error: refusal });
    expect(node).toMatchObject({ role: WORKER, status: { addr: "127.0.0.1" } });
    await accept(node);
    await expect.poll(() => worker.swarm.info().state, { timeout: 10_000 }).toBe("active");
    expect(worker.swarm.info()).toMatchObject({ nodeId: node.id, error: "" });
    const { cert } = await stolenFrom(worker);
    expect(fingerprintOf(readCertificate(cert).asIssuer.publicKey)).toBe(fingerprint);
    // Managers come in at once.
    const second = await cluster.node("m2");
    await second.join(manager, managerToken);
    expect(second.swarm.info().controlAvailable).toBe(true);
  },
);

test("an engine that starts again still waits with the key that it asked with", async () => {
  await manager.init({ spec: accepting() });
  const { worker: token } = await clusterOf(manager);
  const first = await cluster.node("w1");
  await expect(first.join(manager, token)).rejects.toThrow("waits to be accepted");
  const node = await waiting();
  const { joinRequest } = swarmPaths(first.dataRoot);
  expect((await stat(joinRequest)).mode & 0o777).toBe(0o600);
  const { error } = first.swarm.info();
  const second = await first.restart();
  await expect.poll(() => second.swarm.info(), PATIENT).toMatchObject({ state: "pending", error });
  // Accepted while nobody waits: the certificate lies there until its node comes back.
  await second.stop();
  expect((await waiting()).id).toBe(node.id);
  await accept(await waiting());
  const third = await second.restart();
  const inside = { state: "active", nodeId: node.id, error: "" };
  await expect.poll(() => third.swarm.info(), PATIENT).toMatchObject(inside);
  expect(existsSync(joinRequest)).toBe(false);
  expect((await nodesOf(manager)).size).toBe(2);
});

test("a node that is rejected while it is away is told so when it is back", async () => {
  await manager.init({ spec: accepting() });
  const worker = await cluster.node("w1");
  await expect(worker.join(manager, "")).rejects.toThrow("waits to be accepted");
  await worker.stop();
  await manager.swarm.control().removeNode({ nodeId: (await waiting()).id, force: true });
  const back = await worker.restart();
  await expect.poll(() => back.swarm.info().state, PATIENT).toBe("error");
  expect(back.swarm.info().error).toContain("the swarm has rejected this node");
  await back.swarm.leave(true);
  expect(back.swarm.info().state).toBe("inactive");
});

test("a node that is rejected is told so, and leaves nothing behind in the swarm", async () => {
  await manager.init({ spec: accepting() });
  const worker = await cluster.node("w1");
  await expect(worker.join(manager, "")).rejects.toThrow("waits to be accepted");
  const { id: nodeId } = await waiting();
  await manager.swarm.control().removeNode({ nodeId, force: true });
  await expect.poll(() => worker.swarm.info().state, { timeout: 20_000 }).toBe("error");
  expect(worker.swarm.info().error).toContain(`the swarm has rejected this node (${nodeId})`);
  const { cluster: object } = await clusterOf(manager);
  expect(object.blacklistedCertificates).toEqual({});
  expect((await nodesOf(manager)).size).toBe(1);
  await worker.swarm.leave(true);
});

test("without a token nobody comes in where workers need none to wait", async () => {
  await manager.init({ spec: accepting(WORKER) });
  const stranger = await cluster.node("w1");
  const message = "A valid join token is necessary to join this cluster";
  await expect(stranger.join(manager, "")).rejects.toThrow(message);
  const second = await cluster.node("m2");
  const { manager: token } = await clusterOf(manager);
  await expect(second.join(manager, token)).rejects.toThrow("waits to be accepted");
  await accept(await waiting());
  await expect.poll(() => second.swarm.info().controlAvailable, { timeout: 15_000 }).toBe(true);
});

test("a named token labels its nodes, and is used up and expires with the reason", async () => {
  await manager.init();
  const tokens = manager.swarm.joinTokens();
  const { token: once } = await tokens.create({
    name: "rack-7",
    role: WORKER,
    labels: { rack: "7" },
    identityLabels: { vault: "yes" },
    maxUses: 1,
  });
  const text = must(once, "token").token;
  expect(text).toMatch(/^SWMTKN-1-[0-9a-z]{50}-[0-9a-z]{25}$/);
  const [first, second, third] = [
    await cluster.node("w1"),
    await cluster.node("w2"),
    await cluster.node("w3"),
  ];
  // Both come at once, and one is too late.
  const outcomes = await Promise.allSettled([
    first.join(manager, text),
    second.join(manager, text),
  ]);
  const refused = outcomes.flatMap((outcome) =>
    outcome.status === "rejected" ? [String(outcome.reason)] : [],
  );
  expect(refused.length).toBe(1);
  expect(refused[0]).toContain("join token rack-7 has been used 1 times, as often as it may be");
  const labels = [...(await nodesOf(manager)).values()].map(
    ({ spec }) => spec?.annotations?.labels ?? {},
  );
  expect(labels).toContainEqual({ rack: "7" });
  // What it is identified by, nobody takes away or gives by an update.
  const [identified] = [...(await nodesOf(manager)).values()].filter(
    ({ identityLabels }) => identityLabels["vault"] === "yes",
  );
  const { id, meta, spec } = must(identified, "node");
  await manager.swarm.control().updateNode({
    nodeId: id,
    nodeVersion: must(meta?.version, "version"),
    spec: {
      ...must(spec, "spec"),
      annotations: { ...must(spec?.annotations, "name"), labels: {} },
    },
  });
  expect((await nodesOf(manager)).get(id)?.identityLabels).toEqual({ vault: "yes" });
  const ownId = manager.swarm.localNodeId();
  const pretend = async () => {
    const own = must((await nodesOf(manager)).get(ownId), "node");
    const labels = { vault: "yes", "identity.vault": "yes", "node.identity.vault": "yes" };
    const annotations = create(AnnotationsSchema, { labels });
    const nodeVersion = must(own.meta?.version, "version");
    const wanted = { ...must(own.spec, "spec"), annotations };
    await manager.swarm.control().updateNode({ nodeId: ownId, nodeVersion, spec: wanted });
    return "done";
  };
  // The leader changes the object, too, when it has heard of its node.
  await expect.poll(() => pretend().catch(String), PATIENT).toBe("done");
  expect((await nodesOf(manager)).get(ownId)?.identityLabels).toEqual({});
  const { token: brief } = await tokens.create({ role: MANAGER, expiresIn: durationFromMs(50) });
  await new Promise((resolve) => setTimeout(resolve, 60));
  await expect(third.join(manager, must(brief, "token").token)).rejects.toThrow(
    `join token ${brief?.name} expired at`,
  );
  await expect(tokens.create({ name: "rack-7", role: WORKER })).rejects.toMatchObject({
    code: "already-exists",
  });
  await tokens.remove({ name: "rack-7" });
  await expect(third.join(manager, text)).rejects.toThrow("A valid join token is necessary");
  expect((await tokens.list({})).tokens.map(({ name }) => name)).toEqual([brief?.name]);
});

test("whoever guesses tokens has to wait", async () => {
  await manager.init();
  const { worker: token } = await clusterOf(manager);
  const guesser = await cluster.node("w1");
  const wrong = (at: number) => token.slice(0, -25) + String(at).padStart(25, "0");
  for (let at = 0; at < 10; at += 1) {
    await expect(guesser.join(manager, wrong(at))).rejects.toThrow("A valid join token");
  }
  await expect(guesser.join(manager, wrong(10))).rejects.toThrow("too many failed attempts");
});
