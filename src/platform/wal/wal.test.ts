/** The log on a real file system: crashes are truncations and torn or flipped bytes. */

import { mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, expect, test } from "vitest";
import { realRandom } from "../real-ports.ts";
import { type FileSystem, realFileSystem } from "./file-system.ts";
import { decodeFrame } from "./frame.ts";
import { dataKey, keyRing } from "./key-ring.ts";
import { decodeHeader, SEGMENT_HEADER_BYTES, segmentName } from "./segment.ts";
import { beforeDurableWrites } from "./testing/hooked-fs.ts";
import { openWal, type Wal, type WalOptions } from "./wal.ts";

const key = dataKey(realRandom.bytes(32));
const keys = keyRing([key]);
let dir: string;
let toClose: Wal[] = [];

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "skep-wal-"));
});
afterEach(async () => {
  await Promise.all(toClose.map((wal) => wal.close()));
  toClose = [];
  await rm(dir, { recursive: true });
});

interface Opened {
  readonly wal: Wal;
  readonly records: string[];
}

async function opened(options: Partial<WalOptions> = {}): Promise<Opened> {
  const records: string[] = [];
  const wal = await openWal(
    {
      dir,
      keys,
      random: realRandom,
      segmentBytes: 4096,
      onFailure: (error) => expect.unreachable(error.message),
      ...options,
    },
    (record) => records.push(Buffer.from(record).toString()),
  );
  toClose.push(wal);
  return { wal, records };
}

/** Writes records one by one, each durable before the next; returns where each frame begins. */
async function filled(records: readonly string[]): Promise<void> {
  const { wal } = await opened();
  for (const record of records) await wal.append(Buffer.from(record));
  await wal.close();
}

async function newestSegment(): Promise<string> {
  const names = (await readdir(dir)).filter((name) => name.endsWith(".wal")).toSorted();
  return join(dir, names.at(-1) ?? "");
}

/** Where each frame of a one-record-per-frame segment begins, and where the log ends. */
async function frameOffsets(path: string): Promise<number[]> {
  const bytes = await readFile(path);
  const sequence = decodeHeader(bytes)?.sequence ?? 0;
  const offsets = [SEGMENT_HEADER_BYTES];
  for (;;) {
    const read = decodeFrame(bytes, offsets.at(-1) ?? 0, sequence, key.key);
    if (read.outcome !== "frame") return offsets;
    offsets.push(read.end);
  }
}

function numbered(count: number, size = 0): string[] {
  return Array.from({ length: count }, (_, i) => `${i}:${"x".repeat(size)}`);
}

test("records come back in order, over many segments and reopenings", async () => {
  const all: string[] = [];
  for (let round = 0; round < 3; round++) {
    const { wal, records } = await opened();
    expect(records).toEqual(all);
    const added = numbered(40, 100 * round);
    await Promise.all(added.map((record) => wal.append(Buffer.from(record))));
    all.push(...added);
    // Larger than a whole segment.
    const large = "y".repeat(10_000);
    await wal.append(Buffer.from(large));
    all.push(large);
    await wal.close();
  }
  expect((await opened()).records).toEqual(all);
});

test("one write serves all that wait, and nothing is acknowledged before it", async () => {
  let syncs = 0;
  const { wal } = await opened({
    fs: beforeDurableWrites(async () => {
      syncs += 1;
    }),
  });
  syncs = 0;
  await Promise.all(numbered(100).map((record) => wal.append(Buffer.from(record))));
  expect(syncs).toBe(1);
  await wal.close();
});

test("nothing readable is on disk without the key", async () => {
  await filled(["the secret text"]);
  expect((await readFile(await newestSegment())).includes("secret text")).toBe(false);
  const other = keyRing([dataKey(realRandom.bytes(32))]);
  await expect(opened({ keys: other })).rejects.toMatchObject({ code: "failed-precondition" });
});

test("another key that claims to be the right one does not open it", async () => {
  await filled(["text"]);
  const wrong = keyRing([{ id: key.id, key: realRandom.bytes(32) }]);
  await expect(opened({ keys: wrong })).rejects.toThrow(/at byte 64: the key .* does not open/);
});

