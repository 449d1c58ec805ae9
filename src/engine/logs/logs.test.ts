import { appendFile, mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { LogOptions } from "#engine/ports.ts";
import { silentLog } from "#platform/log.ts";
import { realClock } from "#platform/real-ports.ts";
import { JsonFileLog, type JsonFileOptions } from "./json-file.ts";
import { LINE_MAX_BYTES, LineSplitter } from "./line-splitter.ts";
import { parseLogConfig } from "./log-options.ts";
import { parseEntry, readLog } from "./log-reader.ts";
import { createNsClock, formatNs, parseNs } from "./timestamps.ts";

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "skep-logs-"));
});

afterEach(() => rm(folder, { recursive: true }));

function makeLog(options: Partial<JsonFileOptions> = {}): JsonFileLog {
  return new JsonFileLog({
    path: join(folder, "c-json.log"),
    maxBytes: Number.POSITIVE_INFINITY,
    maxFiles: 1,
    attributes: {},
    nowNs: createNsClock(realClock),
    log: silentLog,
    ...options,
  });
}

const ALL: LogOptions = { stdout: true, stderr: true, follow: false };

async function texts(log: JsonFileLog, options: Partial<LogOptions> = {}): Promise<string[]> {
  const lines: string[] = [];
  for await (const entry of readLog(log, { ...ALL, ...options })) {
    lines.push(Buffer.from(entry.line).toString());
  }
  return lines;
}

test("splitter: the bytes survive any cutting; only last parts of lines end in a feed", () => {
  const chunks = fc.array(
    fc.oneof(
      fc.string({ unit: "binary" }).map((text) => Buffer.from(text)),
      fc.nat(40_000).map((length) => Buffer.alloc(length, "é")),
      fc.constant(Buffer.from("\n")),
    ),
    { maxLength: 12 },
  );
  fc.assert(
    fc.property(chunks, (parts) => {
      const splitter = new LineSplitter();
      const lines = parts.flatMap((part) => splitter.push(part));
      const rest = splitter.end();
      if (rest !== undefined) lines.push(rest);
      expect(Buffer.concat(lines).equals(Buffer.concat(parts))).toBe(true);
      for (const line of lines) {
        expect(line.length).toBeGreaterThan(0);
        expect(line.length).toBeLessThanOrEqual(LINE_MAX_BYTES);
        expect(Buffer.from(line).subarray(0, -1).includes(0x0a)).toBe(false);
      }
    }),
  );
});

test("splitter: a long line is cut between characters", () => {
  const text = `a${"é".repeat(20_000)}\n`;
  const lines = new LineSplitter().push(Buffer.from(text));
  expect(lines.length).toBe(3);
  expect(lines.map((line) => Buffer.from(line).toString()).join("")).toBe(text);
});

test("what is written is read back, in order, with its streams", async () => {
  const log = makeLog();
  log.beginRun();
  await log.write("stdout", Buffer.from("one\ntw"));
  await log.write("stderr", Buffer.from("err\n"));
  await log.write("stdout", Buffer.from("o\nprompt> "));
  await log.endRun();
  expect(await texts(log)).toEqual(["one\n", "err\n", "two\n", "prompt> "]);
  expect(await texts(log, { stdout: false })).toEqual(["err\n"]);
  expect(await texts(log, { tail: 2 })).toEqual(["two\n", "prompt> "]);
  expect(await texts(log, { tail: 0 })).toEqual([]);
  expect(await texts(log, { tail: 99 })).toHaveLength(4);
});

test("rotation keeps the newest lines whole, tail counts across files", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 200, max: 2_000 }),
      fc.integer({ min: 1, max: 4 }),
      fc.array(fc.integer({ min: 0, max: 90 }), { maxLength: 60 }),
      fc.nat(70),
      async (maxBytes, maxFiles, lengths, tail) => {
        await rm(folder, { recursive: true, force: true });
        const log = makeLog({ maxBytes, maxFiles });
        const lines = lengths.map((length, i) => `${i}:${"x".repeat(length)}\n`);
        log.beginRun();
        for (const [i, line] of lines.entries()) {
          await log.write("stdout", Buffer.from(line));
          if (i % 5 === 0) await log.flush();
        }
        await log.endRun();
        const kept = await texts(log);
        expect(kept).toEqual(lines.slice(lines.length - kept.length));
        expect(await texts(log, { tail })).toEqual(tail === 0 ? [] : kept.slice(-tail));
        if (lines.length > 0) {
          expect((await readdir(folder)).length).toBeLessThanOrEqual(maxFiles);
        }
      },
    ),
    { numRuns: 30 },
  );
});

