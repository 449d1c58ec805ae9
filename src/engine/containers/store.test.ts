import { mkdtemp, readdir, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { silentLog } from "#platform/log.ts";
import { type ContainerRecord, INITIAL_STATE, RECORD_VERSION, type RunState } from "./record.ts";
import { ContainerStore } from "./store.ts";

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "skep-containers-"));
});
afterEach(() => rm(root, { recursive: true, force: true }));

const record = { version: RECORD_VERSION, id: "c1", name: "web" } as ContainerRecord;

async function reload(): Promise<RunState | undefined> {
  const { containers } = await new ContainerStore(root).load(silentLog);
  return containers[0]?.state;
}

test("what has only been created has no state yet", async () => {
  await new ContainerStore(root).create(record);
  expect(await reload()).toEqual(INITIAL_STATE);
  expect(await readdir(join(root, "containers/c1"))).toEqual(["config.json"]);
});

test("the last state comes back, whatever sizes were written before, by whichever process", async () => {
  let store = new ContainerStore(root);
  await store.create(record);
  const long = (length: number): RunState => ({ ...INITIAL_STATE, error: "é".repeat(length) });
  for (const length of [10, 1000, 0, 1900, 3000, 5, 4000, 6, 7]) {
    await store.saveState("c1", long(length));
    expect(await reload(), String(length)).toEqual(long(length));
    if (length === 4000) store = new ContainerStore(root);
    if (length === 4000) await store.load(silentLog);
  }
  await Promise.all([1, 2, 3, 4].map((length) => store.saveState("c1", long(length))));
  expect(await reload()).toEqual(long(4));
});

test("a state that cannot be written waits, and the newest one is written when there is room", async () => {
  const store = new ContainerStore(root);
  await store.create(record);
  // The device that is always full; a write that fails removes what it was to write to.
  const fill = () => symlink("/dev/full", store.filePath("c1", "state.json.tmp"));
  const state = (exitCode: number): RunState => ({ ...INITIAL_STATE, phase: "exited", exitCode });
  for (const exitCode of [1, 2]) {
    await fill();
    await store.keepState("c1", state(exitCode), silentLog);
  }
  await fill();
  await expect(store.writeRest()).rejects.toMatchObject({ code: "resource-exhausted" });
  expect(await reload()).toEqual(INITIAL_STATE);
  await store.writeRest();
  expect(await reload()).toEqual(state(2));
  await store.saveState("c1", state(3));
  await store.writeRest();
  expect(await reload()).toEqual(state(3));
});

test("a folder without a configuration is removed, and its volumes are named", async () => {
  const store = new ContainerStore(root);
  await store.announceVolumes("c1", ["v1"]);
  await writeFile(store.filePath("c1", "config.json.tmp"), '{"version":');
  expect(await new ContainerStore(root).load(silentLog)).toEqual({
    containers: [],
    abandonedVolumes: ["v1"],
    damaged: [],
  });
  expect(await readdir(join(root, "containers"))).toEqual([]);
});

test.each(["", "{", "null", "[]", '{"version":99,"id":"c1"}', '{"version":1,"id":"c2"}'])(
  "a configuration of %j is told, and nothing is removed",
  async (text) => {
    const store = new ContainerStore(root);
    await store.announceVolumes("c1", ["v1"]);
    await writeFile(store.filePath("c1", "config.json"), text);
    const found = await new ContainerStore(root).load(silentLog);
    expect(found).toEqual({ containers: [], abandonedVolumes: [], damaged: ["c1"] });
    expect(await readdir(store.folder("c1"))).toEqual(["config.json", "volumes.json"]);
  },
);
