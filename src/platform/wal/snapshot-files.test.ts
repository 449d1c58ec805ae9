/** Snapshots on a real file system: whole or refused, and transfers that break off and go on. */

import { mkdtemp, readdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, expect, test } from "vitest";
import { realRandom } from "../real-ports.ts";
import { type FileSystem, realFileSystem } from "./file-system.ts";
import { dataKey, type KeyRing, keyRing } from "./key-ring.ts";
import { openSnapshotFiles, type SnapshotFiles, type SnapshotName } from "./snapshot-files.ts";
import {
  CHUNK_BYTES,
  CHUNK_HEADER_BYTES,
  decodeSnapshotHeader,
  SNAPSHOT_HEADER_BYTES,
} from "./snapshot-format.ts";
import { checksum } from "./snapshot-writer.ts";

const key = dataKey(realRandom.bytes(32));
const keys = keyRing([key]);
const ABOUT = Buffer.from("what it is about");
const NAME = { index: 12, term: 2 };
let dir: string;

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "skep-snapshots-"));
});
afterEach(() => rm(dir, { recursive: true }));

function opened(ring: KeyRing = keys, fs: FileSystem = realFileSystem): Promise<SnapshotFiles> {
  return openSnapshotFiles({ fs, dir, keys: ring, random: realRandom });
}

async function contentOf(files: SnapshotFiles, name: SnapshotName, from = 0): Promise<Buffer> {
  const snapshot = await files.open(name);
  try {
    const chunks: Uint8Array[] = [];
    for await (const chunk of snapshot.chunks(from)) chunks.push(chunk);
    return Buffer.concat(chunks);
  } finally {
    await snapshot.close();
  }
}

/** Bytes that are different at every place. */
function bytesOf(length: number): Buffer {
  const bytes = Buffer.alloc(length);
  for (let at = 0; at + 4 <= length; at += 4) bytes.writeUInt32LE((at * 2_654_435_761) >>> 0, at);
  return bytes;
}

function announced(bytes: Uint8Array, id = "ab".repeat(16)) {
  return { id, length: bytes.length, crc: checksum(bytes, 0) };
}

async function onlyFile(): Promise<string> {
  const names = await readdir(dir);
  expect(names).toHaveLength(1);
  return join(dir, names[0] ?? "");
}

test("pieces of any size come back as the same bytes, from any place on", async () => {
  const files = await opened();
  const whole = bytesOf(3 * CHUNK_BYTES);
  await fc.assert(
    fc.asyncProperty(
      fc.nat(whole.length),
      fc.array(fc.nat(whole.length), { maxLength: 6 }),
      fc.nat(whole.length),
      async (length, cuts, from) => {
        const bytes = whole.subarray(0, length);
        const ends = [...cuts.filter((cut) => cut < length), length].toSorted((a, b) => a - b);
        const pieces = ends.map((end, i) => bytes.subarray(ends[i - 1] ?? 0, end));
        expect(await files.save(NAME, ABOUT, pieces)).toBe(length);
        const start = Math.min(from, length);
        expect((await contentOf(files, NAME, start)).equals(bytes.subarray(start))).toBe(true);
      },
    ),
    { numRuns: 25 },
  );
  const snapshot = await files.open(NAME);
  expect(Buffer.from(snapshot.about).equals(ABOUT)).toBe(true);
  await snapshot.close();
});

test("old ones are pruned, the newest stay", async () => {
  const files = await opened();
  for (const index of [5, 12, 9]) await files.save({ index, term: 1 }, ABOUT, [bytesOf(index)]);
  expect((await files.list()).map(({ index }) => index)).toEqual([12, 9, 5]);
  await files.prune(2);
  expect((await files.list()).map(({ index }) => index)).toEqual([12, 9]);
});

test("one wrong bit anywhere is refused, naming file and offset", async () => {
  const files = await opened();
  await files.save(NAME, ABOUT, [bytesOf(2 * CHUNK_BYTES + 1000)]);
  const path = await onlyFile();
  const bytes = await readFile(path);
  const zeros = { from: 52, to: SNAPSHOT_HEADER_BYTES };
  await fc.assert(
    fc.asyncProperty(fc.nat(bytes.length - 1), fc.nat(7), async (at, bit) => {
      // What fills up the header carries nothing.
      fc.pre(at < zeros.from || at >= zeros.to);
      const altered = Buffer.from(bytes);
      altered[at] = (altered[at] ?? 0) ^ (1 << bit);
      await writeFile(path, altered);
      const reading = contentOf(files, NAME);
      await expect(reading).rejects.toMatchObject({ code: "data-loss" });
      await expect(reading).rejects.toThrow(new RegExp(`${path} is damaged at byte \\d+: `));
    }),
    { numRuns: 60 },
  );
});