test("an exchanged key begins a new segment; the old one is still read", async () => {
  await filled(["old"]);
  const next = dataKey(realRandom.bytes(32));
  const both = keyRing([next, key]);
  const { wal } = await opened({ keys: both });
  await wal.append(Buffer.from("new"));
  await wal.close();
  expect((await opened({ keys: both })).records).toEqual(["old", "new"]);
  await expect(opened()).rejects.toMatchObject({ code: "failed-precondition" });
});

test("cut anywhere in the last record, the log ends before it and goes on from there", async () => {
  const records = numbered(5, 50);
  await fc.assert(
    fc.asyncProperty(fc.nat(1_000_000), async (at) => {
      await rm(dir, { recursive: true });
      await filled(records);
      const path = await newestSegment();
      const offsets = await frameOffsets(path);
      const start = offsets.at(-2) ?? 0;
      const end = offsets.at(-1) ?? 0;
      // The alignment zeros at the end of a frame carry nothing.
      await cut(path, start + (at % (end - start - 7)));
      const again = await opened();
      expect(again.records).toEqual(records.slice(0, -1));
      await again.wal.append(Buffer.from("after"));
      await again.wal.close();
      const last = await opened();
      expect(last.records).toEqual([...records.slice(0, -1), "after"]);
      await last.wal.close();
    }),
    { numRuns: 30 },
  );
});

test("a torn last frame is dropped whichever of its bytes reached the disk", async () => {
  const records = numbered(4, 60);
  await fc.assert(
    fc.asyncProperty(fc.infiniteStream(fc.boolean()), async (kept) => {
      await rm(dir, { recursive: true });
      await filled(records);
      const path = await newestSegment();
      const offsets = await frameOffsets(path);
      const bytes = await readFile(path);
      let torn = false;
      for (let i = offsets.at(-2) ?? 0; i < (offsets.at(-1) ?? 0) - 7; i += 16) {
        if (kept.next().value) continue;
        bytes.fill(0, i, Math.min(i + 16, (offsets.at(-1) ?? 0) - 7));
        torn = true;
      }
      await writeFile(path, bytes);
      const { wal, records: read } = await opened();
      expect(read).toEqual(torn ? records.slice(0, -1) : records);
      await wal.close();
    }),
    { numRuns: 30 },
  );
});

test("a flipped bit before the last record is damage, named by file and offset", async () => {
  const records = numbered(6, 40);
  await fc.assert(
    fc.asyncProperty(fc.nat(4), fc.nat(1_000_000), fc.nat(7), async (frame, at, bit) => {
      await rm(dir, { recursive: true });
      await filled(records);
      const path = await newestSegment();
      const offsets = await frameOffsets(path);
      const start = offsets[frame] ?? 0;
      const size = (offsets[frame + 1] ?? 0) - start - 7;
      const bytes = await readFile(path);
      const place = start + (at % size);
      bytes[place] = (bytes[place] ?? 0) ^ (1 << bit);
      await writeFile(path, bytes);
      await expect(opened()).rejects.toThrow(`${path} at byte ${start}:`);
    }),
    { numRuns: 40 },
  );
});

/** What a crash leaves: the file has its size from the beginning, and zeros where nothing came. */
async function cut(path: string, from: number): Promise<void> {
  const bytes = await readFile(path);
  await writeFile(path, bytes.fill(0, from));
}

test("a file that was cut is no torn end, wherever it was cut", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
      async (part) => {
        await rm(dir, { recursive: true });
        await filled(numbered(5, 50));
        const path = await newestSegment();
        const length = Math.floor((await stat(path)).size * part);
        await truncate(path, length);
        const place = length < SEGMENT_HEADER_BYTES ? 0 : length;
        await expect(opened()).rejects.toThrow(`${path} at byte ${place}:`);
      },
    ),
    { numRuns: 30 },
  );
});

test("a log of old, which does not know its size, is read", async () => {
  const records = numbered(3, 50);
  await filled(records);
  const path = await newestSegment();
  await writeFile(path, (await readFile(path)).fill(0, 40, SEGMENT_HEADER_BYTES));
  expect((await opened()).records).toEqual(records);
});

test("records lost at the end of a finished segment are noticed", async () => {
  await filled(numbered(100, 200));
  const first = join(dir, segmentName(1));
  const offsets = await frameOffsets(first);
  await cut(first, offsets.at(-2) ?? 0);
  await expect(opened()).rejects.toThrow(`${first} at byte ${offsets.at(-2)}:`);
});

