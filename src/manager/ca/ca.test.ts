import { create } from "@bufbuild/protobuf";
import * as fc from "fast-check";
import { afterEach, beforeEach, expect, test } from "vitest";
import { EngineError } from "#base/error.ts";
import { must } from "#base/invariant.ts";
import type { Clock } from "#base/ports.ts";
import { generateJoinToken } from "#pki/join-token.ts";
import { rootValidity } from "#pki/profile.ts";
import type { Issuer } from "#pki/rotation.ts";
import type { RpcContext } from "#platform/grpc/server.ts";
import { silentLog } from "#platform/log.ts";
import { realClock, realRandom } from "#platform/real-ports.ts";
import { digestOfPem, readCertificate, verifyChain } from "#platform/x509/certificate.ts";
import {
  type Authority,
  createRequest,
  createRoot,
  crossSign,
  generateKey,
} from "#platform/x509/issue.ts";
import {
  IssueNodeCertificateRequestSchema,
  NodeCertificateStatusRequestSchema,
} from "#wire/gen/swarmkit/ca_pb.js";
import { ClusterSchema, type Node, NodeSchema } from "#wire/gen/swarmkit/objects_pb.js";
import { NodeSpec_Membership } from "#wire/gen/swarmkit/specs_pb.js";
import {
  CertificateSchema,
  IssuanceStatus_State,
  IssuanceStatusSchema,
  NodeRole,
} from "#wire/gen/swarmkit/types_pb.js";
import { createLocalState } from "../raft/local-state.ts";
import { createExternalCa } from "./external-ca.ts";
import { type CaServices, createCaServices } from "./service.ts";
import { runCaSigner } from "./signer.ts";

const root: Authority = await createRoot(rootValidity(Date.now()), realRandom);
const removed = new Set<string>();
/** Rotation and retries take seconds; the tests' clock waits a hundredth of that. */
const fastClock: Clock = {
  ...realClock,
  setTimer: (delayMs, callback) => realClock.setTimer(delayMs / 100, callback),
};
/** How far the services' clock is ahead. */
let offsetMs = 0;
let state: ReturnType<typeof createLocalState>;
let services: CaServices;
let stop: AbortController;
let tokens: { worker: string; manager: string };

beforeEach(async () => {
  removed.clear();
  offsetMs = 0;
  stop = new AbortController();
  state = createLocalState({ clock: realClock, random: realRandom });
  const digest = digestOfPem(root.cert);
  tokens = {
    worker: generateJoinToken(digest, realRandom),
    manager: generateJoinToken(digest, realRandom),
  };
  const cluster = create(ClusterSchema, {
    id: "c1",
    spec: { annotations: { name: "default" } },
    rootCa: { caCert: Buffer.from(root.cert), caKey: Buffer.from(root.key), joinTokens: tokens },
    VXLANUDPPort: 4789,
  });
  await state.update("leader", (tx) => tx.create("cluster", cluster));
  services = createCaServices({
    state,
    cluster: {
      clusterId: "c1",
      removed: (nodeId) => removed.has(nodeId),
      role: () => undefined,
    },
    trustedRoot: () => root.cert,
    clock: { ...realClock, nowMs: () => realClock.nowMs() + offsetMs },
    random: realRandom,
    log: silentLog,
  });
  const externalCa = createExternalCa(() => ({ cert: "", key: "", ca: "" }));
  const options = { state, externalCa, clock: fastClock, random: realRandom, log: silentLog };
  state.onLeadership((signal) => runCaSigner(options, AbortSignal.any([signal, stop.signal])));
});

afterEach(async () => {
  stop.abort();
  await state.stop();
});

function call(more: Partial<RpcContext> = {}): RpcContext {
  return {
    peer: undefined,
    peerAddress: "192.0.2.1:40000",
    signal: AbortSignal.timeout(5_000),
    metadata: {},
    path: "",
    local: false,
    ...more,
  };
}

async function ask(token: string, context = call(), key = generateKey(), commonName = "") {
  const csr = Buffer.from(await createRequest(key, commonName));
  const request = create(IssueNodeCertificateRequestSchema, { csr, token });
  const answer = await services.nodeCa.issueNodeCertificate(request, context);
  return String(answer.nodeId);
}

