import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { afterEach, beforeEach, expect, test } from "vitest";
import { EngineError } from "#base/error.ts";
import { silentLog } from "#platform/log.ts";
import { ManualClock } from "#platform/testing/manual-clock.ts";
import { TablesMessageSchema, TablesMessage_Type as Type } from "#wire/gen/skep/dataplane_pb.js";
import { NodeTables } from "./node-tables.ts";
import type { DataPath } from "./ports.ts";
import { tablesFile } from "./tables-file.ts";

let directory: string;
let clock: ManualClock;
/** "PORT: NETWORK=TASK+TASK …" for each time that the data path was called. */
let seen: string[];
let dataPath: DataPath;
const never = new AbortController().signal;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "skep-tables-"));
  clock = new ManualClock();
  seen = [];
  dataPath = {
    setTables: async (tables, port) => {
      const shown = [...tables.values()].map(
        ({ networkId, endpoints }) =>
          `${networkId}=${endpoints.map(({ taskId }) => taskId).join("+")}`,
      );
      seen.push(`${port}: ${shown.join(" ")}`);
    },
  };
});

afterEach(() => rm(directory, { recursive: true, force: true }));

function open(): Promise<NodeTables> {
  const path = join(directory, "worker", "tables");
  return NodeTables.open({ file: tablesFile(path, silentLog), dataPath, clock, log: silentLog });
}

function message(init: MessageInitShape<typeof TablesMessageSchema>) {
  return create(TablesMessageSchema, { dataPathPort: 4790, ...init });
}

const COMPLETE = message({
  type: Type.COMPLETE,
  networks: [{ networkId: "net", endpoints: [{ taskId: "t1" }] }],
});
const CHANGE = message({
  type: Type.INCREMENTAL,
  changes: [{ networkId: "net", endpoints: [{ taskId: "t2" }] }],
});

test("the data path gets what messages add up to, and has it again after a restart", async () => {
  const tables = await open();
  await tables.apply(COMPLETE);
  await tables.apply(CHANGE);
  expect(seen).toEqual(["4790: net=t1", "4790: net=t1+t2"]);
  await tables.close();
  const again = await open();
  expect(seen.slice(2)).toEqual(["4790: net=t1+t2"]);
  await again.forget();
  await open();
  expect(seen).toHaveLength(3);
});

test("what takes a task out of the balance is on disk before it is acknowledged", async () => {
  const tables = await open();
  await tables.apply(COMPLETE);
  await tables.apply(CHANGE);
  const withdrawn = { taskId: "t1", withdrawn: true };
  await tables.apply(
    message({
      type: Type.INCREMENTAL,
      changes: [{ networkId: "net", endpoints: [withdrawn], removedEndpoints: ["t2"] }],
    }),
  );
  // This process is killed here: another begins with what the disk has.
  seen = [];
  await open();
  expect(seen).toEqual(["4790: net=t1"]);
  await tables.close();
});

test("what is on disk and cannot be read is passed over", async () => {
  const tables = await open();
  await tables.apply(COMPLETE);
  await tables.close();
  await writeFile(join(directory, "worker", "tables"), "\xff\xff\xff");
  seen = [];
  await open();
  expect(seen).toEqual([]);
});

test("a task is released once the kernel is what the message says", async () => {
  const tables = await open();
  tables.source("following");
  const released = tables.released("t1", never);
  let finish = (): void => undefined;
  dataPath.setTables = () => new Promise((resolve) => (finish = resolve));
  const applied = tables.apply(message({ releasedTasks: ["t1"] }));
  let answer = "";
  void released.then((release) => (answer = release));
  await clock.advance(1_000);
  expect(answer).toBe("");
  finish();
  await applied;
  expect(await released).toBe("released");
  expect(await tables.released("t1", never)).toBe("released");
});

test("waiting ends: soon without a manager, later with one, at once with one that cannot", async () => {
  const tables = await open();
  const answers: string[] = [];
  const ask = () => void tables.released("t1", never).then((release) => answers.push(release));
  await clock.advance(60_000);
  ask();
  await clock.advance(9_999);
  expect(answers).toEqual([]);
  await clock.advance(1);
  expect(answers).toEqual(["lost"]);
  tables.source("following");
  ask();
  await clock.advance(30_000);
  tables.source("lost");
  await clock.advance(9_999);
  tables.source("following");
  await clock.advance(20_000);
  expect(answers).toEqual(["lost"]);
  await clock.advance(1);
  expect(answers).toEqual(["lost", "late"]);
  tables.source("unsupported");
  ask();
  await clock.advance(0);
  expect(answers).toEqual(["lost", "late", "unsupported"]);
  expect(clock.pending).toBe(0);
});

test("waiting ends with the signal", async () => {
  const tables = await open();
  const stop = new AbortController();
  const released = tables.released("t1", stop.signal);
  stop.abort(new EngineError("cancelled", "not any more"));
  await expect(released).rejects.toThrow("not any more");
});