test("a missing segment and a foreign header are noticed", async () => {
  await filled(numbered(100, 200));
  const second = join(dir, segmentName(2));
  const bytes = await readFile(second);
  await rm(second);
  await expect(opened()).rejects.toThrow("the segment is missing");
  await writeFile(second, await readFile(join(dir, segmentName(1))));
  await expect(opened()).rejects.toThrow("header of the segment is not valid");
  await writeFile(second, bytes);
  expect((await opened()).records).toHaveLength(100);
});

test("a failed write stops everything, and later appends fail too", async () => {
  const failures: string[] = [];
  let broken = false;
  const { wal } = await opened({
    onFailure: (error) => failures.push(error.code),
    fs: beforeDurableWrites(async () => {
      if (broken) throw new Error("input/output error");
    }),
  });
  await wal.append(Buffer.from("fine"));
  broken = true;
  const first = wal.append(Buffer.from("lost"));
  await expect(first).rejects.toThrow("input/output error");
  broken = false;
  await expect(wal.append(Buffer.from("too late"))).rejects.toMatchObject({ code: "data-loss" });
  expect(failures).toEqual(["data-loss"]);
  await wal.close();
});

test("old segments go, the rest stays readable", async () => {
  const { wal } = await opened();
  let segment = 0;
  for (const record of numbered(100, 200)) segment = await wal.append(Buffer.from(record));
  expect(segment).toBeGreaterThan(3);
  await wal.dropBefore(segment);
  await wal.close();
  expect((await readdir(dir)).filter((name) => name.endsWith(".wal"))).toHaveLength(1);
  const { records } = await opened();
  expect(records.at(-1)).toBe(numbered(100, 200).at(-1));
});

test("no bytes whatever make the frame reader throw or read out of bounds", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(220), (bytes, offset) => {
      const framed = Buffer.concat([Buffer.from("SKWF\u0001\0\0\0", "latin1"), bytes]);
      expect(decodeFrame(framed, 0, 1, key.key).outcome).toBe("none");
      expect(decodeFrame(Buffer.from(bytes), offset, 1, key.key).outcome).toBe("none");
      expect(decodeHeader(Buffer.from(bytes))).toBeUndefined();
    }),
  );
});

test("on a disk that is nearly full the log takes smaller segments, and says so when it is full", async () => {
  let free = 64 * 1024 * 1024;
  const fs: FileSystem = {
    ...realFileSystem,
    create: async (path) => {
      const file = await realFileSystem.create(path);
      const write = async (bytes: Uint8Array, offset: number) => {
        if (offset + bytes.length > free) {
          throw Object.assign(new Error("ENOSPC: no space left on device, write"), {
            code: "ENOSPC",
          });
        }
        await file.write(bytes, offset);
      };
      return { write, sync: () => file.sync(), close: () => file.close() };
    },
  };
  const failures: string[] = [];
  const segmentBytes = 16 * 1024 * 1024;
  const onFailure = (error: Error) => failures.push(error.message);
  const { wal } = await opened({ fs, segmentBytes, onFailure });
  const record = Buffer.alloc(900 * 1024, "r");
  free = 5 * 1024 * 1024;
  // The first segment holds four of them, the next is a quarter of what it should be.
  for (let i = 0; i < 6; i++) await wal.append(record);
  const sizes = await Promise.all(
    (await readdir(dir)).map(async (name) => (await stat(join(dir, name))).size),
  );
  expect(Math.max(...sizes)).toBe(4 * 1024 * 1024);
  free = 0;
  const last = (async () => {
    for (let i = 0; i < 12; i++) await wal.append(record);
  })();
  await expect(last).rejects.toMatchObject({ code: "data-loss" });
  expect(failures).toEqual([expect.stringContaining(`free some space on the disk of ${dir}`)]);
  await wal.close();
  // Nothing that was acknowledged is lost, and with room it goes on.
  free = 64 * 1024 * 1024;
  const again = await opened({ fs, segmentBytes });
  expect(again.records.length).toBeGreaterThanOrEqual(6);
  await again.wal.append(record);
});