async function certificateOf(nodeId: string) {
  const request = create(NodeCertificateStatusRequestSchema, { nodeId });
  const answer = await services.nodeCa.nodeCertificateStatus(request, call());
  return {
    state: answer.status?.state,
    pem: Buffer.from(answer.certificate?.certificate ?? []).toString(),
  };
}

function node(nodeId: string): Node {
  const found = state.view().get("node", nodeId);
  if (found === undefined) throw new Error(`no node ${nodeId}`);
  return found;
}

test("a token makes a node of its role, with a certificate that the root signed", async () => {
  for (const [token, role, unit] of [
    [tokens.worker, NodeRole.WORKER, "swarm-worker"],
    [tokens.manager, NodeRole.MANAGER, "swarm-manager"],
  ] as const) {
    const nodeId = await ask(token);
    const { state: issued, pem } = await certificateOf(nodeId);
    expect(issued).toBe(IssuanceStatus_State.ISSUED);
    verifyChain(pem, root.cert, Date.now());
    expect(readCertificate(pem)).toMatchObject({
      commonName: nodeId,
      organizationalUnit: unit,
      organization: "c1",
    });
    expect(node(nodeId)).toMatchObject({ role, spec: { desiredRole: role }, VXLANUDPPort: 4789 });
  }
});

test("without a valid token nobody comes in, and nothing is written", async () => {
  for (const token of ["", "x", `${tokens.worker}x`, tokens.worker.slice(0, -1)]) {
    await expect(ask(token)).rejects.toMatchObject({
      code: "invalid-argument",
      message: "A valid join token is necessary to join this cluster",
    });
  }
  // A certificate of another cluster is no better than none.
  const peer = { nodeId: "n", role: "swarm-manager", clusterId: "other" };
  await expect(ask("", call({ peer }))).rejects.toThrow("valid join token");
  expect(state.view().count("node")).toBe(0);
});

test("guessing becomes slow for the guesser, and for nobody else", async () => {
  for (let guess = 0; guess < 10; guess += 1) {
    const context = call({ peerAddress: `192.0.2.7:${40_000 + guess}` });
    await expect(ask("guess", context)).rejects.toMatchObject({ code: "invalid-argument" });
  }
  const guesser = call({ peerAddress: "192.0.2.7:50000" });
  await expect(ask(tokens.worker, guesser)).rejects.toMatchObject({ code: "resource-exhausted" });
  await expect(ask(tokens.worker)).resolves.toMatch(/^[a-z0-9]{25}$/);
});

test("a malformed request is refused at the door", async () => {
  const send = async (csr: Uint8Array) => {
    const request = create(IssueNodeCertificateRequestSchema, { csr, token: tokens.worker });
    return services.nodeCa.issueNodeCertificate(request, call());
  };
  await expect(send(new Uint8Array())).rejects.toMatchObject({ code: "invalid-argument" });
  await expect(send(Buffer.from("nonsense"))).rejects.toMatchObject({ code: "invalid-argument" });
  expect(state.view().count("node")).toBe(0);
});

test("where the policy wants it, a node waits until an operator accepts it", async () => {
  await state.update("api", (tx) => {
    const cluster = tx.get("cluster", "c1");
    if (cluster?.spec === undefined) throw new Error("no cluster");
    const acceptancePolicy = create(ClusterSchema, {
      spec: { acceptancePolicy: { policies: [{ role: NodeRole.WORKER, secret: {} }] } },
    }).spec?.acceptancePolicy;
    const spec = { ...cluster.spec, ...(acceptancePolicy && { acceptancePolicy }) };
    tx.update("cluster", { ...cluster, spec });
  });
  const nodeId = await ask(tokens.worker);
  const issued = certificateOf(nodeId);
  expect(node(nodeId).spec?.membership).toBe(NodeSpec_Membership.PENDING);
  expect(node(nodeId).certificate?.status?.state).toBe(IssuanceStatus_State.PENDING);
  await state.update("api", (tx) => {
    const pending = tx.get("node", nodeId);
    if (pending?.spec === undefined) throw new Error("no node");
    const spec = { ...pending.spec, membership: NodeSpec_Membership.ACCEPTED };
    tx.update("node", { ...pending, spec });
  });
  expect((await issued).state).toBe(IssuanceStatus_State.ISSUED);
});

