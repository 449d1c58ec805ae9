import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { silentLog } from "#platform/log.ts";
import { realClock, realRandom } from "#platform/real-ports.ts";
import { createPluginRegistry } from "../plugins/registry.ts";
import { type HostVolumes, openVolumes } from "./volumes.ts";

const NO_PLUGINS = { sockets: "/nonexistent", specs: [] };

let root: string;
let volumes: HostVolumes;

function open(): Promise<HostVolumes> {
  return openVolumes({
    root,
    plugins: createPluginRegistry({ folders: NO_PLUGINS, clock: realClock, log: silentLog }),
    events: undefined,
    clock: realClock,
    random: realRandom,
    log: silentLog,
  });
}

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "skep-volumes-"));
  volumes = await open();
});

afterEach(() => rm(root, { recursive: true }));

test("a volume, its labels and its data survive a restart", async () => {
  const made = await volumes.create({ name: "data", labels: { a: "1" } });
  await writeFile(join(made.Mountpoint, "file"), "x");
  volumes = await open();
  const found = await volumes.inspect("data");
  expect(found).toEqual(made);
  expect(existsSync(join(found.Mountpoint, "file"))).toBe(true);
});

test("creating it again answers the same volume", async () => {
  const first = await volumes.create({ name: "data", labels: { a: "1" } });
  expect(await volumes.create({ name: "data" })).toEqual(first);
});

test("a used volume is not removed; a released one is, with its data", async () => {
  await volumes.create({ name: "data" });
  await volumes.hold("data", "c1");
  const path = await volumes.mount("data", "c1");
  await expect(volumes.remove("data", {})).rejects.toMatchObject({
    code: "conflict",
    message: "remove data: volume is in use - [c1]",
  });
  await volumes.release("data", "c1");
  await volumes.remove("data", {});
  expect(existsSync(path)).toBe(false);
  await expect(volumes.inspect("data")).rejects.toMatchObject({ code: "not-found" });
});

test.each([
  ["/abs", {}, /includes invalid characters/],
  ["../up", {}, /includes invalid characters/],
  ["data", { color: "red" }, /invalid option: "color"/],
  ["data", { type: "tmpfs" }, /missing required option: "device"/],
])("%s with %j is refused and changes nothing", async (name, driverOpts, message) => {
  await expect(volumes.create({ name, driverOpts })).rejects.toThrow(message);
  expect(await volumes.list(new Map())).toEqual([]);
});

test("filters: dangling, label, name; an unknown one is refused", async () => {
  await volumes.create({ name: "one", labels: { k: "v" } });
  await volumes.create({ name: "two" });
  await volumes.hold("two", "c");
  const names = async (filters: [string, string[]][]) =>
    (await volumes.list(new Map(filters))).map(({ Name }) => Name);
  expect(await names([["dangling", ["true"]]])).toEqual(["one"]);
  expect(await names([["label", ["k=v"]]])).toEqual(["one"]);
  expect(await names([["name", ["tw"]]])).toEqual(["two"]);
  expect(await names([["label", ["toString"]]])).toEqual([]);
  for (const key of ["nope", "constructor"]) {
    await expect(names([[key, ["x"]]])).rejects.toThrow(`invalid filter '${key}'`);
  }
});

test("prune takes anonymous volumes that nobody uses, and with all=true the named ones too", async () => {
  const anonymous = await volumes.create({});
  await volumes.create({ name: "named" });
  await volumes.create({ name: "used" });
  await volumes.hold("used", "c");
  await writeFile(join(anonymous.Mountpoint, "data"), "12345");
  expect(await volumes.prune(new Map())).toEqual({ names: [anonymous.Name], reclaimedBytes: 5 });
  expect((await volumes.prune(new Map([["all", ["true"]]]))).names).toEqual(["named"]);
});

test.each(["", "null", "{}", '{"name":"other","labels":{},"options":{}}'])(
  "a description of %j: nobody writes to what may be only the place of a disk",
  async (text) => {
    const made = await volumes.create({ name: "data" });
    await volumes.create({ name: "other" });
    await writeFile(join(root, "data/volume.json"), text);
    volumes = await open();
    const refusal = { code: "data-loss", message: expect.stringContaining("volume.json back") };
    await expect(volumes.create({ name: "data" })).rejects.toMatchObject(refusal);
    await expect(volumes.mount("data", "c1")).rejects.toMatchObject(refusal);
    expect((await volumes.list(new Map())).map(({ Name }) => Name)).toEqual(["other"]);
    expect(existsSync(made.Mountpoint)).toBe(true);
  },
);

test("what a crash left half made is removed at the next start", async () => {
  await mkdir(join(root, "half/_data"), { recursive: true });
  volumes = await open();
  expect(existsSync(join(root, "half"))).toBe(false);
});
