/** Log and snapshots together, over crashes between any two steps. */

import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { realRandom } from "#platform/real-ports.ts";
import { realFileSystem } from "#platform/wal/file-system.ts";
import { dataKey, keyRing } from "#platform/wal/key-ring.ts";
import { openSnapshotFiles } from "#platform/wal/snapshot-files.ts";
import type { Entry, SnapshotMetadata } from "#raft/index.ts";
import { type Disk, openDisk } from "./disk.ts";
import type { Loaded } from "./replayed-log.ts";
import type { StoredSnapshot } from "./stored-snapshot.ts";

const keys = keyRing([dataKey(realRandom.bytes(32))]);
const self = { raftId: 5, nodeId: "me", addr: "me:1" };
let dir: string;
let disk: Disk;

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "skep-disk-"));
});
afterEach(async () => {
  await disk.close();
  await rm(dir, { recursive: true });
});

async function reopen(): Promise<Loaded> {
  const opened = await openDisk({
    dir,
    keys,
    random: realRandom,
    segmentBytes: 4096,
    onFailure: (error) => expect.unreachable(error.message),
  });
  disk = opened.disk;
  await opened.loaded.snapshot?.close();
  return opened.loaded;
}

async function dataOf(stored: StoredSnapshot | undefined): Promise<number[]> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stored?.chunks() ?? []) chunks.push(chunk);
  await stored?.close();
  return Array.from(Buffer.concat(chunks));
}

/** A snapshot of the leader comes, in two pieces. */
async function receive(about: SnapshotMetadata): Promise<void> {
  const receiver = await disk.receiveSnapshot(about, undefined, 0);
  for (const piece of data) await receiver.append(piece);
  await receiver.finish();
}

function entries(from: number, to: number, term: number, size = 10): Entry[] {
  return Array.from({ length: to - from + 1 }, (_, i) => ({
    term,
    index: from + i,
    type: "normal" as const,
    data: new Uint8Array(size).fill(term),
  }));
}

function metadata(index: number, term: number): SnapshotMetadata {
  const confState = {
    voters: [5],
    learners: [],
    votersOutgoing: [],
    learnersNext: [],
    autoLeave: false,
  };
  return { confState, index, term };
}

const data = [new Uint8Array([1, 2]), new Uint8Array([3])];

function indexesOf(loaded: Loaded): number[] {
  return loaded.entries.map(({ index }) => index);
}

test("an empty disk, then identity, entries and hard state", async () => {
  expect((await reopen()).self).toBeUndefined();
  await disk.identify(self);
  await disk.append(entries(1, 3, 1), { term: 1, vote: 5, commit: 2 });
  await disk.close();
  const loaded = await reopen();
  expect(loaded.self).toEqual(self);
  expect(loaded.hardState).toEqual({ term: 1, vote: 5, commit: 2 });
  expect(loaded.entries).toEqual(entries(1, 3, 1));
});

test("entries of a later leader replace those at their index and all that followed", async () => {
  await reopen();
  await disk.append(entries(1, 9, 1), { term: 1, vote: 5, commit: 2 });
  await disk.append(entries(4, 5, 2), { term: 2, vote: 5, commit: 2 });
  await disk.close();
  const loaded = await reopen();
  expect(loaded.entries).toEqual([...entries(1, 3, 1), ...entries(4, 5, 2)]);
});

test("a commit index alone is not written, but kept by an orderly end", async () => {
  await reopen();
  const hardState = { term: 1, vote: 5, commit: 0 };
  await disk.append(entries(1, 3, 1), hardState);
  expect(disk.mustWrite([], { ...hardState, commit: 3 })).toBe(false);
  expect(disk.mustWrite([], { ...hardState, vote: 6 })).toBe(true);
  await disk.append([], { ...hardState, commit: 3 });
  await disk.close();
  expect((await reopen()).hardState.commit).toBe(3);
});

test("an own snapshot covers what is before it and frees the segments of that", async () => {
  await reopen();
  await disk.identify(self);
  for (let i = 1; i <= 100; i++) {
    await disk.append(entries(i, i, 1, 200), { term: 1, vote: 5, commit: i });
  }
  const before = (await readdir(join(dir, "wal"))).length;
  await disk.saveSnapshot(metadata(98, 1), data, { keepOld: 0 });
  expect((await readdir(join(dir, "wal"))).length).toBeLessThan(before);
  await disk.close();
  const loaded = await reopen();
  expect(indexesOf(loaded)).toEqual([99, 100]);
  expect(loaded.self).toEqual(self);
  expect(loaded.hardState).toEqual({ term: 1, vote: 5, commit: 100 });
  expect(loaded.snapshot?.metadata).toEqual(metadata(98, 1));
  expect(await dataOf(await disk.openSnapshot(metadata(98, 1)))).toEqual([1, 2, 3]);
});

