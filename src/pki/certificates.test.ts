import { create, type MessageInitShape } from "@bufbuild/protobuf";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { err, ok } from "#base/result.ts";
import { timestampOf } from "#model/time.ts";
import { ClusterSchema, NodeSchema } from "#wire/gen/swarmkit/objects_pb.js";
import { NodeSpec_Membership } from "#wire/gen/swarmkit/specs_pb.js";
import {
  IssuanceStatus_State,
  type NamedJoinTokenSchema,
  NodeRole,
  RootCASchema,
  RootRotationSchema,
} from "#wire/gen/swarmkit/types_pb.js";
import { admit, nextIssuanceStep, withUse } from "./issuance.ts";
import { leafProfile } from "./profile.ts";
import { renewalDelayMs } from "./renewal.ts";
import { nextRotationStep, ROTATE_BATCH } from "./rotation.ts";
import { formerRoots, formerRootsAfter, WORKLOAD_LIFETIME_MS } from "./workload.ts";

const HOUR = 3_600_000;

test("a certificate is renewed between half and four fifths of its life", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: HOUR, max: 3_000 * HOUR }),
      fc.double({ min: 0, max: 1, noNaN: true }),
      fc.nat(),
      (life, at, seed) => {
        const certificate = { notBeforeMs: 0, notAfterMs: life };
        const now = Math.floor(life * at);
        const random = { int: (bound: number) => seed % bound, bytes: () => new Uint8Array() };
        const delay = renewalDelayMs({ certificate, wanted: false, failures: 0 }, now, random);
        expect(delay).toBeGreaterThanOrEqual(0);
        if (now + delay > now) expect(now + delay).toBeLessThanOrEqual(life * 0.8);
        if (delay > 0) expect(now + delay).toBeGreaterThanOrEqual(Math.floor(life * 0.5));
      },
    ),
  );
});

test("failed renewals pause longer each time, and never for ever", () => {
  const random = { int: (bound: number) => bound - 1, bytes: () => new Uint8Array() };
  const delay = (failures: number) =>
    renewalDelayMs(
      { certificate: { notBeforeMs: 0, notAfterMs: 1 }, wanted: true, failures },
      HOUR,
      random,
    );
  expect([delay(1), delay(2), delay(3)]).toEqual([1_000, 2_000, 4_000]);
  expect(delay(1_000)).toBe(5 * 60_000);
});

test("a leaf says node, role, cluster, and whom it may answer as", () => {
  const now = Date.parse("2026-01-02T03:04:05.678Z");
  const subject = { nodeId: "n1", clusterId: "c1", role: NodeRole.MANAGER };
  const profile = leafProfile(subject, now, 0);
  expect(profile).toMatchObject({
    commonName: "n1",
    organizationalUnit: "swarm-manager",
    organization: "c1",
    dnsNames: ["swarm-manager", "n1", "swarm-ca"],
  });
  expect(profile.notAfterMs - profile.notBeforeMs).toBe(2_161 * HOUR);
  expect(leafProfile({ ...subject, role: NodeRole.WORKER }, now, HOUR)).toMatchObject({
    organizationalUnit: "swarm-worker",
    dnsNames: ["swarm-worker", "n1"],
  });
});

const NO_TOKEN = err("A valid join token is necessary to join this cluster");
const cluster = create(ClusterSchema, {
  rootCa: { joinTokens: { worker: "W", manager: "M" } },
  spec: {},
});

test("a token opens its door and no other", () => {
  const accepted = { membership: NodeSpec_Membership.ACCEPTED, labels: {}, identityLabels: {} };
  expect(admit(cluster, "W", 0)).toEqual(ok({ role: NodeRole.WORKER, ...accepted }));
  expect(admit(cluster, "M", 0)).toEqual(ok({ role: NodeRole.MANAGER, ...accepted }));
  expect(admit(cluster, "", 0)).toEqual(NO_TOKEN);
  expect(admit(cluster, "w", 0)).toEqual(NO_TOKEN);
  // A cluster without tokens must not be opened by the empty one.
  const without = create(ClusterSchema, { rootCa: { joinTokens: {} }, namedJoinTokens: [{}] });
  expect(admit(without, "", 0)).toEqual(NO_TOKEN);
});

test("the acceptance policy makes nodes wait, or lets workers come without a token", () => {
  const policy = (autoaccept: boolean, secret: boolean) =>
    create(ClusterSchema, {
      rootCa: { joinTokens: { worker: "W", manager: "M" } },
      spec: {
        acceptancePolicy: {
          policies: [{ role: NodeRole.WORKER, autoaccept, ...(secret ? { secret: {} } : {}) }],
        },
      },
    });
  const { PENDING: membership, ACCEPTED } = NodeSpec_Membership;
  const pending = ok({ role: NodeRole.WORKER, membership, labels: {}, identityLabels: {} });
  expect(admit(policy(false, true), "W", 0)).toEqual(pending);
  expect(admit(policy(false, true), "", 0)).toEqual(NO_TOKEN);
  expect(admit(policy(false, false), "", 0)).toEqual(pending);
  expect(admit(policy(false, false), "wrong", 0)).toEqual(NO_TOKEN);
  // Nobody is let in at once who shows nothing.
  expect(admit(policy(true, false), "", 0)).toEqual(NO_TOKEN);
  expect(admit(policy(false, true), "M", 0)).toMatchObject({ value: { membership: ACCEPTED } });
});

