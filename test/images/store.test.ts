import { buffer } from "node:stream/consumers";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { ImageUser } from "#engine/images/context.ts";
import { type ImageStore, openImageStore } from "#engine/images/store.ts";
import type { ProgressMessage } from "#engine/ports.ts";
import { silentLog } from "#platform/log.ts";
import { realClock, realRandom } from "#platform/real-ports.ts";
import {
  busyboxLayer,
  digestOf,
  dockerArchive,
  type ImageFixture,
  makeImage,
  makeTar,
  ociLayout,
  streamOf,
} from "./fixtures.ts";
import { makeScratch, type Scratch } from "./scratch.ts";

let scratch: Scratch;
let store: ImageStore;
let users: ImageUser[] = [];
let events: string[] = [];
let base: Buffer;
let top: Buffer;
let busybox: ImageFixture;
let derived: ImageFixture;

const none = new Map<string, string[]>();

beforeAll(async () => {
  scratch = await makeScratch();
  store = await openImageStore({
    containerd: scratch.containerd,
    snapshotter: "overlayfs",
    registry: { insecure: [], mirrors: [], maxDownloads: 3, maxUploads: 5 },
    certFolders: [],
    userAgent: "skep-test",
    clock: realClock,
    random: realRandom,
    log: silentLog,
    events: {
      publish: ({ Action, Actor }) =>
        void events.push(`${Action} ${Actor.Attributes["name"] ?? ""}`),
    },
  });
  store.setUsers(() => Promise.resolve(users));
  base = await busyboxLayer();
  top = await makeTar([
    { name: "app/", type: "directory" },
    { name: "app/data", content: "1" },
  ]);
  busybox = makeImage([base]);
  derived = makeImage(
    [base, top],
    { Cmd: ["/app"], Labels: { tier: "web" } },
    "2025-01-01T00:00:00Z",
  );
});

afterAll(async () => {
  await scratch?.remove();
});

beforeEach(async () => {
  users = [];
  await store.prune(new Map([["dangling", ["false"]]]));
  events = [];
});

async function load(archive: Uint8Array): Promise<ProgressMessage[]> {
  const messages: ProgressMessage[] = [];
  await store.load(streamOf(archive), (message) => messages.push(message));
  return messages;
}

async function loadBusybox(tags = ["busybox:latest"]): Promise<void> {
  await load(await dockerArchive([{ image: busybox, tags }]));
}

async function blobs(): Promise<string[]> {
  const found: string[] = [];
  for await (const { info } of scratch.containerd.content.list({})) {
    found.push(...info.map(({ digest }) => digest));
  }
  return found;
}

async function snapshots(): Promise<string[]> {
  const found: string[] = [];
  for await (const { info } of scratch.containerd.snapshots.list({ snapshotter: "overlayfs" })) {
    found.push(...info.map(({ name }) => name));
  }
  return found;
}

