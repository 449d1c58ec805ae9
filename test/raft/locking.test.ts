/**
 * A manager in a process of its own whose lock changes: its raft log gets another key each time, of
 * the old one nothing is left on the disk, and however it dies meanwhile, the right unlock key opens
 * all of it and no other does.
 */

import { mkdtemp, open, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { parseNodeKey } from "#daemon/swarm-node/key-file.ts";
import { swarmPaths } from "#daemon/swarm-node/paths.ts";
import { parseUnlockKey } from "#pki/unlock-key.ts";
import { dataKey } from "#platform/wal/key-ring.ts";
import { decodeHeader, SEGMENT_HEADER_BYTES } from "#platform/wal/segment.ts";
import { decodeSnapshotHeader, SNAPSHOT_HEADER_BYTES } from "#platform/wal/snapshot-format.ts";
import { bundleManager, formSwarm, ManagerProcess, until } from "./processes/managers.ts";

const OBJECTS = 300;
const WRONG = `SWMKEY-1-${"A".repeat(43)}`;
let bundle: string;
let dir: string;
let manager: ManagerProcess;

beforeAll(async () => {
  bundle = await bundleManager();
});
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "skep-locking-"));
  manager = await ManagerProcess.make({ bundle, dir, name: "m1" });
  await formSwarm([manager]);
  await manager.ask({ op: "fill", from: 0, to: OBJECTS, objects: OBJECTS });
});
afterEach(async () => {
  await manager.kill();
  await rm(dir, { recursive: true });
});

async function head(path: string, bytes: number): Promise<Buffer> {
  const file = await open(path);
  try {
    return (await file.read(Buffer.alloc(bytes), 0, bytes, 0)).buffer;
  } finally {
    await file.close();
  }
}

/** Ids of the keys that the files of the raft log are sealed with. */
async function keysOnDisk(): Promise<Set<string>> {
  const { raft } = swarmPaths(manager.dataRoot);
  const ids = new Set<string>();
  for (const name of await readdir(raft, { recursive: true })) {
    const path = join(raft, name);
    // One may go while we look.
    const read = (bytes: number) => head(path, bytes).catch(() => Buffer.alloc(0));
    const id = name.endsWith(".wal")
      ? decodeHeader(await read(SEGMENT_HEADER_BYTES))?.keyId
      : name.endsWith(".snap")
        ? decodeSnapshotHeader(await read(SNAPSHOT_HEADER_BYTES))?.keyId
        : undefined;
    if (id !== undefined) ids.add(id);
  }
  return ids;
}

/** Id of the one key of the raft log that the key file holds, once it is only one. */
async function settledKey(unlockKey: string): Promise<string | undefined> {
  const text = await readFile(swarmPaths(manager.dataRoot).nodeKey, "utf8");
  if (text.includes("raft-dek-pending")) return undefined;
  const parsed = parseUnlockKey(unlockKey);
  try {
    return dataKey(parseNodeKey(text, parsed.ok ? parsed.value : undefined).raftKey).id;
  } catch {
    return undefined;
  }
}

/** Waits until the log is sealed with one key alone, which is not one of the earlier ones. */
async function sealedAnew(unlockKey: string, earlier: readonly string[]): Promise<string> {
  return await until(20_000, "another key", async () => {
    const id = await settledKey(unlockKey);
    if (id === undefined || earlier.includes(id)) return undefined;
    const onDisk = await keysOnDisk();
    return onDisk.size === 1 && onDisk.has(id) ? id : undefined;
  });
}

async function unlockKey(): Promise<string> {
  return (await manager.ask({ op: "unlockKey" })) as string;
}

async function stateIs(state: string): Promise<void> {
  await until(15_000, state, async () => (await manager.info()).state === state);
}

/** Kills the manager, starts it, and opens it with the key; no other opens it. */
async function restartedWith(key: string): Promise<void> {
  await manager.kill();
  await manager.start();
  await stateIs("locked");
  await expect(manager.ask({ op: "unlock", key: WRONG })).rejects.toThrow("invalid key provided");
  await manager.ask({ op: "unlock", key });
  await leads();
}

async function leads(): Promise<void> {
  await until(20_000, "a leader", async () => {
    const { leads: isLeading, active } = await manager.info();
    return isLeading && active;
  });
}

test("locking, another unlock key, and no lock any more: each time another key and nothing of the old", async () => {
  const first = await settledKey("");
  expect([...(await keysOnDisk())]).toEqual([first]);
  await manager.ask({ op: "lock", autoLock: true, rotate: false });
  const key = await unlockKey();
  const second = await sealedAnew(key, [first ?? ""]);
  await restartedWith(key);
  await manager.ask({ op: "fill", from: 0, to: 10, objects: OBJECTS });

  await manager.ask({ op: "lock", autoLock: true, rotate: true });
  const next = await unlockKey();
  expect(next).not.toBe(key);
  const third = await sealedAnew(next, [first ?? "", second]);
  await manager.kill();
  await manager.start();
  await stateIs("locked");
  await expect(manager.ask({ op: "unlock", key })).rejects.toThrow("invalid key provided");
  await restartedWith(next);

  await manager.ask({ op: "lock", autoLock: false, rotate: false });
  await sealedAnew("", [first ?? "", second, third]);
  await manager.kill();
  await manager.start();
  await leads();
  expect(await unlockKey()).toBe("");
});

test("killed at any moment of it, the old unlock key or the new one opens everything", async () => {
  const open = await settledKey("");
  await manager.ask({ op: "lock", autoLock: true, rotate: false });
  let key = await unlockKey();
  const seen = [open ?? ""];
  seen.push(await sealedAnew(key, seen));
  const { index } = await manager.info();
  for (let delayMs = 0; delayMs <= 40; delayMs += 5) {
    await manager.ask({ op: "lock", autoLock: true, rotate: true });
    const next = await unlockKey();
    await new Promise((resolve) => setTimeout(resolve, delayMs));
    await manager.kill();
    await manager.start();
    await stateIs("locked");
    await manager.ask({ op: "unlock", key: next }).catch(() => manager.ask({ op: "unlock", key }));
    await leads();
    key = next;
    expect((await manager.info()).index).toBeGreaterThan(index);
    // What was begun is brought to its end.
    seen.push(await sealedAnew(next, seen));
  }
}, 120_000);
