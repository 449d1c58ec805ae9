/**
 * Log and snapshots with a crash after every single operation on the file system, and again while
 * they are opened after it. What was acknowledged is there; what was under way is there wholly or
 * not at all; and the log goes on from what it says.
 */

import { expect, test } from "vitest";
import { realRandom } from "#platform/real-ports.ts";
import { dataKey, keyRing } from "#platform/wal/key-ring.ts";
import type { SnapshotContent } from "#platform/wal/snapshot-files.ts";
import { checksum } from "#platform/wal/snapshot-writer.ts";
import { Crashed, CrashFs } from "#platform/wal/testing/crash-fs.ts";
import type { Entry, SnapshotMetadata } from "#raft/index.ts";
import { type Disk, openDisk } from "./disk.ts";
import type { Loaded } from "./replayed-log.ts";
import type { StoredSnapshot } from "./stored-snapshot.ts";

const keys = keyRing([dataKey(realRandom.bytes(32))]);
const self = { raftId: 5, nodeId: "me", addr: "me:1" };
const VOTERS = {
  voters: [5],
  learners: [],
  votersOutgoing: [],
  learnersNext: [],
  autoLeave: false,
};
/** Several chunks of a snapshot. */
const CHUNK_BYTES = 256;
const DATA_BYTES = 2100;
/** Crashes tried after each operation, each with other luck. */
const LUCKS = 3;

/** What the log says, as far as it is ever acknowledged. */
interface Model {
  readonly term: number;
  readonly snapshot: number;
  /** Terms of the entries after the snapshot. */
  readonly terms: readonly number[];
}

type Step =
  | {
      readonly kind: "append";
      readonly from: number;
      readonly count: number;
      readonly term: number;
    }
  | { readonly kind: "snapshot"; readonly index: number; readonly replaces: boolean };

/** Appends, overwritten tails, own snapshots and the leader's; several segments of 4 kB. */
const STEPS: readonly Step[] = [
  { kind: "append", from: 1, count: 3, term: 1 },
  { kind: "append", from: 4, count: 12, term: 1 },
  { kind: "append", from: 10, count: 2, term: 2 },
  { kind: "snapshot", index: 6, replaces: false },
  { kind: "append", from: 12, count: 9, term: 2 },
  { kind: "append", from: 21, count: 9, term: 2 },
  { kind: "snapshot", index: 24, replaces: false },
  { kind: "append", from: 30, count: 1, term: 3 },
  { kind: "snapshot", index: 40, replaces: true },
  { kind: "append", from: 41, count: 10, term: 4 },
  { kind: "snapshot", index: 45, replaces: false },
  { kind: "append", from: 51, count: 2, term: 4 },
];

function after(model: Model, step: Step): Model {
  const { terms, snapshot } = model;
  if (step.kind === "append") {
    const kept = terms.slice(0, step.from - snapshot - 1);
    const added = Array.from({ length: step.count }, () => step.term);
    return { ...model, term: step.term, terms: [...kept, ...added] };
  }
  return {
    ...model,
    snapshot: step.index,
    terms: step.replaces ? [] : terms.slice(step.index - snapshot),
  };
}

async function take(disk: Disk, model: Model, step: Step): Promise<void> {
  if (step.kind === "append") {
    const { term, from, count } = step;
    const entries = Array.from(
      { length: count },
      (_, i): Entry => ({ term, index: from + i, type: "normal", data: new Uint8Array(300) }),
    );
    await disk.append(entries, { term, vote: 5, commit: model.snapshot });
    return;
  }
  const { index, replaces } = step;
  const about: SnapshotMetadata = { confState: VOTERS, index, term: model.term };
  if (replaces) await takeLeaders(disk, about);
  else await disk.saveSnapshot(about, [dataOf(index)], { keepOld: 0 });
}

function dataOf(index: number): Uint8Array {
  return new Uint8Array(DATA_BYTES).fill(index);
}

function textOf(index: number): string {
  return Buffer.from(dataOf(index)).toString("latin1");
}

function contentOf(index: number): SnapshotContent {
  const data = dataOf(index);
  return { id: "5a".repeat(16), length: data.length, crc: checksum(data, 0) };
}

/** A leader's snapshot, whose stream breaks once more on the way than it has to. */
async function takeLeaders(disk: Disk, about: SnapshotMetadata): Promise<void> {
  const content = contentOf(about.index);
  const data = dataOf(about.index);
  for (const until of [5 * CHUNK_BYTES + 100, DATA_BYTES]) {
    const from = await disk.heldOf(about, content);
    const receiver = await disk.receiveSnapshot(about, content, from);
    for (let at = from; at < until; at += 333) {
      await receiver.append(data.subarray(at, Math.min(at + 333, until)));
    }
    if (until === DATA_BYTES) await receiver.finish();
    else await receiver.suspend();
  }
  const arrived = await disk.openArrived(about);
  expect(await bytesOf(arrived)).toBe(textOf(about.index));
  await disk.adoptSnapshot(about);
}

async function bytesOf(stored: StoredSnapshot | undefined): Promise<string> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stored?.chunks() ?? []) chunks.push(chunk);
  await stored?.close();
  return Buffer.concat(chunks).toString("latin1");
}