test("who comes without a token leaves room for those with one, and gives up its own", async () => {
  await state.update("api", (tx) => {
    const cluster = must(tx.get("cluster", "c1"), "cluster");
    const { spec } = create(ClusterSchema, {
      spec: {
        annotations: { name: "default" },
        acceptancePolicy: { policies: [{ role: NodeRole.WORKER, autoaccept: false }] },
      },
    });
    tx.update("cluster", { ...cluster, ...(spec && { spec }) });
  });
  const csr = Buffer.from(await createRequest(generateKey(), ""));
  let host = 0;
  const come = async (token: string) => {
    host += 1;
    const context = call({ peerAddress: `10.9.${host >> 8}.${host & 255}:1` });
    const request = create(IssueNodeCertificateRequestSchema, { csr, token });
    return String((await services.nodeCa.issueNodeCertificate(request, context)).nodeId);
  };
  const [first] = await Promise.all(Array.from({ length: 50 }, () => come("")));
  const full = { code: "resource-exhausted", message: /50 nodes wait to be accepted/ };
  await expect(come("")).rejects.toMatchObject({ code: full.code });
  await expect(come("")).rejects.toThrow(full.message);
  await Promise.all(Array.from({ length: 50 }, () => come(tokens.worker)));
  expect(state.view().count("node")).toBe(100);
  const invited = await come(tokens.worker);
  expect(state.view().get("node", invited)?.uninvited).toBe(false);
  expect(state.view().count("node")).toBe(100);
  // The one that had waited longest had to go.
  const left = [...state.view().all("node")].filter((each) => each.uninvited);
  expect(left.length).toBe(49);
  for (let at = 0; at < 49; at += 1) await come(tokens.worker);
  await expect(come(tokens.worker)).rejects.toThrow("100 nodes wait to be accepted");
  expect(state.view().get("node", must(first, "node"))).toBeUndefined();
}, 30_000);

test("a node renews its own certificate, in the role that the cluster gave it meanwhile", async () => {
  const nodeId = await ask(tokens.worker);
  await certificateOf(nodeId);
  await state.update("membership", (tx) =>
    tx.update("node", { ...(tx.get("node", nodeId) as Node), role: NodeRole.MANAGER }),
  );
  const peer = { nodeId, role: "swarm-worker", clusterId: "c1" };
  expect(await ask("", call({ peer }))).toBe(nodeId);
  const { pem } = await certificateOf(nodeId);
  expect(readCertificate(pem).organizationalUnit).toBe("swarm-manager");
  expect(state.view().count("node")).toBe(1);
});

test("a removed node cannot renew; with a token it is somebody new", async () => {
  const key = generateKey();
  const nodeId = await ask(tokens.worker, call(), key);
  await certificateOf(nodeId);
  removed.add(nodeId);
  const peer = { nodeId, role: "swarm-worker", clusterId: "c1" };
  await expect(ask("", call({ peer }))).rejects.toThrow("valid join token");
  await expect(ask("", call(), key, nodeId)).rejects.toThrow("valid join token");
  expect(await ask(tokens.worker, call({ peer }))).not.toBe(nodeId);
});

test("an expired node renews by its key; the key of another does not help", async () => {
  const key = generateKey();
  const nodeId = await ask(tokens.worker, call(), key);
  await certificateOf(nodeId);
  await expect(ask("", call(), generateKey(), nodeId)).rejects.toThrow("valid join token");
  await expect(ask("", call(), key, "someone-else")).rejects.toThrow("valid join token");
  const { pem: last } = await certificateOf(nodeId);
  offsetMs = 91 * 24 * 3_600_000;
  expect(await ask("", call(), key, nodeId)).toBe(nodeId);
  await expect.poll(async () => (await certificateOf(nodeId)).pem).not.toBe(last);
  const { pem } = await certificateOf(nodeId);
  expect(readCertificate(pem).commonName).toBe(nodeId);
});

