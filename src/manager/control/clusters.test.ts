import { create } from "@bufbuild/protobuf";
import { describe, expect, test } from "vitest";
import { parseJoinToken } from "#pki/join-token.ts";
import { leafProfile, MIN_ROOT_LIFETIME_MS, rootValidity } from "#pki/profile.ts";
import { readCertificate } from "#platform/x509/certificate.ts";
import {
  createRequest,
  createRoot,
  crossSign,
  generateKey,
  issueCertificate,
  readRequest,
} from "#platform/x509/issue.ts";
import {
  GetClusterRequestSchema,
  ListClustersRequestSchema,
  UpdateClusterRequestSchema,
} from "#wire/gen/swarmkit/control_pb.js";
import type { Cluster } from "#wire/gen/swarmkit/objects_pb.js";
import { NodeRole } from "#wire/gen/swarmkit/types_pb.js";
import { getCluster, listClusters, updateCluster } from "./clusters.ts";
import { aCluster, type Fixture, fixture, refusalOf } from "./testing/fixture.ts";

const bytes = (text: string) => new TextEncoder().encode(text);
const text = (value: Uint8Array | undefined) => new TextDecoder().decode(value);

function stored(context: Fixture): Cluster {
  const cluster = context.state.view().get("cluster", "cluster1");
  if (cluster === undefined) throw new Error("no cluster");
  return cluster;
}

async function withRoot(external = {}) {
  const context = fixture(external);
  const root = await createRoot(rootValidity(context.clock.nowMs()), context.random);
  await aCluster(context, {
    rootCa: {
      caCert: bytes(root.cert),
      caKey: bytes(root.key),
      joinTokens: { worker: "w", manager: "m" },
    },
  });
  return { context, root };
}

function update(context: Fixture, spec: object, rotation = {}) {
  return updateCluster(
    context,
    create(UpdateClusterRequestSchema, {
      clusterId: "cluster1",
      clusterVersion: stored(context).meta?.version,
      spec: { annotations: { name: "default" }, ...spec },
      rotation,
    }),
  );
}

test("private keys are never shown", async () => {
  const { context } = await withRoot();
  await update(context, { encryptionConfig: { autoLockManagers: true } });
  const one = await getCluster(context, create(GetClusterRequestSchema, { clusterId: "cluster1" }));
  const all = await listClusters(context, create(ListClustersRequestSchema));
  for (const shown of [one.cluster, all.clusters[0]]) {
    expect(shown?.rootCa?.caKey).toHaveLength(0);
    expect(shown?.unlockKeys).toHaveLength(0);
    expect(shown?.defaultAddressPool).toEqual(["10.0.0.0/8"]);
    expect(shown?.VXLANUDPPort).toBe(4789);
  }
  expect(stored(context).unlockKeys[0]?.key).toHaveLength(32);
});

test.each([
  [{ annotations: { name: "x" } }, "modification of cluster name is not allowed"],
  [
    { caConfig: { nodeCertExpiry: { seconds: 3599n } } },
    "minimum certificate expiry time is: 1h0m0s",
  ],
  [
    { dispatcher: { heartbeatPeriod: { seconds: -1n } } },
    "heartbeat time period cannot be a negative duration",
  ],
  [
    { caConfig: { signingCaKey: bytes("key") } },
    "if a signing CA key is provided, the signing CA cert must also be provided",
  ],
  [{ caConfig: { signingCaCert: bytes("rubbish") } }, "could not parse the desired CA certificate"],
])("refuses %o", async (spec, message) => {
  const { context } = await withRoot();
  expect(await refusalOf(update(context, spec))).toBe(`invalid-argument: ${message}`);
});

test("a stale version is refused, and starts no rotation", async () => {
  const { context } = await withRoot();
  const before = stored(context);
  await update(context, {});
  const stale = create(UpdateClusterRequestSchema, {
    clusterId: "cluster1",
    clusterVersion: before.meta?.version,
    spec: { annotations: { name: "default" }, caConfig: { forceRotate: 1n } },
  });
  expect(await refusalOf(updateCluster(context, stale))).toBe("unknown: update out of sequence");
});

test("what the spec leaves out gets its default, except the acceptance policy", async () => {
  const { context } = await withRoot();
  await update(context, { acceptancePolicy: { policies: [{ role: 0, autoaccept: false }] } });
  await update(context, { raft: { snapshotInterval: 7n } });
  const { spec } = stored(context);
  expect(spec?.raft).toMatchObject({ snapshotInterval: 7n, electionTick: 10, heartbeatTick: 1 });
  expect(spec?.orchestration?.taskHistoryRetentionLimit).toBe(5n);
  expect(spec?.dispatcher?.heartbeatPeriod?.seconds).toBe(5n);
  expect(spec?.caConfig?.nodeCertExpiry?.seconds).toBe(7_776_000n);
  expect(spec?.acceptancePolicy?.policies).toHaveLength(1);
});