test("a follower sees every line across rotations, and ends with the run", async () => {
  const log = makeLog({ maxBytes: 400, maxFiles: 3 });
  log.beginRun();
  await log.write("stdout", Buffer.from("first\n"));
  const seen: string[] = [];
  const following = (async () => {
    for await (const entry of readLog(log, { ...ALL, follow: true })) {
      seen.push(Buffer.from(entry.line).toString().trim());
    }
  })();
  const expected = ["first"];
  for (let i = 0; i < 50; i++) {
    expected.push(`line ${i}`);
    await log.write("stdout", Buffer.from(`line ${i}\n`));
    await log.flush();
    const written = expected.length;
    while (seen.length < written) await new Promise((resolve) => setImmediate(resolve));
  }
  await log.endRun();
  await following;
  expect(seen).toEqual(expected);
  expect(log.generation).toBeGreaterThan(5);
});

test("a follower stops when it is told", async () => {
  const log = makeLog();
  log.beginRun();
  const abort = new AbortController();
  const reading = texts(log, { follow: true, signal: abort.signal });
  await log.write("stdout", Buffer.from("a\n"));
  await log.flush();
  abort.abort();
  expect((await reading).length).toBeLessThanOrEqual(1);
  await log.endRun();
});

test("since and until bound by time; damaged lines are passed over", async () => {
  let now = 1_000n;
  const log = makeLog({ nowNs: () => (now += 1_000n) });
  log.beginRun();
  for (const line of ["a\n", "b\n", "c\n"]) await log.write("stdout", Buffer.from(line));
  await log.flush();
  await appendFile(log.path, '{"log":"torn\n\0\0\n[]\nnull\n');
  await log.write("stdout", Buffer.from("d\n"));
  await log.endRun();
  expect(await texts(log)).toEqual(["a\n", "b\n", "c\n", "d\n"]);
  expect(await texts(log, { since: 3_000n, until: 4_000n })).toEqual(["b\n", "c\n"]);
});

test("a slow disk makes the writer ask for a pause", async () => {
  const log = makeLog();
  log.beginRun();
  const behind = log.write("stdout", Buffer.alloc(2 * 1024 * 1024, `${"x".repeat(99)}\n`));
  expect(behind).toBeInstanceOf(Promise);
  await behind;
  await log.endRun();
});

test("any bytes are an entry or undefined", () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.uint8Array(),
        fc.json().map((text) => Buffer.from(text)),
      ),
      (bytes) => {
        const entry = parseEntry(bytes);
        if (entry !== undefined) expect(["stdout", "stderr"]).toContain(entry.stream);
      },
    ),
  );
});

test("times: to text and back, foreign zones, strictly increasing", () => {
  fc.assert(
    fc.property(fc.bigInt({ min: 0n, max: 4_000_000_000_000_000_000n }), (ns) => {
      expect(parseNs(formatNs(ns))).toBe(ns);
    }),
  );
  expect(parseNs("2026-01-01T01:00:00.5+01:00")).toBe(parseNs("2026-01-01T00:00:00.500Z"));
  expect(parseNs("yesterday")).toBeUndefined();
  const now = createNsClock({ ...realClock, nowMs: () => 5, monotonicMs: () => 0.25 });
  expect([now(), now(), now()]).toEqual([5_250_000n, 5_250_001n, 5_250_002n]);
});

test.each([
  [{}, { driver: "json-file", maxBytes: Number.POSITIVE_INFINITY, maxFiles: 1 }],
  [
    { Config: { "max-size": "10m", "max-file": "3" } },
    { driver: "json-file", maxBytes: 10 * 1024 * 1024, maxFiles: 3 },
  ],
  [{ Type: "local" }, { driver: "local", maxBytes: 20 * 1024 * 1024, maxFiles: 5 }],
  [{ Type: "none" }, { driver: "none" }],
])("log options %o", (config, expected) => {
  expect(parseLogConfig(config, { labels: {}, env: [] })).toMatchObject(expected);
});

test.each([
  [{ Type: "splunk" }, "logger: no log driver named 'splunk' is registered"],
  [{ Config: { colour: "red" } }, "unknown log opt 'colour' for json-file log driver"],
  [{ Config: { "max-file": "0" } }, "max-file cannot be less than 1"],
  [{ Config: { "max-size": "lots" } }, "invalid value for max-size: 'lots'"],
])("log options refused: %o", (config, message) => {
  expect(() => parseLogConfig(config, { labels: {}, env: [] })).toThrow(message);
});