test("a snapshot of the leader puts an end to the entries before it in the log", async () => {
  await reopen();
  await disk.append(entries(1, 20, 1), { term: 1, vote: 5, commit: 5 });
  await receive(metadata(15, 2));
  await disk.adoptSnapshot(metadata(15, 2));
  await disk.append(entries(16, 17, 2), { term: 2, vote: 5, commit: 16 });
  await disk.close();
  const loaded = await reopen();
  expect(loaded.entries).toEqual(entries(16, 17, 2));
  expect(loaded.hardState.commit).toBe(16);
});

test("a snapshot whose mark did not reach the log does not count", async () => {
  await reopen();
  await disk.append(entries(1, 20, 1), { term: 1, vote: 5, commit: 5 });
  await disk.saveSnapshot(metadata(4, 1), data, { keepOld: 0 });
  await disk.close();
  const options = { fs: realFileSystem, dir: join(dir, "snap"), keys, random: realRandom };
  const files = await openSnapshotFiles(options);
  await files.save({ index: 30, term: 2 }, Buffer.from("about"), data);
  const loaded = await reopen();
  expect(loaded.snapshot?.metadata.index).toBe(4);
  expect(indexesOf(loaded)).toEqual(indexesOf({ ...loaded, entries: entries(5, 20, 1) }));
  expect((await files.list()).map(({ index }) => index)).toEqual([4]);
});

test("a snapshot that is gone is damage, not an empty store", async () => {
  await reopen();
  await disk.append(entries(1, 20, 1), { term: 1, vote: 5, commit: 5 });
  await disk.saveSnapshot(metadata(4, 1), data, { keepOld: 0 });
  await disk.close();
  await rm(join(dir, "snap"), { recursive: true });
  await expect(reopen()).rejects.toMatchObject({ code: "data-loss" });
});

test("a log that is gone is damage, and the snapshots beside it stay", async () => {
  await reopen();
  await disk.append(entries(1, 20, 1), { term: 1, vote: 5, commit: 5 });
  await disk.saveSnapshot(metadata(4, 1), data, { keepOld: 0 });
  await disk.close();
  await rm(join(dir, "wal"), { recursive: true });
  await expect(reopen()).rejects.toMatchObject({ code: "data-loss" });
  expect(await readdir(join(dir, "snap"))).toHaveLength(1);
});

test("of two snapshots at once, the newer one stays", async () => {
  await reopen();
  await disk.append(entries(1, 20, 1), { term: 1, vote: 5, commit: 20 });
  await receive(metadata(15, 1));
  await Promise.all([
    disk.adoptSnapshot(metadata(15, 1)),
    disk.saveSnapshot(metadata(10, 1), data, { keepOld: 0 }),
  ]);
  await disk.close();
  expect((await reopen()).snapshot?.metadata.index).toBe(15);
});

test("a snapshot may be renewed in its place, but no older one takes it", async () => {
  await reopen();
  await disk.append(entries(1, 20, 1), { term: 1, vote: 5, commit: 20 });
  await disk.saveSnapshot(metadata(10, 1), data, { keepOld: 0 });
  const other = [new Uint8Array([9])];
  expect(await disk.saveSnapshot(metadata(10, 1), other, { keepOld: 0 })).toBe(0);
  expect(await disk.saveSnapshot(metadata(9, 1), other, { keepOld: 0, renews: true })).toBe(0);
  expect(await dataOf(await disk.openSnapshot(metadata(10, 1)))).toEqual([1, 2, 3]);
  expect(await disk.saveSnapshot(metadata(10, 1), other, { keepOld: 0, renews: true })).toBe(1);
  await disk.close();
  expect((await reopen()).snapshot?.metadata.index).toBe(10);
  expect(await dataOf(await disk.openSnapshot(metadata(10, 1)))).toEqual([9]);
});

test("a leader's snapshot that has come counts when it is adopted, not before", async () => {
  await reopen();
  await disk.append(entries(1, 20, 1), { term: 1, vote: 5, commit: 5 });
  await receive(metadata(15, 2));
  await disk.close();
  const loaded = await reopen();
  expect(loaded.snapshot).toBeUndefined();
  expect(indexesOf(loaded)).toHaveLength(20);
});

test("a damaged snapshot is named by file and offset", async () => {
  await reopen();
  await disk.append(entries(1, 20, 1), { term: 1, vote: 5, commit: 20 });
  await disk.saveSnapshot(metadata(10, 1), [Buffer.alloc(5000)], { keepOld: 0 });
  const [name = ""] = await readdir(join(dir, "snap"));
  const path = join(dir, "snap", name);
  const bytes = await readFile(path);
  bytes[3000] = (bytes[3000] ?? 0) ^ 1;
  await writeFile(path, bytes);
  const stored = await disk.openSnapshot(metadata(10, 1));
  await expect(dataOf(stored)).rejects.toThrow(new RegExp(`${path} is damaged at byte \\d+`));
  await stored.close();
});