async function opened(fs: CrashFs): Promise<{ disk: Disk; loaded: Loaded }> {
  return await openDisk({
    dir: "/raft",
    keys,
    random: realRandom,
    segmentBytes: 4096,
    chunkBytes: CHUNK_BYTES,
    fs: fs.port,
    onFailure: () => undefined,
  });
}

function modelOf({ hardState, snapshot, entries }: Loaded): Model {
  return {
    term: hardState.term,
    snapshot: snapshot?.metadata.index ?? 0,
    terms: entries.map(({ term }) => term),
  };
}

/** Runs the steps; how far it came before the crash. */
async function live(fs: CrashFs): Promise<{ done: Model; underWay: Model }> {
  let done: Model = { term: 0, snapshot: 0, terms: [] };
  let underWay = done;
  try {
    const { disk } = await opened(fs);
    await disk.identify(self);
    for (const step of STEPS) {
      underWay = after(done, step);
      await take(disk, done, step);
      done = underWay;
    }
    await disk.close();
  } catch (error) {
    if (!wasCrash(error)) throw error;
  }
  return { done, underWay };
}

function wasCrash(error: unknown): boolean {
  return error instanceof Crashed || (error instanceof Error && wasCrash(error.cause));
}

/** Numbers that look random and are the same in every run. */
function chanceOf(seed: number): () => number {
  let state = seed + 1;
  return () => {
    state = (state * 48_271) % 2_147_483_647;
    return state / 2_147_483_647;
  };
}

async function operationsOf(work: (fs: CrashFs) => Promise<unknown>): Promise<number> {
  const fs = new CrashFs(() => 0);
  await work(fs);
  return fs.operations;
}

test("whatever operation a crash comes in, what was acknowledged is there", async () => {
  const operations = await operationsOf(live);
  expect(operations).toBeGreaterThan(60);
  let resumed = 0;
  for (let at = 1; at <= operations; at++) {
    for (let luck = 0; luck < LUCKS; luck++) {
      const fs = new CrashFs(chanceOf(at * LUCKS + luck));
      fs.crashAt(at);
      const { done, underWay } = await live(fs);
      fs.restart();
      // Opening may be cut off as well, at any of its own operations.
      const before = fs.operations;
      fs.crashAt(before + 1 + (at % 4));
      await opened(fs).catch((error: unknown) => {
        if (!wasCrash(error)) throw error;
      });
      fs.restart();
      const { disk, loaded } = await opened(fs);
      const found = modelOf(loaded);
      expect([done, underWay], `crash at operation ${at}, luck ${luck}`).toContainEqual(found);
      if (found.snapshot > 0) {
        expect(await bytesOf(loaded.snapshot)).toBe(textOf(found.snapshot));
      }
      // Of the older snapshots at most the one that was to be deleted is left, for the next to take.
      expect(fs.paths().filter((path) => path.endsWith(".snap")).length).toBeLessThanOrEqual(2);
      const partials = fs.paths().filter((path) => path.endsWith(".part"));
      expect(partials.length).toBeLessThanOrEqual(1);
      if (partials.length > 0) resumed += 1;
      const next = found.snapshot + found.terms.length + 1;
      const append: Step = { kind: "append", from: next, count: 12, term: 9 };
      await take(disk, found, append);
      // Whatever is left of the leader's snapshot is gone on with, or begun anew.
      const leaders: Step = { kind: "snapshot", index: 40, replaces: true };
      const isUseful = found.snapshot < leaders.index;
      if (isUseful) await take(disk, found, leaders);
      await disk.close();
      const again = await opened(fs);
      const appended = after(found, append);
      expect(modelOf(again.loaded)).toEqual(isUseful ? after(appended, leaders) : appended);
      if (isUseful) expect(await bytesOf(again.loaded.snapshot)).toBe(textOf(40));
      expect(fs.paths().filter((path) => path.endsWith(".part"))).toEqual([]);
      await again.disk.close();
    }
  }
  expect(resumed).toBeGreaterThan(10);
}, 60_000);

test("an acknowledgement before the disk has it would be noticed", async () => {
  // The negative control: the same run over a disk that says yes at once.
  let lost = 0;
  for (let luck = 0; luck < 20; luck++) {
    const fs = new CrashFs(chanceOf(luck));
    const lying = {
      ...fs.port,
      openDurable: async (path: string) => {
        const file = await fs.port.openDurable(path);
        return {
          ...file,
          write: async (bytes: Uint8Array, offset: number) => {
            void file.write(bytes, offset).catch(() => undefined);
          },
        };
      },
    };
    const { disk } = await openDisk({
      dir: "/raft",
      keys,
      random: realRandom,
      segmentBytes: 4096,
      fs: lying,
      onFailure: () => undefined,
    });
    fs.crashAt(fs.operations + 1);
    await disk.append([{ term: 1, index: 1, type: "normal", data: new Uint8Array(9) }], undefined);
    fs.restart();
    const { loaded } = await opened(fs);
    if (loaded.entries.length === 0) lost += 1;
  }
  expect(lost).toBeGreaterThan(0);
});
