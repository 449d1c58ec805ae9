import { appendFile, mkdtemp, readdir, rm, symlink, truncate } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { LogOptions } from "#engine/ports.ts";
import { silentLog } from "#platform/log.ts";
import { realClock } from "#platform/real-ports.ts";
import { encodeJournal } from "./journal-format.ts";
import { JsonFileLog, type JsonFileOptions } from "./json-file.ts";
import { LINE_MAX_BYTES, LineSplitter } from "./line-splitter.ts";
import { type LogSubject, parseLogConfig } from "./log-options.ts";
import { parseEntry, readLog } from "./log-reader.ts";
import { formatSyslog, parseSyslogAddress } from "./syslog-format.ts";
import { createNsClock, formatNs, parseNs } from "./timestamps.ts";

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "skep-logs-"));
});

// The last round of a property may have left none.
afterEach(() => rm(folder, { recursive: true, force: true }));

function makeLog(options: Partial<JsonFileOptions> = {}): JsonFileLog {
  return new JsonFileLog({
    path: join(folder, "c-json.log"),
    maxBytes: Number.POSITIVE_INFINITY,
    maxFiles: 1,
    attributes: {},
    compress: false,
    dropBeyondBytes: undefined,
    openForwarder: undefined,
    nowNs: createNsClock(realClock),
    log: silentLog,
    ...options,
  });
}

const SUBJECT: LogSubject = {
  id: "0123456789abcdef0123456789abcdef",
  name: "web",
  imageId: "sha256:fedcba9876543210fedc",
  imageName: "busybox:1",
  command: "sh -c true",
  daemonName: "host",
  labels: { "com.example/role": "front" },
  env: ["A=1", "SECRET=x"],
};

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

test("a line that was cut off at the end costs none but itself", async () => {
  const log = makeLog();
  await appendFile(log.path, '{"log":"torn');
  log.beginRun();
  await log.write("stdout", Buffer.from("whole\n"));
  await log.endRun();
  expect(await texts(log)).toEqual(["whole\n"]);
});

test("no room: told once, the container goes on, and so does its log when there is room", async () => {
  const told: string[] = [];
  const note = (level: string) => (message: string) => told.push(`${level} ${message}`);
  const log = makeLog({
    log: { ...silentLog, error: note("error"), warn: note("warn") },
  });
  await symlink("/dev/full", log.path);
  log.beginRun();
  for (const line of ["a\n", "b\n"]) {
    await log.write("stdout", Buffer.from(line));
    await log.flush();
  }
  expect(told).toEqual(["error container output cannot be logged and is lost"]);
  await rm(log.path);
  await log.write("stdout", Buffer.from("c\n"));
  await log.endRun();
  expect(told.slice(1)).toEqual(["warn container output is logged again"]);
  expect(await texts(log)).toEqual(["c\n"]);
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
  expect(parseLogConfig(config, SUBJECT)).toMatchObject(expected);
});

test.each([
  [{ Type: "splunk" }, 'plugin "splunk" not found'],
  [{ Config: { colour: "red" } }, "unknown log opt 'colour' for json-file log driver"],
  [{ Config: { "max-file": "0" } }, "max-file cannot be less than 1"],
  [{ Config: { "max-size": "lots" } }, "invalid value for max-size: 'lots'"],
])("log options refused: %o", (config, message) => {
  expect(() => parseLogConfig(config, SUBJECT)).toThrow(message);
});

test("packed rotated files are read like any other, and counted as one generation each", async () => {
  const log = makeLog({ maxBytes: 500, maxFiles: 4, compress: true });
  log.beginRun();
  for (let i = 0; i < 60; i++) {
    await log.write("stdout", Buffer.from(`line ${i}\n`));
    await log.flush();
  }
  await log.endRun();
  const names = (await readdir(folder)).sort();
  expect(names.filter((name) => name.endsWith(".gz"))).toHaveLength(3);
  expect(names.filter((name) => /\.\d$|tmp|read/.test(name))).toEqual([]);
  const lines = await texts(log);
  expect(lines.at(-1)).toBe("line 59\n");
  const first = Number(/\d+/.exec(lines[0] ?? "")?.[0]);
  expect(first).toBeGreaterThan(0);
  expect(lines).toEqual(Array.from({ length: 60 - first }, (_, i) => `line ${first + i}\n`));
  expect(await texts(log, { tail: 8 })).toEqual(lines.slice(-8));
  await log.remove();
  expect(await readdir(folder)).toEqual([]);
});

