/** What a manager's disk tells, and what a lock is good for when not everybody was there. */

import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { EngineError } from "#base/error.ts";
import { must } from "#base/invariant.ts";
import { isLocked, parseNodeKey } from "#daemon/swarm-node/key-file.ts";
import { swarmPaths } from "#daemon/swarm-node/paths.ts";
import { parseUnlockKey } from "#pki/unlock-key.ts";
import { SecretSpecSchema } from "#wire/gen/swarmkit/specs_pb.js";
import { NodeRole } from "#wire/gen/swarmkit/types_pb.js";
import { authorityOf, clusterOf, nodesOf, TestCluster, type TestNode } from "./fixtures.ts";

/** The end of patience on a busy machine. */
const PATIENT = { timeout: 40_000 };
const SECRET = "correct horse battery staple";

let cluster: TestCluster;
let first: TestNode;

beforeEach(async () => {
  cluster = new TestCluster();
  first = await cluster.node("m1");
});

afterEach(() => cluster.close());

async function again(change: () => Promise<unknown>): Promise<void> {
  await expect
    .poll(
      () =>
        change().then(
          () => "done",
          (error: unknown) => EngineError.from(error).message,
        ),
      PATIENT,
    )
    .toBe("done");
}

/** Files below the node's data root that hold those bytes. */
function filesWith(node: TestNode, text: string): string {
  try {
    return execFileSync("grep", ["-rlaF", "--", text, node.dataRoot]).toString();
  } catch {
    return "";
  }
}

/** The bytes of the key in a PEM, as they would be in a store or in another encoding. */
function rawOf(pem: string): string {
  return must(/-----\n([A-Za-z0-9+/]{40})/.exec(pem)?.[1], "key");
}

test("no disk of a manager has in plain text what the store keeps, and a demoted one keeps none of it", async () => {
  const second = await cluster.node("m2");
  await first.init();
  await second.join(first, (await clusterOf(first)).manager);
  const data = Buffer.from(SECRET);
  const spec = create(SecretSpecSchema, { annotations: { name: "s" }, data });
  await first.swarm.control().createSecret({ spec });
  const rootKey = rawOf(authorityOf(first).key);
  const { worker, manager } = await clusterOf(first);
  const hasSecret = (node: TestNode) => node.swarm.manager()?.state.view().count("secret") === 1;
  await vi.waitUntil(() => hasSecret(second), PATIENT);
  for (const node of [first, second]) {
    for (const text of [SECRET, rootKey, worker, manager, worker.slice(-25)]) {
      expect(filesWith(node, text)).toBe("");
    }
    // Nothing of the swarm is readable by others than root, but certificates in a closed folder.
    for (const path of filesBelow(join(node.dataRoot, "swarm"))) {
      const isPublic = path.endsWith(".crt");
      expect((statSync(path).mode & 0o077) === 0 || isPublic, path).toBe(true);
    }
  }
  const nodeId = second.swarm.localNodeId();
  await again(async () => {
    const { meta, spec: known } = must((await nodesOf(first)).get(nodeId), "node");
    await first.swarm.control().updateNode({
      nodeId,
      nodeVersion: must(meta?.version, "version"),
      spec: { ...must(known, "spec"), desiredRole: NodeRole.WORKER },
    });
  });
  await expect.poll(() => second.swarm.info().controlAvailable, PATIENT).toBe(false);
  const { raft } = swarmPaths(second.dataRoot);
  await expect.poll(() => !existsSync(raft) || readdirSync(raft).length === 0, PATIENT).toBe(true);
});

function filesBelow(folder: string): readonly string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

test("a manager that was away while the unlock key was exchanged opens with the one before, once", async () => {
  const second = await cluster.node("m2");
  const third = await cluster.node("m3");
  await first.init({ autoLockManagers: true });
  const { manager: token } = await clusterOf(first);
  await second.join(first, token);
  await third.join(first, token);
  const isKept = (node: TestNode) =>
    isLocked(readFileSync(swarmPaths(node.dataRoot).nodeKey, "utf8"));
  await expect.poll(() => [second, third].every(isKept), PATIENT).toBe(true);
  const before = await first.swarm.unlockKey();
  await third.stop();
  await again(async () => {
    const { cluster: object } = await clusterOf(first);
    await first.swarm.control().updateCluster({
      clusterId: object.id,
      clusterVersion: must(object.meta?.version, "version"),
      spec: must(object.spec, "spec"),
      rotation: { managerUnlockKey: true },
    });
  });
  const after = await first.swarm.unlockKey();
  expect(after).not.toBe(before);
  let back = await third.restart();
  await expect.poll(() => back.swarm.info().state, PATIENT).toBe("locked");
  const wrong = {
    code: "unauthenticated",
    message: "swarm could not be unlocked: invalid key provided",
  };
  await expect(back.swarm.unlock(after)).rejects.toMatchObject(wrong);
  for (const nonsense of ["", "nonsense", before.slice(0, -1), `${before}A`]) {
    await expect(back.swarm.unlock(nonsense)).rejects.toThrow("invalid key");
  }
  expect(back.swarm.info().state).toBe("locked");
  await back.swarm.unlock(before);
  await expect.poll(() => back.swarm.info().controlAvailable, PATIENT).toBe(true);
  // It hears of the new one, which is the one from then on.
  const { nodeKey } = swarmPaths(third.dataRoot);
  const unlockKey = parseUnlockKey(after);
  if (!unlockKey.ok) throw new Error(unlockKey.error);
  const opens = () => {
    try {
      parseNodeKey(readFileSync(nodeKey, "utf8"), unlockKey.value);
      return true;
    } catch {
      return false;
    }
  };
  await expect.poll(opens, PATIENT).toBe(true);
  back = await back.restart();
  await expect.poll(() => back.swarm.info().state, PATIENT).toBe("locked");
  await expect(back.swarm.unlock(before)).rejects.toMatchObject(wrong);
  await back.swarm.unlock(after);
  await expect.poll(() => back.swarm.info().controlAvailable, PATIENT).toBe(true);
});
