/**
 * The log's key is exchanged, with a crash after every single operation on the file system: while
 * both keys are at hand everything can be read, and once it is done the new one alone will do.
 */

import { expect, test } from "vitest";
import { realRandom } from "#platform/real-ports.ts";
import { type DataKey, dataKey, keyRing } from "#platform/wal/key-ring.ts";
import { Crashed, CrashFs } from "#platform/wal/testing/crash-fs.ts";
import type { Entry } from "#raft/index.ts";
import { type Disk, openDisk } from "./disk.ts";

const OLD = dataKey(realRandom.bytes(32));
const NEXT = dataKey(realRandom.bytes(32));
const VOTERS = {
  voters: [5],
  learners: [],
  votersOutgoing: [],
  learnersNext: [],
  autoLeave: false,
};
const LUCKS = 4;

async function opened(fs: CrashFs, keys: readonly [DataKey, ...DataKey[]]) {
  const { disk, loaded } = await openDisk({
    dir: "/raft",
    keys: keyRing(keys),
    random: realRandom,
    segmentBytes: 4096,
    chunkBytes: 256,
    fs: fs.port,
    onFailure: () => undefined,
  });
  await loaded.snapshot?.close();
  return { disk, loaded };
}

function entries(from: number, count: number): Entry[] {
  return Array.from({ length: count }, (_, i) => ({
    term: 1,
    index: from + i,
    type: "normal" as const,
    data: new Uint8Array(200),
  }));
}

/** A log of some segments, a snapshot, and a transfer that broke off, all under the old key. */
async function past(fs: CrashFs): Promise<void> {
  const { disk } = await opened(fs, [OLD]);
  await disk.identify({ raftId: 5, nodeId: "me", addr: "me:1" });
  await disk.append(entries(1, 20), { term: 1, vote: 5, commit: 20 });
  await snapshot(disk, 10);
  await disk.append(entries(21, 20), { term: 1, vote: 5, commit: 40 });
  const about = { confState: VOTERS, index: 99, term: 1 };
  const content = { id: "ab".repeat(16), length: 9999, crc: 1 };
  const receiver = await disk.receiveSnapshot(about, content, 0);
  await receiver.append(new Uint8Array(1000));
  await receiver.suspend();
  await disk.close();
}

async function snapshot(disk: Disk, index: number): Promise<void> {
  const metadata = { confState: VOTERS, index, term: 1 };
  await disk.saveSnapshot(metadata, [new Uint8Array(700)], { keepOld: 0, renews: true });
}

/** What a member does, all of whose entries are applied. */
async function reseal(fs: CrashFs): Promise<void> {
  const { disk, loaded } = await opened(fs, [NEXT, OLD]);
  const index = await disk.changeKey();
  await snapshot(disk, Math.max(index, loaded.snapshot?.metadata.index ?? 0));
  expect(await disk.isSealedAnew()).toBe(true);
  await disk.close();
}

function chanceOf(seed: number): () => number {
  let state = seed + 1;
  return () => {
    state = (state * 48_271) % 2_147_483_647;
    return state / 2_147_483_647;
  };
}

test("whatever operation a crash comes in, no record is left without its key", async () => {
  const calm = new CrashFs(() => 0);
  await past(calm);
  const before = calm.operations;
  await reseal(calm);
  const operations = calm.operations - before;
  expect(operations).toBeGreaterThan(10);
  for (let at = 1; at <= operations; at++) {
    for (let luck = 0; luck < LUCKS; luck++) {
      const fs = new CrashFs(chanceOf(at * LUCKS + luck));
      await past(fs);
      fs.crashAt(fs.operations + at);
      await reseal(fs).catch((error: unknown) => {
        const { cause } = error as Error;
        if (!(error instanceof Crashed) && !(cause instanceof Crashed)) throw error;
      });
      fs.restart();
      const { disk, loaded } = await opened(fs, [NEXT, OLD]);
      const covered = loaded.snapshot?.metadata.index ?? 0;
      expect(covered + loaded.entries.length).toBe(40);
      expect(loaded.self?.nodeId).toBe("me");
      await disk.close();
      await reseal(fs);
      const done = await opened(fs, [NEXT]);
      expect(done.loaded.snapshot?.metadata.index).toBeGreaterThanOrEqual(covered);
      expect(fs.paths().filter((path) => path.endsWith(".part"))).toEqual([]);
      await done.disk.close();
    }
  }
}, 60_000);

test("it is not done while an entry is not applied", async () => {
  const fs = new CrashFs(() => 0);
  await past(fs);
  const { disk } = await opened(fs, [NEXT, OLD]);
  expect(await disk.changeKey()).toBe(40);
  // A snapshot of less leaves a segment in which later entries are.
  await snapshot(disk, 30);
  expect(await disk.isSealedAnew()).toBe(false);
  await snapshot(disk, 40);
  expect(await disk.isSealedAnew()).toBe(true);
  await disk.close();
});