test("a file without its end, or with another file's chunks, is refused", async () => {
  const files = await opened();
  await files.save(NAME, ABOUT, [bytesOf(2 * CHUNK_BYTES)]);
  const path = await onlyFile();
  const bytes = await readFile(path);
  await truncate(path, bytes.length - 1);
  await expect(contentOf(files, NAME)).rejects.toThrow("it is cut off");
  // From behind the damage it is noticed just as well.
  await expect(contentOf(files, NAME, 2 * CHUNK_BYTES)).rejects.toThrow("it is cut off");
  await files.save(NAME, ABOUT, [bytesOf(2 * CHUNK_BYTES)]);
  const other = await readFile(path);
  const chunks = SNAPSHOT_HEADER_BYTES + CHUNK_HEADER_BYTES + ABOUT.length + 16;
  await writeFile(path, Buffer.concat([bytes.subarray(0, chunks), other.subarray(chunks)]));
  await expect(contentOf(files, NAME)).rejects.toThrow("the key does not open it");
});

test("without the key it is not opened, and says which one is missing", async () => {
  await (await opened()).save(NAME, ABOUT, [bytesOf(10)]);
  const other = await opened(keyRing([dataKey(realRandom.bytes(32))]));
  await expect(other.open(NAME)).rejects.toMatchObject({ code: "failed-precondition" });
  await expect(other.open(NAME)).rejects.toThrow(key.id);
  expect(await (await opened()).isSealedWith(key.id)).toBe(true);
  expect(await (await opened()).isSealedWith("another")).toBe(false);
});

test("a transfer that breaks goes on where the disk has it, also after a restart", async () => {
  const bytes = bytesOf(5 * CHUNK_BYTES + 17);
  const content = announced(bytes);
  let files = await opened();
  let from = 0;
  for (let attempt = 0; attempt < 4; attempt++) {
    from = await files.held(NAME, content);
    expect(from).toBe(attempt * CHUNK_BYTES);
    const receiver = await files.receive(NAME, ABOUT, content, from);
    // A chunk and a bit: what is not a whole chunk yet is lost with the connection.
    await receiver.append(bytes.subarray(from, from + CHUNK_BYTES + 9));
    await receiver.suspend();
    if (attempt % 2 === 1) files = await opened();
  }
  const receiver = await files.receive(NAME, ABOUT, content, 4 * CHUNK_BYTES);
  await receiver.append(bytes.subarray(4 * CHUNK_BYTES));
  await receiver.finish();
  expect(await files.list()).toEqual([]);
  await files.adopt(NAME);
  expect((await contentOf(files, NAME)).equals(bytes)).toBe(true);
  const snapshot = await files.open(NAME);
  expect(snapshot.content).toEqual(content);
  await snapshot.close();
});

test("one that has arrived needs no byte more, also after a restart", async () => {
  const bytes = bytesOf(CHUNK_BYTES + 5);
  const content = announced(bytes);
  const before = await opened();
  const first = await before.receive(NAME, ABOUT, content, 0);
  await first.append(bytes);
  await first.finish();
  const files = await opened();
  expect(await files.held(NAME, content)).toBe(bytes.length);
  const again = await files.receive(NAME, ABOUT, content, bytes.length);
  await again.finish();
  await files.adopt(NAME);
  expect((await contentOf(files, NAME)).equals(bytes)).toBe(true);
});

test("what is not what was announced is refused and leaves nothing", async () => {
  const files = await opened();
  const bytes = bytesOf(2 * CHUNK_BYTES);
  const wrong = { ...announced(bytes), crc: 1 };
  const altered = await files.receive(NAME, ABOUT, wrong, 0);
  await altered.append(bytes);
  await expect(altered.finish()).rejects.toThrow("checksum is wrong");
  expect(await readdir(dir)).toEqual([]);
  const short = await files.receive(NAME, ABOUT, announced(bytes), 0);
  await short.append(bytes.subarray(1));
  await expect(short.finish()).rejects.toThrow("announced with");
  expect(await readdir(dir)).toEqual([]);
  const long = await files.receive(NAME, ABOUT, announced(bytesOf(10)), 0);
  await long.append(bytes);
  await expect(long.append(bytes)).rejects.toThrow("more than the 10 bytes");
  expect(await readdir(dir)).toEqual([]);
});

test("a transfer is not gone on with as another's, or from elsewhere", async () => {
  const files = await opened();
  const bytes = bytesOf(3 * CHUNK_BYTES);
  const content = announced(bytes);
  const first = await files.receive(NAME, ABOUT, content, 0);
  await first.append(bytes.subarray(0, 2 * CHUNK_BYTES + 1));
  await first.suspend();
  expect(await files.held(NAME, content)).toBe(2 * CHUNK_BYTES);
  expect(await files.held(NAME, announced(bytes, "cd".repeat(16)))).toBe(0);
  expect(await files.held({ ...NAME, term: 3 }, content)).toBe(0);
  await expect(files.receive(NAME, ABOUT, content, CHUNK_BYTES)).rejects.toThrow(
    "not there so far",
  );
  const about = Buffer.from("something else");
  await expect(files.receive(NAME, about, content, 2 * CHUNK_BYTES)).rejects.toThrow(
    "gone on with",
  );
  // What would be added is sealed with another key by now.
  const next = await opened(keyRing([dataKey(realRandom.bytes(32)), key]));
  expect(await next.held(NAME, content)).toBe(0);
});

