/** What an operator hopes never to need, and must be able to rely on. */

import { readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { messageOf } from "#base/error.ts";
import { must } from "#base/invariant.ts";
import { swarmPaths } from "#daemon/swarm-node/paths.ts";
import type { Node } from "#wire/gen/swarmkit/objects_pb.js";
import { NodeRole, NodeStatus_State } from "#wire/gen/swarmkit/types_pb.js";
import { clusterOf, freePort, nodesOf, TestCluster, type TestNode } from "./fixtures.ts";

let cluster: TestCluster;

beforeEach(() => {
  cluster = new TestCluster();
});

afterEach(() => cluster.close());

async function managers(): Promise<[TestNode, TestNode, TestNode]> {
  const nodes = [
    await cluster.node("m1"),
    await cluster.node("m2"),
    await cluster.node("m3"),
  ] as const;
  await nodes[0].init();
  const { manager: token } = await clusterOf(nodes[0]);
  await nodes[1].join(nodes[0], token);
  await nodes[2].join(nodes[0], token);
  return [...nodes];
}

const active = (node: TestNode) =>
  vi.waitUntil(() => node.swarm.info().controlAvailable, { timeout: 20_000 });

/** As a host does whose address is another after a reboot. */
async function moved(node: TestNode): Promise<TestNode> {
  await node.stop();
  const { startState } = swarmPaths(node.dataRoot);
  const address = `127.0.0.1:${await freePort()}`;
  const state = JSON.parse(await readFile(startState, "utf8")) as Record<string, unknown>;
  const settings = { ...state, ListenAddr: address, AdvertiseAddr: address };
  await writeFile(startState, JSON.stringify(settings));
  const again = await node.restart();
  await active(again);
  return again;
}

test("all managers move to other addresses, one after the other, and everybody finds them", async () => {
  const [first, second, third] = await managers();
  const worker = await cluster.node("w1");
  await worker.join(first, (await clusterOf(first)).worker);
  const before = [first, second, third].map(({ address }) => address);
  const addresses = async (node: TestNode) =>
    [...(await nodesOf(node)).values()].flatMap(({ managerStatus }) => managerStatus?.addr ?? []);
  const known = () => worker.swarm.info().remoteManagers.map(({ addr }) => addr);
  const now: TestNode[] = [];
  for (const [at, node] of [first, second, third].entries()) {
    now.push(await moved(node));
    // The next one does not move before all know where this one is.
    const told = (list: readonly string[]) =>
      list.length === 3 && !list.some((addr) => before.slice(0, at + 1).includes(addr));
    await vi.waitUntil(async () => told(await addresses(must(now[0], "m1"))), { timeout: 10_000 });
    await vi.waitUntil(() => told(known()), { timeout: 30_000 });
  }
  const state = async () =>
    (await nodesOf(must(now[2], "m3"))).get(worker.swarm.localNodeId())?.status?.state;
  expect(await state()).toBe(NodeStatus_State.READY);
  // Nobody but these is there any more for a worker that starts anew.
  const back = await worker.restart();
  await expect.poll(() => back.swarm.info().state, { timeout: 20_000 }).toBe("active");
});

/** A field that this version of the program has no name for. */
const NEWER = { no: 7_777, wireType: WireType.LengthDelimited };
const newer = (text: string) => ({ ...NEWER, data: new BinaryWriter().string(text).finish() });

function textOfNewer(node: Node | undefined): string {
  const field = node?.$unknown?.find(({ no }) => no === NEWER.no);
  return Buffer.from(field?.data.subarray(1) ?? []).toString();
}

test("what a newer manager wrote survives the older ones: their writes, snapshots and restarts", async () => {
  const [first, second, third] = await managers();
  const nodeId = third.swarm.localNodeId();
  const state = must(first.swarm.manager(), "manager").state;
  await state.update("api", (tx) => {
    const node = must(tx.get("node", nodeId), "node");
    tx.update("node", { ...node, $unknown: [newer("from tomorrow")] });
  });
  const seen = (node: TestNode) =>
    textOfNewer(node.swarm.manager()?.state.view().get("node", nodeId));
  await vi.waitUntil(() => seen(second) !== "" && seen(third) !== "", { timeout: 5_000 });
  // An older manager leads, and changes the object by its own lights.
  await first.stop();
  await vi.waitUntil(() => second.swarm.manager()?.state.leader() !== undefined, {
    timeout: 15_000,
  });
  const control = second.swarm.control();
  const label = async () => {
    const { node } = await control.getNode({ nodeId });
    const spec = must(node?.spec, "spec");
    const annotations = { ...must(spec.annotations, "annotations"), labels: { a: "b" } };
    const nodeVersion = must(node?.meta?.version, "version");
    await control.updateNode({ nodeId, nodeVersion, spec: { ...spec, annotations } });
  };
  // The leader notes at the same time who can be reached.
  await vi.waitUntil(() => label().then(() => true, isOutdated), { timeout: 5_000 });
  await vi.waitUntil(
    () =>
      third.swarm.manager()?.state.view().get("node", nodeId)?.spec?.annotations?.labels["a"] ===
      "b",
    { timeout: 5_000 },
  );
  expect([seen(second), seen(third)]).toEqual(["from tomorrow", "from tomorrow"]);
  // And comes back from a disk, and by a snapshot to one that has none of it.
  const again = await third.restart();
  await active(again);
  expect(seen(again)).toBe("from tomorrow");
  const backup = await second.swarm.backup(`SWMBACKUP-1-${"A".repeat(43)}`);
  expect(backup.length).toBeGreaterThan(0);
  const late = await cluster.node("m4");
  await late.join(second, (await clusterOf(second)).manager);
  await vi.waitUntil(() => seen(late) === "from tomorrow", { timeout: 10_000 });
  // The newer one finds what it wrote.
  const back = await first.restart();
  await active(back);
  await vi.waitUntil(() => seen(back) === "from tomorrow", { timeout: 10_000 });
  expect((await nodesOf(back)).get(nodeId)?.role).toBe(NodeRole.MANAGER);
});

test("keys and the log of a manager are for nobody else's eyes, locked or not", async () => {
  const manager = await cluster.node("m1");
  await manager.init({ autoLockManagers: true });
  const paths = swarmPaths(manager.dataRoot);
  const mode = async (path: string) => ((await stat(path)).mode & 0o777).toString(8);
  expect(await mode(paths.nodeKey)).toBe("600");
  expect(await mode(paths.certificates)).toBe("700");
  expect(await mode(paths.root)).toBe("700");
  expect(await mode(paths.raft)).toBe("700");
  expect(await mode(paths.startState)).toBe("600");
  const key = await readFile(paths.nodeKey, "utf8");
  expect(key).toContain("BEGIN ENCRYPTED PRIVATE KEY");
  const unlockKey = await manager.swarm.unlockKey();
  await manager.stop();
  // Nothing on the disk says what would open it.
  const { execFileSync } = await import("node:child_process");
  const secret = unlockKey.slice("SWMKEY-1-".length);
  const found = (text: string) => {
    try {
      return execFileSync("grep", ["-rlaF", text, join(manager.dataRoot, "swarm")]).toString();
    } catch {
      return "";
    }
  };
  expect(found(secret)).toBe("");
  expect(found("SWMTKN-1-")).toBe("");
  expect(found("BEGIN EC PRIVATE KEY")).toBe("");
});

test("a node whose clock is off joins all the same and says so; one that is hours off says why not", async () => {
  const manager = await cluster.node("m1");
  await manager.init();
  const { worker: token } = await clusterOf(manager);
  const minutes = 60_000;
  for (const [name, offset, said] of [
    ["right", 0, undefined],
    ["ahead", 50 * minutes, /the clock of this node is (2999|3000|3001) s ahead of/],
    ["behind", -50 * minutes, /the clock of this node is (2999|3000|3001) s behind/],
  ] as const) {
    const worker = await cluster.node(name, offset);
    await worker.join(manager, token);
    expect(worker.swarm.info().state).toBe("active");
    const warnings = worker.swarm.info().warnings ?? [];
    if (said === undefined) expect(warnings).toEqual([]);
    else expect(warnings).toEqual([expect.stringMatching(said)]);
  }
  const lost = await cluster.node("lost", -3 * 60 * minutes);
  await expect(lost.join(manager, token)).rejects.toThrow(/not valid before .* it is currently/);
});

/** False, to try once more, where somebody else changed the object meanwhile. */
function isOutdated(error: unknown): false {
  if (messageOf(error).includes("update out of sequence")) return false;
  throw error;
}