describe("load", () => {
  test("a docker archive: id, config and chain are docker's own; layers are shared", async () => {
    const messages = await load(
      await dockerArchive([
        { image: busybox, tags: ["busybox:latest", "registry.example/a/b:v1"] },
        { image: derived, tags: [] },
      ]),
    );
    const streams = messages.flatMap(({ stream }) => stream ?? []);
    expect(streams).toEqual([
      "Loaded image: busybox:latest\n",
      "Loaded image: registry.example/a/b:v1\n",
      `Loaded image ID: ${derived.id}\n`,
    ]);
    expect(await store.resolve("busybox")).toEqual({
      id: busybox.id,
      config: { Cmd: ["/bin/sh"], Env: ["PATH=/bin"] },
      chainId: digestOf(base),
      os: "linux",
      architecture: "amd64",
    });
    const chained = digestOf(`${digestOf(base)} ${digestOf(top)}`);
    expect((await store.resolve(derived.id)).chainId).toBe(chained);
    expect((await snapshots()).sort()).toEqual([digestOf(base), chained].sort());
    expect(events).toEqual([
      "load busybox:latest",
      "load registry.example/a/b:v1",
      `load ${derived.id}`,
    ]);
  });

  test("an archive packed with gzip, and an OCI layout with its name", async () => {
    await load(gzipSync(await dockerArchive([{ image: busybox, tags: ["zipped:1"] }])));
    expect((await store.resolve("zipped:1")).id).toBe(busybox.id);
    await load(await ociLayout(derived, "docker.io/library/layout:v2"));
    expect((await store.resolve("layout:v2")).id).toBe(derived.id);
  });

  test("a name that another image has moves, and that one stays, nameless", async () => {
    await loadBusybox();
    const messages = await load(
      await dockerArchive([{ image: derived, tags: ["busybox:latest"] }]),
    );
    expect(messages.flatMap(({ stream }) => stream ?? [])[0]).toBe(
      `The image busybox:latest already exists, renaming the old one with ID ${busybox.id} to empty string\n`,
    );
    const rows = await store.list({ filters: new Map([["dangling", ["true"]]]) });
    expect(rows.map(({ Id, RepoTags }) => [Id, RepoTags])).toEqual([[busybox.id, []]]);
    await loadBusybox(["again:1"]);
    expect(await store.list({ filters: new Map([["dangling", ["true"]]]) })).toEqual([]);
  });

  test("what a broken archive brought is not kept, and the message says what is wrong", async () => {
    const lying = { ...busybox, layers: [top] };
    const wrongLayer = await dockerArchive([{ image: lying, tags: ["bad:1"] }]);
    await expect(load(wrongLayer)).rejects.toThrow(/wrong diff id calculated on extraction/);
    await expect(load(Buffer.from("no tar at all"))).rejects.toThrow(/invalid image archive/);
    await expect(load(await makeTar([]))).rejects.toThrow(
      "invalid image archive: neither manifest.json nor index.json is in it",
    );
    const truncated = (await dockerArchive([{ image: busybox, tags: ["t:1"] }])).subarray(0, 5000);
    await expect(load(truncated)).rejects.toThrow(/invalid image archive/);
    await expect(load(Buffer.from("BZh91AY&SY"))).rejects.toThrow(/bzip2 is not supported/);
    const manifest = JSON.stringify([{ Config: "x.json", Layers: [], RepoTags: null }]);
    await expect(
      load(await makeTar([{ name: "manifest.json", content: manifest }])),
    ).rejects.toThrow("invalid image archive: the image config x.json is missing");
    await expect(store.resolve("bad:1")).rejects.toThrow("No such image: bad:1");
    expect(await store.list({ filters: none })).toEqual([]);
  });

  test("a blob of a layout must be what its name says", async () => {
    const layout = await ociLayout(busybox, "x:1");
    const text = layout.toString("latin1");
    const broken = Buffer.from(text.replace("PATH=/bin", "PATH=/bon"), "latin1");
    await expect(load(broken)).rejects.toThrow(/digest/);
  });
});

describe("names", () => {
  test("every way to name an image, and none that is not unique", async () => {
    await load(
      await dockerArchive([
        { image: busybox, tags: ["busybox:latest"] },
        { image: derived, tags: ["derived:1"] },
      ]),
    );
    const hex = busybox.id.slice(7);
    const names = ["busybox", "busybox:latest", "docker.io/library/busybox", hex, busybox.id];
    for (const name of [
      ...names,
      hex.slice(0, 12),
      busybox.id.slice(0, 19),
      `busybox@${busybox.id}`,
    ]) {
      expect((await store.resolve(name)).id).toBe(busybox.id);
    }
    for (const [name, shown] of [
      ["nobody", "nobody:latest"],
      ["busybox:2", "busybox:2"],
      ["derived", "derived:latest"],
      [`sha256:${"0".repeat(64)}`, `sha256:${"0".repeat(64)}`],
      [`derived@${busybox.id}`, `derived@${busybox.id}`],
    ]) {
      await expect(store.resolve(name ?? "")).rejects.toThrow(`No such image: ${shown}`);
    }
  });

  test("tag: adds a name, moves one, and refuses what is no name", async () => {
    await loadBusybox();
    await store.tag("busybox", "r.example:5000/copy", "v1");
    expect((await store.inspect(busybox.id)).RepoTags).toEqual([
      "busybox:latest",
      "r.example:5000/copy:v1",
    ]);
    await expect(store.tag("busybox", "Upper", "")).rejects.toThrow(/must be lowercase/);
    await expect(store.tag("busybox", "a", "b c")).rejects.toThrow("invalid reference format");
    await expect(store.tag("nobody", "a", "")).rejects.toThrow("No such image: nobody:latest");
    expect(events.at(-1)).toBe("tag r.example:5000/copy:v1");
  });
});

