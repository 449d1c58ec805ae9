import { mkdtemp, readdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import fc from "fast-check";
import { afterEach, beforeEach, expect, test } from "vitest";
import { silentLog } from "#platform/log.ts";
import { realRandom } from "#platform/real-ports.ts";
import { type Task, TaskSchema } from "#wire/gen/swarmkit/objects_pb.js";
import { TaskState, type TaskStatus, TaskStatusSchema } from "#wire/gen/swarmkit/types_pb.js";
import type { TaskKeys } from "./task-file.ts";
import { openTaskStore } from "./task-store.ts";

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "skep-task-store-"));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

const opened = (keys?: TaskKeys) =>
  openTaskStore({ directory, keys, random: realRandom, log: silentLog });
const task = (id: string): Task =>
  create(TaskSchema, { id, serviceId: "s", status: { state: TaskState.ASSIGNED } });
const status = (state: TaskState): TaskStatus => create(TaskStatusSchema, { state });

async function reload(): Promise<Map<string, TaskState | undefined>> {
  const tasks = await (await opened()).load();
  return new Map(tasks.map(({ id, status }) => [id, status?.state]));
}

test("tasks come back with their newest status", async () => {
  const store = await opened();
  await store.putTask(task("a"));
  await store.putTask(task("b"));
  await store.putStatus("a", status(TaskState.PREPARING));
  await store.putStatus("a", status(TaskState.RUNNING));
  expect(await reload()).toEqual(
    new Map([
      ["a", TaskState.RUNNING],
      ["b", TaskState.ASSIGNED],
    ]),
  );
});

test("a status that is shorter than the one before, or longer than a page, is whole", async () => {
  const store = await opened();
  await store.putTask(task("a"));
  for (const length of [0, 3000, 1, 5000, 2]) {
    const err = "x".repeat(length);
    await store.putStatus("a", { ...status(TaskState.RUNNING), err });
    const [loaded] = await (await opened()).load();
    expect(loaded?.status?.err).toBe(err);
  }
});

test("many writes at once leave the last one, and no temporary files", async () => {
  const store = await opened();
  const states = [TaskState.ACCEPTED, TaskState.PREPARING, TaskState.READY, TaskState.RUNNING];
  await Promise.all(
    Array.from({ length: 20 }, (_, n) => `t${n}`).flatMap((id) => [
      store.putTask(task(id)),
      ...states.map((state) => store.putStatus(id, status(state))),
    ]),
  );
  await store.close();
  const loaded = await reload();
  expect(loaded.size).toBe(20);
  expect([...loaded.values()].every((state) => state === TaskState.RUNNING)).toBe(true);
  expect((await readdir(directory)).filter((name) => name.endsWith(".tmp"))).toEqual([]);
});

test("a deleted task stays deleted, whatever is written about it later", async () => {
  const store = await opened();
  const written = store.putTask(task("a"));
  const late = store.putStatus("a", status(TaskState.RUNNING));
  await store.delete("a");
  await Promise.allSettled([written, late]);
  await store.putStatus("a", status(TaskState.COMPLETE));
  expect(await readdir(directory)).toEqual([]);
});

test("a torn status falls back to the assignment; a torn assignment is dropped", async () => {
  const store = await opened();
  for (const id of ["a", "b"]) {
    await store.putTask(task(id));
    await store.putStatus(id, status(TaskState.RUNNING));
  }
  await truncate(join(directory, "a.status"), 9);
  await truncate(join(directory, "b.task"), 0);
  await writeFile(join(directory, "c.task.tmp"), "half");
  expect(await reload()).toEqual(new Map([["a", TaskState.ASSIGNED]]));
});

test("no byte may be flipped unnoticed", async () => {
  const store = await opened();
  await store.putTask(task("a"));
  const path = join(directory, "a.task");
  const good = await readFile(path);
  await fc.assert(
    fc.asyncProperty(
      fc.nat(good.length - 1),
      fc.integer({ min: 1, max: 255 }),
      async (at, flip) => {
        const bad = Buffer.from(good);
        bad[at] = (bad[at] ?? 0) ^ flip;
        await writeFile(path, bad);
        expect(await reload()).toEqual(new Map());
      },
    ),
    { numRuns: 50 },
  );
});

test("an id that is not one cannot name a file", async () => {
  const store = await opened();
  await expect(store.putTask(task("../../etc/passwd"))).rejects.toThrow("invalid task id");
});