test("whoever repeats a node's request makes nobody sign, and stores nothing", async () => {
  const key = generateKey();
  const nodeId = await ask(tokens.worker, call(), key);
  await certificateOf(nodeId);
  const csr = Buffer.from(await createRequest(key, nodeId));
  const send = async () => {
    const request = create(IssueNodeCertificateRequestSchema, { csr });
    return (await services.nodeCa.issueNodeCertificate(request, call())).nodeId;
  };
  expect(await send()).toBe(nodeId);
  const { pem } = await certificateOf(nodeId);
  const version = node(nodeId).meta?.version;
  for (let at = 0; at < 5; at += 1) expect(await send()).toBe(nodeId);
  expect(node(nodeId).meta?.version).toEqual(version);
  expect((await certificateOf(nodeId)).pem).toBe(pem);
  // The node itself, whose certificate is to be replaced, is heard.
  await state.update("ca", (tx) => {
    const current = tx.get("node", nodeId) as Node;
    const asked = current.certificate ?? create(CertificateSchema);
    const status = create(IssuanceStatusSchema, { state: IssuanceStatus_State.ROTATE });
    const certificate = { ...asked, status };
    tx.update("node", { ...current, certificate });
  });
  await send();
  await expect.poll(async () => (await certificateOf(nodeId)).pem).not.toBe(pem);
});

test("nor does who writes it in another way, or over the request that the node sends with its certificate", async () => {
  const key = generateKey();
  const nodeId = await ask(tokens.worker, call(), key);
  const { pem } = await certificateOf(nodeId);
  const version = node(nodeId).meta?.version;
  for (let at = 0; at < 5; at += 1) expect(await ask("", call(), key, nodeId)).toBe(nodeId);
  expect(node(nodeId).meta?.version).toEqual(version);
  expect((await certificateOf(nodeId)).pem).toBe(pem);
  // Nobody signs: the request stays as it is.
  stop.abort();
  const peer = { nodeId, role: "swarm-worker", clusterId: "c1" };
  const csr = Buffer.from(await createRequest(generateKey(), nodeId));
  const request = create(IssueNodeCertificateRequestSchema, { csr });
  await services.nodeCa.issueNodeCertificate(request, call({ peer }));
  expect(await ask("", call(), key, nodeId)).toBe(nodeId);
  expect(Buffer.from(node(nodeId).certificate?.csr ?? []).equals(csr)).toBe(true);
});

test("a node that lost the key it had asked for is heard with the one it has, once that has expired", async () => {
  const key = generateKey();
  const nodeId = await ask(tokens.worker, call(), key);
  await certificateOf(nodeId);
  stop.abort();
  const peer = { nodeId, role: "swarm-worker", clusterId: "c1" };
  expect(await ask("", call({ peer }), generateKey(), nodeId)).toBe(nodeId);
  offsetMs = 91 * 24 * 3_600_000;
  const csrOf = () => Buffer.from(node(nodeId).certificate?.csr ?? []).toString();
  const lost = csrOf();
  expect(await ask("", call(), key, nodeId)).toBe(nodeId);
  const asked = csrOf();
  expect(asked).not.toBe(lost);
  // That one is under way now.
  expect(await ask("", call(), key, nodeId)).toBe(nodeId);
  expect(csrOf()).toBe(asked);
});

test("a request is no place to store something in", async () => {
  const csr = Buffer.from(`${await createRequest(generateKey(), "")}${"x".repeat(10_000)}`);
  for (const context of [
    call(),
    call({ peer: { nodeId: "n", role: "swarm-worker", clusterId: "c1" } }),
  ]) {
    const request = create(IssueNodeCertificateRequestSchema, { csr, token: tokens.worker });
    const asked = Promise.resolve(services.nodeCa.issueNodeCertificate(request, context));
    await expect(asked).rejects.toThrow("malformed certificate request: it is too long");
  }
  expect(state.view().count("node")).toBe(0);
});

