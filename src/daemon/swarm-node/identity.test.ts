import { mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { afterEach, beforeEach, expect, test } from "vitest";
import { EngineError } from "#base/error.ts";
import { must } from "#base/invariant.ts";
import { leafProfile, rootValidity } from "#pki/profile.ts";
import { realClock, realRandom } from "#platform/real-ports.ts";
import {
  createRequest,
  createRoot,
  crossSign,
  generateKey,
  issueCertificate,
  readRequest,
} from "#platform/x509/issue.ts";
import { ClusterSpecSchema, NodeSpec_Availability } from "#wire/gen/swarmkit/specs_pb.js";
import { NodeRole } from "#wire/gen/swarmkit/types_pb.js";
import { loadIdentity, NodeIdentity } from "./identity.ts";
import { createNewSwarm, type NewSwarm, newSwarm } from "./new-swarm.ts";
import { type SwarmPaths, swarmPaths } from "./paths.ts";

let directory: string;
let paths: SwarmPaths;
let swarm: NewSwarm;
let identity: NodeIdentity;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "skep-node-identity-"));
  paths = swarmPaths(directory);
  const settings = {
    spec: create(ClusterSpecSchema),
    defaultAddressPool: [],
    subnetSize: 24,
    vxlanPort: 4789,
    availability: NodeSpec_Availability.ACTIVE,
    unlockKey: undefined,
  };
  swarm = await newSwarm(paths, settings, realClock, realRandom);
  identity = new NodeIdentity(paths, await createNewSwarm(swarm, realClock, realRandom));
  await identity.save();
});

afterEach(() => rm(directory, { recursive: true, force: true }));

async function renewed(role: NodeRole, authority = swarm.authority, nodeId = swarm.nodeId) {
  const key = generateKey();
  const request = await readRequest(await createRequest(key, ""));
  const subject = { nodeId, role, clusterId: swarm.clusterId };
  const profile = leafProfile(subject, Date.now(), 0);
  const cert = await issueCertificate(authority, request, profile, realRandom);
  return { cert, key: key.export({ type: "pkcs8", format: "pem" }) as string };
}

async function loaded(unlockKey?: Uint8Array): Promise<NodeIdentity> {
  const found = await loadIdentity(paths, unlockKey);
  if (found.kind !== "found") throw new Error(found.kind);
  return found.identity;
}

test("what was saved is found again, the raft key with it", async () => {
  const found = await loaded();
  expect(found.peer).toEqual(identity.peer);
  expect(found.nodeKey.raftKey).toEqual(identity.nodeKey.raftKey);
  expect(found.role).toBe(NodeRole.MANAGER);
  await rm(paths.nodeCert);
  expect((await loadIdentity(paths, undefined)).kind).toBe("none");
});

test("a renewal changes the role, tells it, and keeps the raft key", async () => {
  const { cert, key } = await renewed(NodeRole.WORKER);
  const told: NodeRole[] = [];
  identity.onChange(() => told.push(identity.role));
  await identity.renew(cert, key);
  expect(told).toEqual([NodeRole.WORKER]);
  const found = await loaded();
  expect(found.role).toBe(NodeRole.WORKER);
  expect(found.nodeKey.raftKey).toEqual(identity.nodeKey.raftKey);
});

test("a certificate that is not ours is not taken", async () => {
  const other = await renewed(NodeRole.WORKER, swarm.authority, "somebody-else");
  await expect(identity.renew(other.cert, other.key)).rejects.toThrow("for another node");
  const { cert } = await renewed(NodeRole.WORKER);
  await expect(identity.renew(cert, other.key)).rejects.toThrow("key mismatch");
  const foreign = await createRoot(rootValidity(Date.now()), realRandom);
  const forged = await renewed(NodeRole.MANAGER, foreign);
  await expect(identity.renew(forged.cert, forged.key)).rejects.toThrow("unknown authority");
  expect((await loaded()).role).toBe(NodeRole.MANAGER);
});