test("a new transfer ends the one under way and takes its place", async () => {
  const files = await opened();
  const bytes = bytesOf(2 * CHUNK_BYTES);
  const first = await files.receive(NAME, ABOUT, announced(bytes), 0);
  await first.append(bytes.subarray(0, CHUNK_BYTES + 1));
  const newer = { index: 20, term: 2 };
  const second = await files.receive(newer, ABOUT, announced(bytes), 0);
  await expect(first.append(bytes)).rejects.toMatchObject({ code: "aborted" });
  await second.append(bytes);
  await second.finish();
  expect(await readdir(dir)).toHaveLength(1);
  // While it is being taken over, none is received that would remove it.
  const third = { index: 30, term: 2 };
  await expect(files.receive(third, ABOUT, announced(bytes), 0)).rejects.toThrow("taken over");
  await files.adopt(newer);
  await (await files.receive(third, ABOUT, announced(bytes), 0)).suspend();
  expect((await contentOf(files, newer)).equals(bytes)).toBe(true);
});

test("what was not announced is taken too, and not kept when it breaks off", async () => {
  const files = await opened();
  const bytes = bytesOf(2 * CHUNK_BYTES);
  const broken = await files.receive(NAME, ABOUT, undefined, 0);
  await broken.append(bytes);
  await broken.suspend();
  expect(await readdir(dir)).toEqual([]);
  const receiver = await files.receive(NAME, ABOUT, undefined, 0);
  await receiver.append(bytes);
  await receiver.finish();
  await files.adopt(NAME);
  expect((await contentOf(files, NAME)).equals(bytes)).toBe(true);
});

test("what was announced without an id is checked, and not kept when it breaks off", async () => {
  const files = await opened();
  const bytes = bytesOf(2 * CHUNK_BYTES);
  const nameless = { ...announced(bytes), id: undefined };
  const broken = await files.receive(NAME, ABOUT, nameless, 0);
  await broken.append(bytes);
  await broken.suspend();
  expect(await readdir(dir)).toEqual([]);
  const wrong = await files.receive(NAME, ABOUT, { ...nameless, crc: 1 }, 0);
  await wrong.append(bytes);
  await expect(wrong.finish()).rejects.toThrow("checksum is wrong");
  const right = await files.receive(NAME, ABOUT, nameless, 0);
  await right.append(bytes);
  await right.finish();
  await files.adopt(NAME);
  expect((await contentOf(files, NAME)).equals(bytes)).toBe(true);
});

test("transfers that nobody will go on with are deleted", async () => {
  const bytes = bytesOf(2 * CHUNK_BYTES);
  const files = await opened();
  const receiver = await files.receive(NAME, ABOUT, announced(bytes), 0);
  await receiver.append(bytes);
  await receiver.suspend();
  await files.save({ index: 11, term: 2 }, ABOUT, [bytes]);
  await files.prune(1);
  expect(await readdir(dir)).toHaveLength(2);
  const held = await files.held(NAME, announced(bytes));
  expect(held).toBeGreaterThan(0);
  // A snapshot that is as new, between what was said to be there and the rest.
  await files.save({ index: 12, term: 1 }, ABOUT, [bytes]);
  await files.prune(1);
  expect(await readdir(dir)).toEqual(["000000000000000c-0000000000000001.snap"]);
  expect(await files.held(NAME, announced(bytes))).toBe(0);
  await expect(files.receive(NAME, ABOUT, announced(bytes), held)).rejects.toMatchObject({
    code: "failed-precondition",
  });
  // One whose beginning did not reach the disk.
  const torn = join(dir, "0000000000000014-0000000000000002.part");
  await writeFile(torn, Buffer.alloc(5000));
  await opened();
  expect(await readdir(dir)).toHaveLength(1);
});

test("a transfer that finds no room leaves none taken", async () => {
  let free = CHUNK_BYTES;
  const fs: FileSystem = {
    ...realFileSystem,
    create: async (path) => {
      const file = await realFileSystem.create(path);
      const write = async (bytes: Uint8Array, offset: number) => {
        if (offset + bytes.length > free) {
          throw Object.assign(new Error("ENOSPC: no space left on device"), { code: "ENOSPC" });
        }
        await file.write(bytes, offset);
      };
      return { write, sync: () => file.sync(), close: () => file.close() };
    },
  };
  const files = await opened(keys, fs);
  const bytes = bytesOf(3 * CHUNK_BYTES);
  const receiver = await files.receive(NAME, ABOUT, announced(bytes), 0);
  await expect(receiver.append(bytes)).rejects.toMatchObject({ code: "ENOSPC" });
  await expect(files.save(NAME, ABOUT, [bytes])).rejects.toMatchObject({ code: "ENOSPC" });
  expect(await readdir(dir)).toEqual([]);
  free = 100 * CHUNK_BYTES;
  await files.save(NAME, ABOUT, [bytes]);
});

test("no bytes whatever make the header reader throw", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
      const framed = Buffer.concat([Buffer.from("skepsnp2"), bytes]);
      expect(decodeSnapshotHeader(framed)).toBeUndefined();
      expect(decodeSnapshotHeader(Buffer.from(bytes))).toBeUndefined();
    }),
  );
});
