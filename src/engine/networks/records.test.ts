import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Log, LogFields } from "#base/ports.ts";
import { type AttachmentRecord, RecordFolder } from "./records.ts";

const ID = "c0ffee";
const RECORD: AttachmentRecord = {
  version: 1,
  containerId: ID,
  containerName: "wéb",
  hostname: "host",
  endpoints: [],
  ports: [],
};

let folder: string;
let path: string;
let records: RecordFolder<AttachmentRecord>;
const told: LogFields[] = [];
const log = { error: (_: string, fields: LogFields) => void told.push(fields) } as unknown as Log;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "skep-records-"));
  path = join(folder, `${ID}.json`);
  records = new RecordFolder(folder, {
    durable: false,
    isWhole: ({ containerId, endpoints }, id) => containerId === id && Array.isArray(endpoints),
  });
  await records.save(ID, RECORD);
  told.length = 0;
});

afterEach(() => rm(folder, { recursive: true, force: true }));

test("what was saved is loaded, and so is a record of old without a checksum", async () => {
  expect(await records.load(log)).toEqual([RECORD]);
  await writeFile(path, JSON.stringify(RECORD));
  expect(await records.load(log)).toEqual([RECORD]);
  expect(told).toEqual([]);
});

test("a bit that flips anywhere is noticed, or has changed nothing", async () => {
  const good = await readFile(path);
  for (let at = 0; at < good.length; at += 1) {
    const bad = Buffer.from(good);
    bad[at] = (bad[at] ?? 0) ^ (1 << (at % 8));
    await writeFile(path, bad);
    const [found] = await records.load(log);
    if (found === undefined) expect(told.pop()).toMatchObject({ path });
    // In the checksum's own name: it is a field that nobody reads.
    else expect(found).toMatchObject(RECORD);
  }
});

test.each([
  ["empty", () => Buffer.alloc(0)],
  ["cut", (good: Buffer) => good.subarray(0, good.length / 2)],
  ["zeros", (good: Buffer) => Buffer.alloc(good.length)],
  ["garbage", () => Buffer.from("\0\xff garbage {", "latin1")],
  ["another's", () => Buffer.from(JSON.stringify({ ...RECORD, containerId: "other" }))],
])("%s: it is passed over, told with its path, and kept", async (_, damage) => {
  const bad = damage(await readFile(path));
  await writeFile(path, bad);
  expect(await records.load(log)).toEqual([]);
  expect(told).toMatchObject([{ path }]);
  expect(records.damaged).toEqual(new Set([ID]));
  expect(await readFile(path)).toEqual(bad);
});