describe("inspect, history and list", () => {
  beforeEach(async () => {
    await load(
      await dockerArchive([
        { image: busybox, tags: ["busybox:latest", "r.example/x/y:1"] },
        { image: derived, tags: ["derived:1"] },
      ]),
    );
  });

  test("inspect shows docker's fields", async () => {
    const shown = await store.inspect("derived:1");
    expect(shown).toMatchObject({
      Id: derived.id,
      RepoTags: ["derived:1"],
      RepoDigests: [],
      Created: "2025-01-01T00:00:00Z",
      Os: "linux",
      Architecture: "amd64",
      GraphDriver: { Name: "overlayfs" },
      RootFS: { Type: "layers", Layers: [digestOf(base), digestOf(top)] },
      Config: { Cmd: ["/app"], Labels: { tier: "web" }, Entrypoint: null, Tty: false },
    });
    expect(shown.Size).toBeGreaterThan(500_000);
  });

  test("history: newest first, empty layers without size, the rest below is <missing>", async () => {
    const rows = await store.history("derived:1");
    expect(rows.map(({ Id, CreatedBy, Size, Tags }) => [Id, CreatedBy, Size > 0, Tags])).toEqual([
      [derived.id, "layer 1", true, ["derived:1"]],
      ["<missing>", "layer 0", true, null],
      ["<missing>", "/bin/sh -c #(nop) ENV PATH=/bin", false, null],
    ]);
  });

  test.each([
    [{}, ["derived", "busybox"]],
    [{ label: ["tier=web"] }, ["derived"]],
    [{ label: ["tier=db"] }, []],
    [{ "label!": ["tier"] }, ["busybox"]],
    [{ reference: ["busybox"] }, ["busybox"]],
    [{ reference: ["r.example/*/*"] }, ["busybox"]],
    [{ reference: ["r.example/*"] }, []],
    [{ before: ["derived:1"] }, ["busybox"]],
    [{ since: ["busybox"] }, ["derived"]],
    [{ until: ["2024-12-31"] }, ["busybox"]],
    [{ dangling: ["true"] }, []],
  ])("list with %j", async (filters, expected) => {
    const rows = await store.list({ filters: new Map(Object.entries(filters)) });
    const names = new Map([
      [busybox.id, "busybox"],
      [derived.id, "derived"],
    ]);
    expect(rows.map(({ Id }) => names.get(Id))).toEqual(expected);
  });

  test("a name pattern narrows the names shown; unknown filters are refused", async () => {
    const rows = await store.list({ filters: new Map([["reference", ["r.example/*/*:1"]]]) });
    expect(rows[0]?.RepoTags).toEqual(["r.example/x/y:1"]);
    await expect(store.list({ filters: new Map([["nope", ["1"]]]) })).rejects.toThrow(
      "invalid filter 'nope'",
    );
  });
});

describe("remove and prune", () => {
  test("the last name takes the image and its own layers, and the disk is free at once", async () => {
    await load(
      await dockerArchive([
        { image: busybox, tags: ["busybox:latest", "other:1"] },
        { image: derived, tags: ["derived:1"] },
      ]),
    );
    const chained = digestOf(`${digestOf(base)} ${digestOf(top)}`);
    expect(await store.remove("derived:1", { force: false })).toEqual([
      { Untagged: "derived:1" },
      { Deleted: derived.id },
      { Deleted: chained },
    ]);
    expect(await snapshots()).toEqual([digestOf(base)]);
    expect(await store.remove("busybox", { force: false })).toEqual([
      { Untagged: "busybox:latest" },
    ]);
    expect((await store.remove("other:1", { force: false })).at(-1)).toEqual({
      Deleted: digestOf(base),
    });
    expect(await snapshots()).toEqual([]);
    expect(await blobs()).toEqual([]);
    await expect(store.remove("other:1", { force: true })).rejects.toThrow(
      "No such image: other:1",
    );
  });

  test("an image of several repositories goes by its id only with force", async () => {
    await loadBusybox(["a:1", "b:1"]);
    const short = busybox.id.slice(7, 19);
    await expect(store.remove(short, { force: false })).rejects.toThrow(
      `conflict: unable to delete ${short} (must be forced) - image is referenced in multiple repositories`,
    );
    const items = await store.remove(short, { force: true });
    expect(items.slice(0, 3)).toEqual([
      { Untagged: "a:1" },
      { Untagged: "b:1" },
      { Deleted: busybox.id },
    ]);
  });

  test("a container keeps its image: refused, forced, and never under a running one", async () => {
    await loadBusybox();
    const short = busybox.id.slice(7, 19);
    users = [{ containerId: "c".repeat(64), imageId: busybox.id, running: false }];
    await expect(store.remove("busybox", { force: false })).rejects.toThrow(
      `conflict: unable to remove repository reference "busybox:latest" (must force) - container cccccccccccc is using its referenced image ${short}`,
    );
    await expect(store.remove(short, { force: false })).rejects.toThrow(
      `conflict: unable to delete ${short} (must be forced) - image is being used by stopped container cccccccccccc`,
    );
    users = [{ containerId: "c".repeat(64), imageId: busybox.id, running: true }];
    await expect(store.remove(short, { force: true })).rejects.toThrow(
      `conflict: unable to delete ${short} (cannot be forced) - image is being used by running container cccccccccccc`,
    );
    expect(await store.remove("busybox", { force: true })).toEqual([
      { Untagged: "busybox:latest" },
    ]);
    expect((await store.resolve(short)).id).toBe(busybox.id);
  });

  test("prune takes what is nameless, or all that nobody uses; used ones stay", async () => {
    await loadBusybox();
    await load(await dockerArchive([{ image: derived, tags: [] }]));
    const report = await store.prune(none);
    expect(report.ImagesDeleted?.[0]).toEqual({ Deleted: derived.id });
    expect(report.SpaceReclaimed).toBeGreaterThan(0);
    users = [{ containerId: "c", imageId: busybox.id, running: false }];
    const all = new Map([["dangling", ["false"]]]);
    expect((await store.prune(all)).ImagesDeleted).toBeNull();
    users = [];
    expect((await store.prune(all)).ImagesDeleted?.[0]).toEqual({ Untagged: "busybox:latest" });
  });
});

