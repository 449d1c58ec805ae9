import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { crc32, deflateRawSync } from "node:zlib";
import fc from "fast-check";
import { afterEach, beforeEach, expect, test } from "vitest";
import { EngineError } from "#base/error.ts";
import { packContext, unpackContext } from "./archive.ts";
import { type Described, endpointFrom, parsePairs } from "./spec.ts";
import { ContextStore } from "./store.ts";
import { zipEntries } from "./zip.ts";

let home: string;

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "skep-context-"));
});
afterEach(() => rmSync(home, { recursive: true, force: true }));

const META = {
  Name: "far",
  Metadata: { Description: "d", Other: 1 },
  Endpoints: { docker: { Host: "tcp://far:2376", SkipTLSVerify: false }, kubernetes: { X: 1 } },
};
const TLS = { docker: { "ca.pem": Buffer.from("a"), "key.pem": Buffer.from("k") } };

test("a context comes back as it was put, keys are for their owner, and it goes without a trace", async () => {
  const store = new ContextStore({ HOME: home });
  await store.put(META, TLS);
  expect([store.get("far"), store.tls("far")]).toEqual([META, TLS]);
  expect(statSync(join(store.tlsPath("far"), "docker/key.pem")).mode & 0o777).toBe(0o600);
  await store.put({ ...META, Metadata: {} });
  expect(store.tls("far")).toEqual(TLS);
  await store.put(META, { docker: { "ca.pem": Buffer.from("b") } });
  expect(store.tls("far")).toEqual({ docker: { "ca.pem": Buffer.from("b") } });
  expect(store.all()).toEqual([META]);
  await store.remove("far");
  expect([store.all(), readdirSync(join(home, ".docker/contexts/tls"))]).toEqual([[], []]);
});

test.each(["default", "x", "a b", "a/b", "../x", "-x"])("%s cannot be a name", (name) => {
  expect(() => new ContextStore({ HOME: home }).checkNew(name)).toThrow(EngineError);
});

const nothing = (): Described => {
  throw new EngineError("not-found", "there is none");
};
const endpoint = (...values: string[]) => endpointFrom(parsePairs(values), nothing);

test("--docker: pairs, quotes and repetition", () => {
  expect(parsePairs(["a=b,c=d=e", 'e="', '"x=1,2"'])).toEqual({
    a: "b",
    c: "d=e",
    e: '"',
    x: "1,2",
  });
  expect(endpoint("host=unix:///x", "skip-tls-verify=1")).toEqual({
    endpoint: { Host: "unix:///x", SkipTLSVerify: true },
    tls: {},
  });
  writeFileSync(join(home, "ca"), "pem");
  expect(endpoint(`host=tcp://h:1,ca=${home}/ca`).tls).toEqual({
    docker: { "ca.pem": Buffer.from("pem") },
  });
});

test.each([
  ["foo=bar", "unrecognized config key: foo"],
  ["foo", "foo must be formatted as key=value"],
  ["host=bar", "unable to parse docker host `bar`"],
  ["host=tcp://", "unable to parse docker host `tcp://`"],
  ["skip-tls-verify=maybe,host=tcp://h", 'skip-tls-verify: parsing "maybe": invalid syntax'],
  ["ca=/nosuch", "open /nosuch: no such file or directory"],
  ["host=ssh://u:p@h", "plain-text password"],
  ["from=gone", "there is none"],
])("--docker %s is refused", (value, why) => {
  expect(() => endpoint(value)).toThrow(why);
});

test("an archive holds all of a context, and nothing else", async () => {
  const archive = await packContext({ meta: META, tls: TLS });
  expect(await unpackContext(archive)).toEqual({ meta: META, tls: TLS });
  await expect(unpackContext(Buffer.from("no tar"))).rejects.toThrow(EngineError);
  const bad = { "../../x": { "ca.pem": Buffer.from("a") } };
  const foreign = await packContext({ meta: META, tls: bad });
  await expect(unpackContext(foreign)).rejects.toThrow("unexpected context file");
  await expect(
    unpackContext(await packContext({ meta: META, tls: { "..": TLS.docker } })),
  ).rejects.toThrow("unexpected context file");
});

/** A zip as Info-ZIP would write it. */
function zipOf(files: Readonly<Record<string, string>>, method: 0 | 8): Buffer {
  const locals: Buffer[] = [];
  const entries: Buffer[] = [];
  let at = 0;
  for (const [name, text] of Object.entries(files)) {
    const content = Buffer.from(text);
    const packed = method === 8 ? deflateRawSync(content) : content;
    const local = Buffer.alloc(30);
    local.writeUInt32LE(0x04034b50, 0);
    local.writeUInt16LE(name.length, 26);
    const entry = Buffer.alloc(46);
    entry.writeUInt32LE(0x02014b50, 0);
    entry.writeUInt16LE(method, 10);
    entry.writeUInt32LE(crc32?.(content) ?? 0, 16);
    entry.writeUInt32LE(packed.length, 20);
    entry.writeUInt32LE(content.length, 24);
    entry.writeUInt16LE(name.length, 28);
    entry.writeUInt32LE(at, 42);
    locals.push(local, Buffer.from(name), packed);
    entries.push(entry, Buffer.from(name));
    at += 30 + name.length + packed.length;
  }
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(Object.keys(files).length, 10);
  end.writeUInt32LE(at, 16);
  return Buffer.concat([...locals, ...entries, end]);
}

test.each([0, 8] as const)("a zip (method %i) is read, too", async (method) => {
  const zip = zipOf({ "meta.json": JSON.stringify(META), "tls/docker/ca.pem": "a" }, method);
  expect(await unpackContext(zip)).toEqual({
    meta: META,
    tls: { docker: { "ca.pem": Buffer.from("a") } },
  });
});

test("a zip that unpacks to too much is refused before it does", () => {
  const bomb = zipOf({ "meta.json": "0".repeat(11 * 1024 * 1024) }, 8);
  expect(bomb.length).toBeLessThan(100_000);
  expect(() => zipEntries(bomb)).toThrow("read exceeds the defined limit");
});

test("archives that are damaged in any way are refused or read, never worse", async () => {
  const sound = [
    zipOf({ "meta.json": JSON.stringify(META), "tls/docker/ca.pem": "a" }, 8),
    await packContext({ meta: META, tls: TLS }),
  ];
  const damage = fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { maxLength: 8 });
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...sound), damage, fc.nat(), async (archive, bytes, cut) => {
      const bad = Buffer.from(archive.subarray(0, archive.length - (cut % archive.length)));
      for (const [at, value] of bytes) bad[at % bad.length] = value;
      try {
        await unpackContext(bad);
      } catch (error) {
        if (!(error instanceof EngineError)) throw error;
      }
    }),
  );
});