test("a root rotation moves every node, then puts the new root and new tokens in place", async () => {
  const nodeId = await ask(tokens.worker);
  await certificateOf(nodeId);
  const next = await createRoot(rootValidity(Date.now()), realRandom);
  const crossed = await crossSign(root, next.cert, realRandom);
  await state.update("api", (tx) => {
    const cluster = tx.get("cluster", "c1");
    if (cluster?.rootCa === undefined) throw new Error("no cluster");
    const rootRotation = create(ClusterSchema, {
      rootCa: {
        rootRotation: {
          caCert: Buffer.from(next.cert),
          caKey: Buffer.from(next.key),
          crossSignedCaCert: Buffer.from(crossed),
        },
      },
    }).rootCa?.rootRotation;
    tx.update("cluster", {
      ...cluster,
      rootCa: { ...cluster.rootCa, ...(rootRotation && { rootRotation }) },
    });
  });
  await expect
    .poll(() => node(nodeId).certificate?.status?.state, { timeout: 5_000 })
    .toBe(IssuanceStatus_State.ROTATE);
  const peer = { nodeId, role: "swarm-worker", clusterId: "c1" };
  await ask("", call({ peer }));
  const { pem } = await certificateOf(nodeId);
  // Trusted by those who know only the old root, and by those who know only the new one.
  verifyChain(pem, root.cert, Date.now());
  verifyChain(pem, next.cert, Date.now());
  expect(state.view().get("cluster", "c1")?.rootCa?.rootRotation).toBeDefined();
  const issuer = readCertificate(next.cert).asIssuer;
  await state.update("dispatcher", (tx) => {
    const current = tx.get("node", nodeId) as Node;
    tx.update("node", { ...current, description: descriptionWith(issuer) });
  });
  await expect
    .poll(() => state.view().get("cluster", "c1")?.rootCa?.rootRotation, { timeout: 5_000 })
    .toBeUndefined();
  const done = state.view().get("cluster", "c1")?.rootCa;
  expect(Buffer.from(done?.caCert ?? []).toString()).toBe(next.cert);
  expect(done?.joinTokens?.worker).not.toBe(tokens.worker);
  await expect(ask(tokens.worker)).rejects.toThrow("valid join token");
  await expect(ask(done?.joinTokens?.worker ?? "")).resolves.toBeTruthy();
});

function descriptionWith(issuer: Issuer) {
  const tlsInfo = { certIssuerSubject: issuer.subject, certIssuerPublicKey: issuer.publicKey };
  const { description } = create(NodeSchema, { description: { tlsInfo } });
  if (description === undefined) throw new Error("no description");
  return description;
}

test("no request makes the authority do anything but answer or refuse", async () => {
  const good = Buffer.from(await createRequest(generateKey(), "n"));
  const before = state.view().count("node");
  let at = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.oneof(
        fc.uint8Array({ maxLength: 400 }),
        fc.tuple(fc.nat(good.length - 1), fc.nat(255)).map(([index, byte]) => {
          const damaged = Buffer.from(good);
          damaged[index] = byte === damaged[index] ? byte ^ 1 : byte;
          return damaged;
        }),
        fc.constant(good),
      ),
      fc.oneof(
        fc.string(),
        fc.constant(""),
        fc.nat(84).map((length) => tokens.worker.slice(0, length)),
        fc.constant(`${tokens.worker} `),
      ),
      fc.option(fc.record({ nodeId: fc.string(), role: fc.string(), clusterId: fc.string() }), {
        nil: undefined,
      }),
      async (csr, token, peer) => {
        at += 1;
        const context = call({ peer, peerAddress: `10.0.${at >> 8}.${at & 255}:1` });
        const request = create(IssueNodeCertificateRequestSchema, { csr: Buffer.from(csr), token });
        const refusal = await Promise.resolve(
          services.nodeCa.issueNodeCertificate(request, context),
        ).then(
          () => undefined,
          (error: unknown) => error,
        );
        expect(refusal).toBeInstanceOf(EngineError);
        expect(refusal).toMatchObject({ code: "invalid-argument" });
      },
    ),
    { numRuns: 300 },
  );
  expect(state.view().count("node")).toBe(before);
  // With the right token a damaged request is refused all the same, and is no node.
  const damaged = Buffer.from(good);
  // A character in the middle of the key.
  damaged[120] = damaged[120] === 65 ? 66 : 65;
  const request = create(IssueNodeCertificateRequestSchema, { csr: damaged, token: tokens.worker });
  await expect(
    Promise.resolve(services.nodeCa.issueNodeCertificate(request, call())),
  ).rejects.toThrow("malformed certificate request");
  expect(state.view().count("node")).toBe(before);
});
