/**
 * Task files on a node whose lock changes: nothing of a task is to be read without the key, whatever was
 * there before, and a crash at any operation on the file system leaves all of it readable with the keys
 * that are at hand then. The file system is the real one, behind a gate that shuts.
 */

import type * as fs from "node:fs/promises";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import fc from "fast-check";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { silentLog } from "#platform/log.ts";
import { realRandom } from "#platform/real-ports.ts";
import { type DataKey, dataKey } from "#platform/wal/key-ring.ts";
import { type Task, TaskSchema } from "#wire/gen/swarmkit/objects_pb.js";
import { TaskState, TaskStatusSchema } from "#wire/gen/swarmkit/types_pb.js";
import { formOf, OPEN_FORM, type TaskKeys } from "./task-file.ts";
import { openTaskStore, type TaskStore } from "./task-store.ts";

class Crashed extends Error {}

/** Operations that change the disk: how many there were, and before which one the process dies. */
const gate = vi.hoisted(() => ({ passed: 0, shutsAt: Number.POSITIVE_INFINITY }));

vi.mock("node:fs/promises", async (importOriginal) => {
  const real = await importOriginal<typeof fs>();
  const pass = () => {
    gate.passed += 1;
    if (gate.passed >= gate.shutsAt) throw new Crashed();
  };
  const gated = <A extends unknown[], R>(operation: (...args: A) => Promise<R>) => {
    return async (...args: A): Promise<R> => {
      pass();
      return await operation(...args);
    };
  };
  const open = async (...args: Parameters<typeof real.open>) => {
    if (args[1] !== "r") pass();
    const handle = await real.open(...args);
    const writeFile = handle.writeFile.bind(handle);
    const half = async (content: Uint8Array) => {
      pass();
      await writeFile(content.subarray(0, content.length / 2));
      pass();
      await writeFile(content.subarray(content.length / 2));
    };
    for (const name of ["write", "sync", "datasync"] as const) {
      Object.assign(handle, { [name]: gated(handle[name].bind(handle) as () => Promise<unknown>) });
    }
    return Object.assign(handle, { writeFile: half });
  };
  return {
    ...real,
    open,
    rename: gated(real.rename),
    rm: gated(real.rm),
    unlink: gated(real.unlink),
  };
});

const FIRST = dataKey(realRandom.bytes(32));
const SECOND = dataKey(realRandom.bytes(32));
const ENV = "DATABASE_PASSWORD=correct horse battery staple";
const AUTH = "cmVnaXN0cnkgY3JlZGVudGlhbHM=";
/** Longer than what is overwritten in place leaves room for, so that something would stay behind. */
const REASON = `the registry said ${"no ".repeat(300)}`;
const IDS = ["a", "b", "c"];

let directory: string;
beforeEach(async () => {
  gate.shutsAt = Number.POSITIVE_INFINITY;
  directory = await mkdtemp(join(tmpdir(), "skep-task-seal-"));
});
afterEach(async () => {
  gate.shutsAt = Number.POSITIVE_INFINITY;
  await rm(directory, { recursive: true, force: true });
});

/** The first is what new files are sealed with; `undefined`: they lie open. */
function keysOf(current: DataKey | undefined, ...earlier: readonly DataKey[]): TaskKeys {
  const all = current === undefined ? earlier : [current, ...earlier];
  return { current: () => current, find: (id) => all.find((key) => key.id === id) };
}

const opened = (keys?: TaskKeys) =>
  openTaskStore({ directory, keys, random: realRandom, log: silentLog });

function task(id: string): Task {
  const container = { image: "web", env: [ENV], pullOptions: { registryAuth: AUTH } };
  const runtime = { case: "container" as const, value: container };
  return create(TaskSchema, { id, serviceId: "s", spec: { runtime } });
}

/** Some tasks on disk, as a store with these keys leaves them. */
async function past(keys: TaskKeys | undefined): Promise<void> {
  const store = await opened(keys);
  for (const id of IDS) {
    await store.putTask(task(id));
    for (const err of [REASON, "short"]) {
      await store.putStatus(id, create(TaskStatusSchema, { state: TaskState.RUNNING, err }));
    }
  }
  await store.close();
}

async function load(keys: TaskKeys): Promise<void> {
  const store = await opened(keys);
  const tasks = await store.load();
  expect(tasks.map(({ id }) => id).sort()).toEqual(IDS);
  for (const { spec, status } of tasks) {
    const { value } = spec?.runtime ?? {};
    expect(value).toMatchObject({ env: [ENV], pullOptions: { registryAuth: AUTH } });
    expect(status).toMatchObject({ state: TaskState.RUNNING, err: "short" });
  }
  await store.close();
}

/** Forms of all files, and that the markers are in those that lie open only. */
async function formsOnDisk(): Promise<Set<string>> {
  const forms = new Set<string>();
  for (const name of await readdir(directory)) {
    const bytes = await readFile(join(directory, name));
    const isOpen = bytes.toString("latin1", 0, 4) === "STK2";
    forms.add(isOpen ? OPEN_FORM : bytes.toString("hex", 8, 16));
    if (!isOpen) for (const text of [ENV, AUTH, "no no"]) expect(bytes.includes(text)).toBe(false);
  }
  return forms;
}