test("a named token gives its labels, as often and as long as it may", () => {
  const token = (more: MessageInitShape<typeof NamedJoinTokenSchema>) =>
    create(ClusterSchema, {
      rootCa: { joinTokens: { worker: "W", manager: "M" } },
      namedJoinTokens: [
        { name: "other", token: "O", role: NodeRole.MANAGER },
        { name: "rack", token: "T", role: NodeRole.WORKER, labels: { zone: "a" }, ...more },
      ],
    });
  const free = admit(token({}), "T", 5_000);
  expect(free).toMatchObject({ value: { role: NodeRole.WORKER, labels: { zone: "a" } } });
  expect(admit(token({}), "O", 0)).toMatchObject({ value: { role: NodeRole.MANAGER, labels: {} } });
  const until = token({ expiresAt: timestampOf(5_000) });
  expect(admit(until, "T", 4_999).ok).toBe(true);
  expect(admit(until, "T", 5_000)).toEqual(
    err("join token rack expired at 1970-01-01T00:00:05.000Z"),
  );
  let counted = token({ maxUses: 2 });
  for (const last of [false, false, true]) {
    const admission = admit(counted, "T", 0);
    expect(admission.ok).toBe(!last);
    const named = admission.ok ? admission.value.named : undefined;
    if (named !== undefined) counted = { ...counted, namedJoinTokens: withUse(counted, named) };
  }
  expect(admit(counted, "T", 0)).toEqual(
    err("join token rack has been used 2 times, as often as it may be"),
  );
  expect(counted.namedJoinTokens.map(({ uses }) => uses)).toEqual([0, 2]);
});

test("only accepted newcomers and renewals are signed", () => {
  const step = (state: IssuanceStatus_State, membership: NodeSpec_Membership) =>
    nextIssuanceStep(
      create(NodeSchema, { spec: { membership }, certificate: { status: { state } } }),
    );
  const { PENDING, ACCEPTED } = NodeSpec_Membership;
  expect(step(IssuanceStatus_State.PENDING, PENDING)).toBe("await-acceptance");
  expect(step(IssuanceStatus_State.PENDING, ACCEPTED)).toBe("sign");
  expect(step(IssuanceStatus_State.RENEW, PENDING)).toBe("sign");
  for (const state of [
    IssuanceStatus_State.ISSUED,
    IssuanceStatus_State.FAILED,
    IssuanceStatus_State.ROTATE,
    IssuanceStatus_State.UNKNOWN,
  ]) {
    expect(step(state, ACCEPTED)).toBe("done");
  }
});

test("roots of before are remembered for as long as a workload lives, and not many of them", () => {
  const text = (bytes: Uint8Array) => Buffer.from(bytes).toString();
  let root = create(RootCASchema, { caCert: Buffer.from("r0") });
  const rotate = (name: string, nowMs: number) => {
    const next = create(RootRotationSchema, {
      caCert: Buffer.from(name),
      crossSignedCaCert: Buffer.from(`${name} by ${text(root.caCert)}`),
    });
    const former = [...formerRootsAfter(root, next, nowMs)];
    root = create(RootCASchema, { caCert: next.caCert, formerRoots: former });
  };
  const known = (nowMs: number) =>
    formerRoots(root, nowMs).map(({ crossSignedCaCert }) => text(crossSignedCaCert));
  rotate("r1", 0);
  rotate("r2", WORKLOAD_LIFETIME_MS / 2);
  expect(known(WORKLOAD_LIFETIME_MS - 1)).toEqual(["r2 by r1", "r1 by r0"]);
  expect(known(WORKLOAD_LIFETIME_MS)).toEqual(["r2 by r1"]);
  expect(known(2 * WORKLOAD_LIFETIME_MS)).toEqual([]);
  for (let at = 3; at < 9; at += 1) rotate(`r${at}`, 2 * WORKLOAD_LIFETIME_MS + at);
  expect(known(2 * WORKLOAD_LIFETIME_MS + 9)).toEqual(["r8 by r7", "r7 by r6", "r6 by r5"]);
});

test("a rotation asks in batches, waits for those it asked, and finishes only when all have moved", () => {
  const wanted = { subject: new Uint8Array([1]), publicKey: new Uint8Array([2]) };
  const rotating = create(ClusterSchema, { rootCa: { rootRotation: {} } });
  const node = (id: number, state: IssuanceStatus_State, moved: boolean) =>
    create(NodeSchema, {
      id: `n${id}`,
      spec: { membership: NodeSpec_Membership.ACCEPTED },
      certificate: { status: { state } },
      description: moved
        ? { tlsInfo: { certIssuerSubject: wanted.subject, certIssuerPublicKey: wanted.publicKey } }
        : {},
    });
  const { ISSUED, ROTATE } = IssuanceStatus_State;
  const many = Array.from({ length: 50 }, (_, id) => node(id, ISSUED, false));
  const step = nextRotationStep(rotating, many, wanted);
  expect(step.kind === "rotate" && step.nodeIds.length).toBe(ROTATE_BATCH);
  expect(
    nextRotationStep(rotating, [node(1, ROTATE, false), node(2, ISSUED, true)], wanted),
  ).toEqual({ kind: "wait", missing: 1 });
  expect(nextRotationStep(rotating, [node(1, ISSUED, true)], wanted)).toEqual({ kind: "finish" });
  expect(nextRotationStep(cluster, many, wanted)).toEqual({ kind: "none" });
});