test("non-blocking: the container never waits, and what does not fit is dropped", async () => {
  const log = makeLog({ dropBeyondBytes: 10_000 });
  log.beginRun();
  const chunk = Buffer.from("a line of some length\n".repeat(100_000));
  expect(log.write("stdout", chunk)).toBeUndefined();
  await log.endRun();
  const kept = (await texts(log)).length;
  expect(kept).toBeGreaterThan(10);
  expect(kept).toBeLessThan(1_000);
});

test("tags and attributes follow docker's templates; unknown fields are refused", () => {
  const tagOf = (tag: string) =>
    parseLogConfig({ Config: { tag, labels: "com.example/role", env: "A" } }, SUBJECT).attributes;
  expect(tagOf("{{.Name}}/{{.ID}}")).toEqual({
    "com.example/role": "front",
    A: "1",
    tag: "web/0123456789ab",
  });
  expect(tagOf("{{ .ImageName }} {{.ImageID}} {{.FullID}}")["tag"]).toBe(
    `busybox:1 fedcba987654 ${SUBJECT.id}`,
  );
  expect(() => tagOf("{{.Nope}}")).toThrow('invalid tag: ".Nope"');
});

test("syslog: addresses, facilities and formats", () => {
  expect(parseSyslogAddress("udp://10.0.0.1")).toMatchObject({ host: "10.0.0.1", port: 514 });
  expect(parseSyslogAddress("tcp+tls://[fe80::1]:6514")).toMatchObject({
    kind: "tcp+tls",
    host: "fe80::1",
    port: 6514,
  });
  expect(parseSyslogAddress("unixgram:///dev/log")).toMatchObject({ path: "/dev/log" });
  expect(() => parseSyslogAddress("http://x")).toThrow("unsupported syslog address: http://x");
  const config = (Config: Record<string, string>) =>
    parseLogConfig({ Type: "syslog", Config }, SUBJECT).forward;
  expect(config({ "syslog-facility": "local3" })).toMatchObject({ facility: 19, format: "unix" });
  expect(config({})).toMatchObject({ facility: 3, tag: "0123456789ab" });
  expect(() => config({ "syslog-facility": "loud" })).toThrow("invalid syslog facility: loud");
  expect(() => config({ "max-size": "1m" })).toThrow("unknown log opt 'max-size' for syslog");
  const timeNs = 1_700_000_000_123_456_789n;
  const format = (name: "unix" | "rfc3164" | "rfc5424micro") =>
    formatSyslog(
      { format: name, facility: 3, hostname: "h", tag: "web", pid: 7 },
      { stream: "stderr", timeNs, text: "oh no" },
    );
  expect(format("unix")).toMatch(/^<27>Nov 1[45] \d\d:\d\d:20 web\[7\]: oh no$/);
  expect(format("rfc3164")).toMatch(/^<27>Nov 1[45] \d\d:\d\d:20 h web\[7\]: oh no$/);
  expect(format("rfc5424micro")).toBe("<27>1 2023-11-14T22:13:20.123456Z h web 7 web - oh no");
});

test("journal: a field a line, and its length before what has line feeds", () => {
  const { forward } = parseLogConfig(
    { Type: "journald", Config: { labels: "com.example/role", tag: "{{.Name}}" } },
    SUBJECT,
  );
  if (forward?.kind !== "journald") throw new Error("not the journal");
  const line = { stream: "stdout", timeNs: 1_700_000_000_000_000_001n, partial: false } as const;
  const plain = Buffer.from(encodeJournal(forward.fields, { ...line, text: "hi" })).toString();
  for (const field of [
    "MESSAGE=hi",
    "PRIORITY=6",
    "CONTAINER_NAME=web",
    "CONTAINER_ID=0123456789ab",
    "CONTAINER_TAG=web",
    "COM_EXAMPLE_ROLE=front",
    "SYSLOG_TIMESTAMP=2023-11-14T22:13:20.000000001Z",
  ]) {
    expect(plain.split("\n")).toContain(field);
  }
  const two = Buffer.from(encodeJournal({}, { ...line, text: "a\nb" }));
  expect(two.subarray(0, 20).toString("latin1")).toBe("MESSAGE\n\x03\0\0\0\0\0\0\0a\nb\n");
});

test("a follower goes on after the file was cut short by hand", async () => {
  const log = makeLog();
  log.beginRun();
  const lines = readLog(log, { ...ALL, follow: true });
  const next = async () => Buffer.from((await lines.next()).value?.line ?? "").toString();
  await log.write("stdout", Buffer.from("one line that is long\n"));
  expect(await next()).toBe("one line that is long\n");
  await log.flush();
  await truncate(log.path, 0);
  await log.write("stdout", Buffer.from("two\n"));
  expect(await next()).toBe("two\n");
  await log.write("stdout", Buffer.from("three\n"));
  await log.endRun();
  expect(await next()).toBe("three\n");
  expect((await lines.next()).done).toBe(true);
});