const CHANGES = [
  { name: "locked", before: undefined, after: FIRST },
  { name: "locked anew", before: FIRST, after: SECOND },
  { name: "opened", before: FIRST, after: undefined },
];

test.each(CHANGES)(
  "$name while it runs: all files change their form",
  async ({ before, after }) => {
    let keys = keysOf(before);
    const store = await opened({ current: () => keys.current(), find: (id) => keys.find(id) });
    const status = create(TaskStatusSchema, { state: TaskState.RUNNING, err: "short" });
    for (const id of IDS) {
      await store.putTask(task(id));
      await store.putStatus(id, { ...status, err: REASON });
    }
    expect([...(await formsOnDisk())]).toEqual([formOf(before)]);
    // Writes are under way while it changes, and come after it.
    const under = IDS.map((id) => store.putStatus(id, { ...status, err: "under way" }));
    keys = before === undefined ? keysOf(after) : keysOf(after, before);
    const resealed = store.reseal();
    const later = IDS.map((id) => store.putStatus(id, status));
    await Promise.all([...under, resealed, ...later]);
    expect([...(await formsOnDisk())]).toEqual([formOf(after)]);
    await store.close();
    await load(keysOf(after));
  },
);

test.each(CHANGES)(
  "$name at a start: what an earlier program left is taken over",
  async (change) => {
    const { before, after } = change;
    await past(before === undefined ? undefined : keysOf(before));
    await writeFile(join(directory, "orphan.status"), ENV);
    await load(before === undefined ? keysOf(after) : keysOf(after, before));
    expect([...(await formsOnDisk())]).toEqual([formOf(after)]);
    await load(keysOf(after));
  },
);

test.each(CHANGES)("$name, with a crash before any operation", async ({ before, after }) => {
  const keys = before === undefined ? keysOf(after) : keysOf(after, before);
  const reseal = async () => {
    const store = await opened(keys);
    await store.load();
    await store.reseal();
  };
  await past(before === undefined ? undefined : keysOf(before));
  const begin = gate.passed;
  await reseal();
  const operations = gate.passed - begin;
  expect(operations).toBeGreaterThan(20);
  for (let at = 1; at <= operations; at++) {
    gate.shutsAt = Number.POSITIVE_INFINITY;
    for (const name of await readdir(directory)) await rm(join(directory, name));
    await past(before === undefined ? undefined : keysOf(before));
    gate.shutsAt = gate.passed + at;
    await reseal().catch((error: unknown) => expect(error).toBeInstanceOf(Crashed));
    gate.shutsAt = Number.POSITIVE_INFINITY;
    await load(keys);
    expect([...(await formsOnDisk())]).toEqual([formOf(after)]);
    await load(keysOf(after));
  }
});

/** A store of nothing yet, and its keys, which can be exchanged. */
async function changing(): Promise<{ store: TaskStore; lock: () => void }> {
  let keys = keysOf(undefined);
  const store = await opened({ current: () => keys.current(), find: (id) => keys.find(id) });
  return { store, lock: () => (keys = keysOf(FIRST)) };
}

test("a task that comes while it is locked is not left open", async () => {
  const { store, lock } = await changing();
  const written = store.putTask(task("a"));
  lock();
  await store.reseal();
  expect([...(await formsOnDisk())]).toEqual([FIRST.id]);
  await written;
});

test("of a longer status before the lock nothing stays behind a sealed one", async () => {
  const { store, lock } = await changing();
  await store.putTask(task("a"));
  const status = create(TaskStatusSchema, { state: TaskState.RUNNING, err: REASON });
  await store.putStatus("a", status);
  lock();
  await store.putStatus("a", { ...status, err: "short" });
  expect((await readFile(join(directory, "a.status"))).includes("no no")).toBe(false);
});

test("a deleted task does not come back with the change of the lock", async () => {
  const { store, lock } = await changing();
  const ids = Array.from({ length: 50 }, (_, n) => `t${n}`);
  await Promise.all(ids.map((id) => store.putTask(task(id))));
  lock();
  const resealed = store.reseal();
  // At every distance to the file that is being rewritten.
  for (const id of ids.toReversed()) await store.delete(id);
  await resealed;
  expect(await readdir(directory)).toEqual([]);
});

test("no byte of a sealed file may be another, and none stands for another task", async () => {
  const store = await opened(keysOf(FIRST));
  await store.putTask(task("a"));
  const path = join(directory, "a.task");
  const good = await readFile(path);
  const loaded = async () => (await (await opened(keysOf(FIRST))).load()).length;
  const at = fc.nat(good.length - 1);
  await fc.assert(
    fc.asyncProperty(at, fc.integer({ min: 1, max: 255 }), async (index, flip) => {
      const bad = Buffer.from(good);
      bad[index] = (bad[index] ?? 0) ^ flip;
      await writeFile(path, bad);
      expect(await loaded()).toBe(0);
    }),
    { numRuns: 50 },
  );
  await writeFile(join(directory, "b.task"), good);
  expect(await loaded()).toBe(0);
  await writeFile(path, good);
  expect(await loaded()).toBe(1);
  // With another key nothing of it is used.
  expect(await (await opened(keysOf(SECOND))).load()).toEqual([]);
});