test("a crash at any point of a renewal leaves a key that fits", async () => {
  const before = await readFile(paths.nodeKey, "utf8");
  const certBefore = await readFile(paths.nodeCert, "utf8");
  const { cert, key } = await renewed(NodeRole.WORKER);
  await identity.renew(cert, key);
  const after = await readFile(paths.nodeKey, "utf8");
  // Crashed before the certificate was written: the new key lies beside the old one.
  await writeFile(paths.nodeCert, certBefore);
  await writeFile(paths.nodeKey, before);
  await writeFile(`${paths.nodeKey}.next`, after);
  expect((await loaded()).role).toBe(NodeRole.MANAGER);
  // Crashed after it: the old key is still in place.
  await writeFile(paths.nodeCert, cert);
  await writeFile(paths.nodeKey, before);
  await writeFile(`${paths.nodeKey}.next`, after);
  expect((await loaded()).role).toBe(NodeRole.WORKER);
  expect((await loaded()).role).toBe(NodeRole.WORKER);
  // What does not fit at all is not papered over.
  await rename(paths.nodeKey, `${paths.nodeKey}.away`);
  await writeFile(paths.nodeKey, before);
  await expect(loaded()).rejects.toThrow("does not fit the certificate");
});

test("a locked key opens with its unlock key only, through renewals, until it is unlocked for good", async () => {
  const unlockKey = new Uint8Array(realRandom.bytes(32));
  await identity.setLock(unlockKey, 7n);
  expect(await readFile(paths.nodeKey, "utf8")).toMatch(/ENCRYPTED[\s\S]*kek-version: 7/);
  expect((await loadIdentity(paths, undefined)).kind).toBe("locked");
  expect((await loadIdentity(paths, new Uint8Array(32))).kind).toBe("locked");
  const found = await loaded(unlockKey);
  expect(found.nodeKey.raftKey).toEqual(identity.nodeKey.raftKey);
  const { cert, key } = await renewed(NodeRole.MANAGER);
  await found.renew(cert, key);
  expect((await loadIdentity(paths, undefined)).kind).toBe("locked");
  await found.setLock(undefined, 8n);
  expect((await loaded()).nodeKey.raftKey).toEqual(identity.nodeKey.raftKey);
});

test("task files are sealed while the key file is, with keys that change with the raft log's", async () => {
  expect(identity.taskKeys.current()).toBeUndefined();
  const unlockKey = new Uint8Array(realRandom.bytes(32));
  await identity.setLock(unlockKey, 7n);
  const first = must(identity.taskKeys.current(), "key");
  expect(identity.raftKeys.find(first.id)).toBeUndefined();
  expect((await loaded(unlockKey)).taskKeys.current()).toEqual(first);
  await identity.finishRaftKey();
  expect(identity.taskKeys.current()).toEqual(first);
  await identity.setLock(new Uint8Array(realRandom.bytes(32)), 8n);
  expect(identity.taskKeys.current()?.id).not.toBe(first.id);
  expect(identity.taskKeys.find(first.id)).toEqual(first);
  await identity.finishRaftKey();
  expect(identity.taskKeys.find(first.id)).toBeUndefined();
  // A worker's lie open; what was sealed when it was a manager is read all the same.
  const second = must(identity.taskKeys.current(), "key");
  const { cert, key } = await renewed(NodeRole.WORKER);
  await identity.renew(cert, key);
  const worker = await loaded();
  expect([worker.isLocked, worker.taskKeys.current()]).toEqual([false, undefined]);
  expect(worker.taskKeys.find(second.id)).toEqual(second);
});

test("with every change of the lock the raft log gets another key, the old one stays until it is done", async () => {
  const first = identity.raftKeys.current();
  const unlockKey = new Uint8Array(realRandom.bytes(32));
  expect(await identity.setLock(unlockKey, 7n)).toBe("locked");
  const second = identity.raftKeys.current();
  expect(second.id).not.toBe(first.id);
  // A crash here: both are at hand, and neither without the unlock key.
  const found = await loaded(unlockKey);
  expect(found.rotatesRaftKey).toBe(true);
  expect(found.raftKeys.current()).toEqual(second);
  expect(found.raftKeys.find(first.id)).toEqual(first);
  const text = await readFile(paths.nodeKey, "utf8");
  expect(text).toContain("raft-dek-pending");
  for (const { key } of [first, second]) {
    expect(text).not.toContain(Buffer.from(key).toString("base64"));
  }
  await found.finishRaftKey();
  const done = await loaded(unlockKey);
  expect(done.rotatesRaftKey).toBe(false);
  expect(done.raftKeys.current()).toEqual(second);
  expect(done.raftKeys.find(first.id)).toBeUndefined();
});