describe("rotation", () => {
  test("of a token changes that one only", async () => {
    const { context } = await withRoot();
    await update(context, {}, { workerJoinToken: true });
    const tokens = stored(context).rootCa?.joinTokens;
    expect(parseJoinToken(tokens?.worker ?? "").ok).toBe(true);
    expect(tokens?.manager).toBe("m");
  });

  test("of the unlock key, which lives as long as managers lock", async () => {
    const { context } = await withRoot();
    const key = () => text(stored(context).unlockKeys[0]?.key);
    const lock = { encryptionConfig: { autoLockManagers: true } };
    await update(context, lock);
    const first = key();
    await update(context, lock);
    expect(key()).toBe(first);
    await update(context, lock, { managerUnlockKey: true });
    expect(key()).not.toBe(first);
    await update(context, {});
    expect(stored(context).unlockKeys).toEqual([]);
  });

  test("of the root makes a new one that the old one signed", async () => {
    const { context, root } = await withRoot();
    await update(context, { caConfig: { forceRotate: 1n } });
    const { rootCa } = stored(context);
    expect(text(rootCa?.caCert)).toBe(root.cert);
    expect(rootCa?.lastForcedRotation).toBe(1n);
    const next = readCertificate(text(rootCa?.rootRotation?.caCert));
    const crossed = readCertificate(text(rootCa?.rootRotation?.crossSignedCaCert));
    expect(crossed.asIssuer.publicKey).toEqual(next.asIssuer.publicKey);
    expect(crossed.issuerSubject).toEqual(readCertificate(root.cert).asIssuer.subject);
    // The same number asks for nothing new.
    await update(context, { caConfig: { forceRotate: 1n } });
    expect(stored(context).rootCa?.rootRotation).toEqual(rootCa?.rootRotation);
  });

  test("to a given root, and back before it is done", async () => {
    const { context, root } = await withRoot();
    const other = await createRoot(rootValidity(context.clock.nowMs()), context.random);
    const to = (cert: string, key: string) => ({
      caConfig: { signingCaCert: bytes(cert), signingCaKey: bytes(key) },
    });
    await update(context, to(other.cert, other.key));
    expect(text(stored(context).rootCa?.rootRotation?.caKey)).toBe(other.key);
    await update(context, to(root.cert, root.key));
    expect(stored(context).rootCa?.rootRotation).toBeUndefined();
    expect(await refusalOf(update(context, to(other.cert, root.key)))).toBe(
      "invalid-argument: certificate key mismatch",
    );
    expect(await refusalOf(update(context, to(other.cert + root.cert, other.key)))).toBe(
      "invalid-argument: the desired CA certificate cannot contain multiple certificates",
    );
    expect(await refusalOf(update(context, to(other.cert, "")))).toBe(
      "invalid-argument: there must be at least one valid, reachable external CA corresponding to the desired CA certificate",
    );
  });

  test("to a root that ends soon is refused", async () => {
    const { context } = await withRoot();
    const now = context.clock.nowMs();
    const validity = { notBeforeMs: now - 1_000, notAfterMs: now + MIN_ROOT_LIFETIME_MS / 2 };
    const short = await createRoot(validity, context.random);
    const caConfig = { signingCaCert: bytes(short.cert), signingCaKey: bytes(short.key) };
    expect(await refusalOf(update(context, { caConfig }))).toBe(
      "invalid-argument: CA certificate expires too soon",
    );
  });

  test("to what no node would believe, or nothing could be signed with, is refused", async () => {
    const { context, root } = await withRoot();
    const refusal = (cert: string, key: string) =>
      refusalOf(
        update(context, { caConfig: { signingCaCert: bytes(cert), signingCaKey: bytes(key) } }),
      );
    const now = context.clock.nowMs();
    const key = generateKey();
    const pem = key.export({ type: "pkcs8", format: "pem" }) as string;
    const subject = { nodeId: "n", role: NodeRole.MANAGER, clusterId: "c" };
    const profile = { ...leafProfile(subject, now, 0), notAfterMs: now + 2 * MIN_ROOT_LIFETIME_MS };
    const request = await readRequest(await createRequest(key, ""));
    const notOne =
      "invalid-argument: the desired CA certificate is not that of a certificate authority signed by itself";
    expect(await refusal(await issueCertificate(root, request, profile, context.random), pem)).toBe(
      notOne,
    );
    // An authority, but one that somebody else vouches for.
    const other = await createRoot(rootValidity(now), context.random);
    expect(await refusal(await crossSign(root, other.cert, context.random), other.key)).toBe(
      notOne,
    );
    const late = await createRoot(
      { notBeforeMs: now + 60_000, notAfterMs: now + 2 * MIN_ROOT_LIFETIME_MS },
      context.random,
    );
    expect(await refusal(late.cert, late.key)).toBe(
      "invalid-argument: CA certificate is not valid yet",
    );
    expect(stored(context).rootCa?.rootRotation).toBeUndefined();
  });

  test("to an external CA needs one that answers", async () => {
    const asked: string[] = [];
    const reachable = async (url: string) => {
      asked.push(url);
      return url === "https://up";
    };
    const { context } = await withRoot({ reachable });
    const other = await createRoot(rootValidity(context.clock.nowMs()), context.random);
    const externalCas = ["https://down", "https://up"].map((url) => ({
      url,
      caCert: bytes(other.cert),
    }));
    await update(context, { caConfig: { signingCaCert: bytes(other.cert), externalCas } });
    expect(asked).toEqual(["https://down", "https://up"]);
    const rotation = stored(context).rootCa?.rootRotation;
    expect(text(rotation?.caCert)).toBe(other.cert);
    expect(rotation?.caKey).toHaveLength(0);
  });
});
