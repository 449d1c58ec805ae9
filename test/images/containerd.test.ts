import { createHash, randomBytes } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { EngineError } from "#base/error.ts";
import { connectContainerd } from "#platform/containerd/client.ts";
import { type ContentStore, createContentStore } from "#platform/containerd/content.ts";
import { clearLeases, withLease } from "#platform/containerd/leases.ts";
import { startContainerd } from "#platform/containerd/server.ts";
import { realClock, realRandom } from "#platform/real-ports.ts";
import { makeScratch, type Scratch, serverOptions } from "./scratch.ts";

let scratch: Scratch;
let content: ContentStore;

beforeAll(async () => {
  scratch = await makeScratch();
  content = createContentStore(scratch.containerd);
});

afterAll(async () => {
  await scratch?.remove();
});

function digestOf(bytes: Uint8Array): string {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}

async function* pieces(bytes: Uint8Array, size = 100_000): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

function newLease<T>(work: Parameters<typeof withLease<T>>[2]): Promise<T> {
  const options = { purpose: "test", random: realRandom, nowMs: Date.now() };
  return withLease(scratch.containerd, options, work);
}

test("a second start adopts the running containerd; the version is its own", async () => {
  const again = await startContainerd(serverOptions(scratch.folder));
  again.close();
  expect(again.pid()).toBe(scratch.server.pid());
  expect((await scratch.containerd.version.version({})).version).toMatch(/^v?\d/);
});

test("a blob written in pieces reads back, from any offset", async () => {
  const bytes = randomBytes(3_000_000);
  const digest = digestOf(bytes);
  await newLease(async (lease) => {
    const written = await content.write({
      ref: "one",
      digest,
      size: bytes.length,
      labels: { "skep.test": "1" },
      lease,
      source: (offset) => pieces(bytes.subarray(offset)),
    });
    expect(written).toEqual({ digest, size: bytes.length, labels: { "skep.test": "1" } });
    expect(Buffer.from(await content.readAll(digest, 4_000_000)).equals(bytes)).toBe(true);
    const tail: Uint8Array[] = [];
    for await (const chunk of content.read(digest, { offset: 2_999_990 })) tail.push(chunk);
    expect(Buffer.concat(tail).equals(bytes.subarray(2_999_990))).toBe(true);
    await content.label(digest, { "skep.test": "2", "a.b.c/d": "e" });
    expect((await content.info(digest))?.labels).toEqual({ "skep.test": "2", "a.b.c/d": "e" });
    await expect(content.readAll(digest, 10)).rejects.toThrow(/is over 10 bytes/);
  });
  expect(await content.info(digestOf(randomBytes(8)))).toBeUndefined();
});

test("an interrupted write is taken up where it ended", async () => {
  const bytes = randomBytes(2_000_000);
  const digest = digestOf(bytes);
  await newLease(async (lease) => {
    const offsets: number[] = [];
    const write = (source: (offset: number) => AsyncIterable<Uint8Array>) =>
      content.write({ ref: "resumed", digest, size: bytes.length, lease, source });
    await expect(
      write(async function* () {
        yield* pieces(bytes.subarray(0, 1_048_576));
        throw new EngineError("unavailable", "the line broke");
      }),
    ).rejects.toThrow("the line broke");
    const written = await write((offset) => {
      offsets.push(offset);
      return pieces(bytes.subarray(offset));
    });
    expect(written.digest).toBe(digest);
    expect(offsets[0]).toBeGreaterThan(0);
    // Written already: the source is not asked.
    await write(() => {
      throw new Error("not needed");
    });
  });
});

test("a wrong digest or size is refused, and nothing is stored", async () => {
  const bytes = randomBytes(1000);
  const wrong = digestOf(randomBytes(4));
  await newLease(async (lease) => {
    const source = () => pieces(bytes);
    await expect(content.write({ ref: "w1", digest: wrong, lease, source })).rejects.toThrow(
      /unexpected commit digest/,
    );
    await expect(content.write({ ref: "w2", size: 2000, lease, source })).rejects.toThrow(
      "unexpected size 1000 of w2, expected 2000",
    );
    await content.abort("w1");
    await content.abort("w2");
    await content.abort("never");
  });
  expect(await content.info(wrong)).toBeUndefined();
});

test("leases of a dead run are cleared", async () => {
  await scratch.containerd.leases.create({ id: "left", labels: { "skep.lease": "pull" } });
  await scratch.containerd.leases.create({ id: "other" });
  expect(await clearLeases(scratch.containerd)).toBe(1);
  const { leases } = await scratch.containerd.leases.list({});
  expect(leases.map((lease) => lease.id)).toEqual(["other"]);
});

test("a containerd that dies is started again, and the connection finds it", async () => {
  const { server, containerd } = scratch;
  const before = server.pid();
  process.kill(before, "SIGKILL");
  await expect.poll(() => server.pid(), { timeout: 30_000 }).not.toBe(before);
  await expect
    .poll(() => containerd.version.version({}).then(() => "answers", String), { timeout: 10_000 })
    .toBe("answers");
});

test("nobody at the socket: a clear message, in time", async () => {
  const address = join(scratch.folder, "nobody.sock");
  await expect(
    connectContainerd({ address, namespace: "x", clock: realClock, timeoutMs: 200 }),
  ).rejects.toThrow(`containerd does not answer at ${address}`);
});

test("a containerd that cannot start: the message has the end of its log", async () => {
  const folder = join(scratch.folder, "bad");
  const options = serverOptions(folder);
  await expect(startContainerd({ ...options, binary: "/bin/false" })).rejects.toThrow(
    /containerd did not start/,
  );
  await expect(startContainerd({ ...options, binary: "/nowhere" })).rejects.toThrow(
    /install the package "containerd"/,
  );
  await expect(startContainerd({ ...options, address: `/${"x".repeat(120)}` })).rejects.toThrow(
    /choose a shorter exec root/,
  );
});

test("a pid file of another process, or of another boot, is nobody's", async () => {
  const folder = join(scratch.folder, "reuse");
  const first = await startContainerd(serverOptions(folder));
  const pidFile = join(folder, "state", "containerd.pid");
  const genuine = await readFile(pidFile, "utf8");
  await first.stop();
  await writeFile(pidFile, genuine.replace(/^\d+/, String(process.pid)));
  const second = await startContainerd(serverOptions(folder));
  expect(second.pid()).not.toBe(process.pid);
  await second.stop();
});