test("a lock that changes while a key is being exchanged makes for another one after it", async () => {
  const [one, two] = [new Uint8Array(realRandom.bytes(32)), new Uint8Array(realRandom.bytes(32))];
  const first = identity.raftKeys.current();
  await identity.setLock(one, 7n);
  const second = identity.raftKeys.current();
  expect(await identity.setLock(two, 8n)).toBe("changed");
  expect((await loadIdentity(paths, one)).kind).toBe("locked");
  const found = await loaded(two);
  // What the log holds by now is sealed with the first and the second.
  expect(found.raftKeys.current()).toEqual(second);
  expect(found.raftKeys.find(first.id)).toEqual(first);
  await found.finishRaftKey();
  const third = (await loaded(two)).raftKeys.current();
  expect([first.id, second.id]).not.toContain(third.id);
  expect((await loaded(two)).raftKeys.find(second.id)).toEqual(second);
  await (await loaded(two)).finishRaftKey();
  expect((await loaded(two)).rotatesRaftKey).toBe(false);
});

test("a manager that sees its past again does not lock as it did then", async () => {
  const [past, present] = [
    new Uint8Array(realRandom.bytes(32)),
    new Uint8Array(realRandom.bytes(32)),
  ];
  await identity.setLock(past, 7n);
  await identity.setLock(present, 9n);
  const found = await loaded(present);
  expect(await found.setLock(past, 7n)).toBe("none");
  expect(await found.setLock(undefined, 5n)).toBe("none");
  expect((await loadIdentity(paths, past)).kind).toBe("locked");
  // Nor when it does not lock any more.
  await found.setLock(undefined, 12n);
  expect(await (await loaded()).setLock(present, 9n)).toBe("none");
  expect((await loadIdentity(paths, undefined)).kind).toBe("found");
});

test("a renewal and a lock at once lose neither", async () => {
  const unlockKey = new Uint8Array(realRandom.bytes(32));
  const { cert, key } = await renewed(NodeRole.MANAGER);
  await Promise.all([identity.renew(cert, key), identity.setLock(unlockKey, 7n)]);
  const found = await loaded(unlockKey);
  expect(found.tls().cert).toBe(cert);
  expect(found.raftKeys.current()).toEqual(identity.raftKeys.current());
  expect(found.rotatesRaftKey).toBe(true);
});

test("a manager that becomes a worker needs no key to start", async () => {
  await identity.setLock(new Uint8Array(realRandom.bytes(32)), 7n);
  const { cert, key } = await renewed(NodeRole.WORKER);
  await identity.renew(cert, key);
  expect((await loaded()).role).toBe(NodeRole.WORKER);
});

test("another root is trusted only if our own certificate is good under it", async () => {
  const next = await createRoot(rootValidity(Date.now()), realRandom);
  await expect(identity.trust(next.cert)).rejects.toThrow("unknown authority");
  const crossed = await crossSign(swarm.authority, next.cert, realRandom);
  const { cert, key } = await renewed(NodeRole.MANAGER, { cert: crossed, key: next.key });
  await identity.renew(cert + crossed, key);
  await identity.trust(next.cert);
  expect((await loaded()).rootCert).toBe(next.cert);
});

/** Each with the file that the message must name. */
const FILES = ["rootCert", "nodeCert", "nodeKey"] as const;
const DAMAGES: readonly (readonly [string, (good: string) => string])[] = [
  ["empty", () => ""],
  ["cut", (good) => good.slice(0, good.length / 2)],
  ["garbage", () => "\0 garbage {"],
  ["flipped", flipped],
];

/** In the public key, of a certificate as well as of a key: what else is in a root nobody checks. */
function flipped(good: string): string {
  const isKey = good.includes("PRIVATE KEY");
  const at = isKey ? good.lastIndexOf("-----END") - 60 : Math.floor(good.length / 2);
  return `${good.slice(0, at)}${good[at] === "A" ? "B" : "A"}${good.slice(at + 1)}`;
}

const TRIED = FILES.flatMap((file) => DAMAGES.map(([how, damage]) => [file, how, damage] as const));

test.each(TRIED)("%s that is damaged (%s) is named, with what to do", async (file, _, damage) => {
  const path = paths[file];
  const good = await readFile(path, "utf8");
  await writeFile(path, damage(good));
  const failure = await loadIdentity(paths, undefined).catch((error: unknown) => error);
  expect(failure).toBeInstanceOf(EngineError);
  expect(failure).toMatchObject({ code: "data-loss" });
  expect(String(failure)).toContain(path);
  expect(String(failure)).toContain("Put back the file");
  await writeFile(path, good);
  expect((await loaded()).peer).toEqual(identity.peer);
});