describe("save, import and commit", () => {
  test("what was saved loads again, the same id and names, docker's and OCI's way", async () => {
    await loadBusybox(["busybox:latest", "busybox:2"]);
    const archive = await buffer(await store.save(["busybox"]));
    await store.remove(busybox.id, { force: true });
    const loaded = await load(archive);
    expect(loaded.flatMap(({ stream }) => stream ?? [])).toEqual([
      "Loaded image: busybox:2\n",
      "Loaded image: busybox:latest\n",
    ]);
    expect((await store.resolve("busybox:2")).id).toBe(busybox.id);
    await expect(store.save(["busybox", "nobody"])).rejects.toThrow("No such image: nobody:latest");
  });

  test("import: one layer, changes applied, a platform", async () => {
    const id = await store.import(streamOf(gzipSync(base)), {
      reference: { domain: "docker.io", path: "library/imported", tag: "v1", digest: undefined },
      changes: ['CMD ["/bin/sh"]', "ENV A=1 B='two words'", "EXPOSE 80 53/udp", "WORKDIR /srv"],
      message: "made by hand",
      platform: "linux/arm64",
      source: "-",
    });
    const shown = await store.inspect("imported:v1");
    expect(shown).toMatchObject({
      Id: id,
      Comment: "made by hand",
      Architecture: "arm64",
      Config: {
        Cmd: ["/bin/sh"],
        Env: ["A=1", "B=two words"],
        ExposedPorts: { "80/tcp": {}, "53/udp": {} },
        WorkingDir: "/srv",
      },
      RootFS: { Layers: [digestOf(base)] },
    });
    const bad = { reference: undefined, message: "", platform: undefined, source: "-" };
    await expect(store.import(streamOf(base), { ...bad, changes: ["COPY a b"] })).rejects.toThrow(
      "copy is not a valid change command",
    );
    await expect(
      store.import(streamOf(base), { ...bad, changes: [], platform: "a/b/c/d" }),
    ).rejects.toThrow(/invalid OS or architecture/);
  });

  test("commit: what a container's snapshot changed is a layer on its image", async () => {
    await loadBusybox();
    const { chainId } = await store.resolve("busybox");
    const { snapshots } = scratch.containerd;
    const key = "container-1";
    const labels = { "containerd.io/gc.root": "1" };
    await snapshots.prepare({ snapshotter: "overlayfs", key, parent: chainId, labels });
    const id = await store.commit({
      parent: "busybox",
      snapshotKey: key,
      containerId: "c1",
      config: { Cmd: ["x"] },
      changes: ["LABEL a=b"],
      author: "me",
      comment: "done",
      reference: { domain: "docker.io", path: "library/made", tag: "1", digest: undefined },
    });
    const shown = await store.inspect("made:1");
    expect(shown).toMatchObject({
      Id: id,
      Author: "me",
      Config: { Labels: { a: "b" }, Cmd: ["x"] },
    });
    expect(shown.RootFS.Layers?.length).toBe(2);
    await snapshots.remove({ snapshotter: "overlayfs", key });
  });
});

test("an image whose snapshots another tool took is unpacked again when it is needed", async () => {
  await loadBusybox();
  const again = await openImageStore({
    containerd: scratch.containerd,
    snapshotter: "overlayfs",
    registry: { insecure: [], mirrors: [], maxDownloads: 1, maxUploads: 1 },
    certFolders: [],
    userAgent: "skep-test",
    clock: realClock,
    random: realRandom,
    log: silentLog,
  });
  await scratch.containerd.snapshots.remove({ snapshotter: "overlayfs", key: digestOf(base) });
  expect((await again.resolve("busybox")).chainId).toBe(digestOf(base));
  expect(await snapshots()).toEqual([digestOf(base)]);
});
