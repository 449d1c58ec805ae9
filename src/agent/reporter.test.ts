import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { EngineError } from "#base/error.ts";
import { deferred } from "#platform/async.ts";
import { silentLog } from "#platform/log.ts";
import { turn } from "#platform/testing/manual-clock.ts";
import { TaskState, type TaskStatus, TaskStatusSchema } from "#wire/gen/swarmkit/types_pb.js";
import { createReporter, type StatusUpdate } from "./reporter.ts";

const status = (state: TaskState): TaskStatus => create(TaskStatusSchema, { state });
const show = (updates: readonly StatusUpdate[]) =>
  updates.map(({ taskId, status: { state } }) => `${taskId}:${TaskState[state]}`).join(" ");

test("one call at a time, the newest status only, in order per task", async () => {
  const reporter = createReporter(silentLog);
  const calls: string[] = [];
  let answer = deferred();
  reporter.bind(async (updates) => {
    calls.push(show(updates));
    await answer.promise;
  });
  reporter.report("a", status(TaskState.PREPARING));
  reporter.report("a", status(TaskState.READY));
  reporter.report("b", status(TaskState.RUNNING));
  reporter.report("a", status(TaskState.RUNNING));
  await turn();
  expect(calls).toEqual(["a:PREPARING"]);
  answer.resolve();
  answer = deferred();
  await turn();
  expect(calls).toEqual(["a:PREPARING", "a:RUNNING b:RUNNING"]);
  answer.resolve();
  await turn();
  expect(reporter.waiting).toBe(0);
});

test("what a failed session has not taken goes to the next one", async () => {
  const reporter = createReporter(silentLog);
  reporter.bind(async () => {
    throw new EngineError("unavailable", "gone");
  });
  reporter.report("a", status(TaskState.RUNNING));
  await turn();
  expect(reporter.waiting).toBe(1);
  const calls: string[] = [];
  reporter.bind(async (updates) => void calls.push(show(updates)));
  await turn();
  expect(calls).toEqual(["a:RUNNING"]);
});

test("one task that the manager refuses does not keep back the others", async () => {
  const reporter = createReporter(silentLog);
  const taken: string[] = [];
  reporter.bind(async (updates) => {
    if (updates.some(({ taskId }) => taskId === "bad")) {
      throw new EngineError("permission-denied", "cannot update a task not assigned this node");
    }
    taken.push(show(updates));
  });
  reporter.reportAll(
    new Map([
      ["a", status(TaskState.RUNNING)],
      ["bad", status(TaskState.RUNNING)],
      ["c", status(TaskState.RUNNING)],
    ]),
  );
  await turn();
  expect(taken).toEqual(["a:RUNNING", "c:RUNNING"]);
  expect(reporter.waiting).toBe(0);
});
