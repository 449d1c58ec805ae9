/** Snapshots as bytes: SwarmKit's message, whole or in pieces cut anywhere, and nothing else. */

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import fc from "fast-check";
import { expect, test } from "vitest";
import { isErrorCode } from "#base/error.ts";
import { createStore } from "#store/store.ts";
import { ConfigSchema, NodeSchema, TaskSchema } from "#wire/gen/swarmkit/objects_pb.js";
import {
  ClusterSnapshotSchema,
  SnapshotSchema,
  StoreSnapshotSchema,
} from "#wire/gen/swarmkit/snapshot_pb.js";
import { decodeSnapshot, encodeSnapshot } from "./snapshot-data.ts";
import { SnapshotParser } from "./snapshot-parser.ts";

const MEMBERS = create(ClusterSnapshotSchema, {
  members: [
    { raftId: 5n, nodeId: "a", addr: "a:1" },
    { raftId: 6n, nodeId: "b", addr: "b:1" },
  ],
  removed: [7n, 8n],
});

function storeOf(tasks: number) {
  const store = createStore();
  const tx = store.begin({ index: 3, nowMs: 1_000 });
  tx.create("node", create(NodeSchema, { id: "n1" }));
  for (let i = 0; i < tasks; i++) {
    tx.create("task", create(TaskSchema, { id: `t${i}`, serviceId: "s1", slot: BigInt(i) }));
  }
  const data = Buffer.alloc(300_000, "d");
  tx.create("config", create(ConfigSchema, { id: "c1", spec: { data } }));
  store.push(tx);
  store.commitHead(3);
  return store;
}

async function encoded(store: ReturnType<typeof storeOf>): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for await (const piece of encodeSnapshot(MEMBERS, store.view())) pieces.push(piece);
  return Buffer.concat(pieces);
}

function cut(bytes: Buffer, cuts: readonly number[]): Buffer[] {
  const ends = [...cuts.map((at) => at % bytes.length), bytes.length].toSorted((a, b) => a - b);
  return ends.map((end, i) => bytes.subarray(ends[i - 1] ?? 0, end));
}

async function restored(pieces: readonly Uint8Array[]) {
  const { state, membership } = await decodeSnapshot(pieces);
  const store = createStore();
  store.restore(state, 3);
  return { store: toBinary(StoreSnapshotSchema, store.snapshot()), membership };
}

test("joined, the pieces are SwarmKit's message", async () => {
  const store = storeOf(500);
  const whole = fromBinary(SnapshotSchema, await encoded(store));
  expect(whole.membership).toEqual(MEMBERS);
  expect(toBinary(StoreSnapshotSchema, whole.store ?? create(StoreSnapshotSchema))).toEqual(
    toBinary(StoreSnapshotSchema, store.snapshot()),
  );
});

test("read back from pieces cut anywhere, ours and SwarmKit's alike", async () => {
  const store = storeOf(900);
  const wanted = toBinary(StoreSnapshotSchema, store.snapshot());
  const ours = await encoded(store);
  // One `store` field with everything in it, and the membership behind it.
  const whole = create(SnapshotSchema, { store: store.snapshot(), membership: MEMBERS });
  const swarmkits = Buffer.from(toBinary(SnapshotSchema, whole));
  await fc.assert(
    fc.asyncProperty(fc.boolean(), fc.array(fc.nat(1_000_000)), async (isOurs, cuts) => {
      const found = await restored(cut(isOurs ? ours : swarmkits, cuts));
      expect(Buffer.from(found.store).equals(wanted)).toBe(true);
      expect(found.membership).toEqual(MEMBERS);
    }),
    { numRuns: 30 },
  );
});

test("fields of a newer manager are passed over, the store's own ones too", async () => {
  const store = storeOf(3);
  const unknown = { no: 99, wireType: 2, data: Buffer.from([2, 7, 7]) };
  const part = { ...store.snapshot(), $unknown: [unknown] };
  const whole = { ...create(SnapshotSchema, { store: part }), $unknown: [unknown] };
  const found = await restored([toBinary(SnapshotSchema, whole)]);
  expect(found.store).toEqual(toBinary(StoreSnapshotSchema, store.snapshot()));
});

test("one that ends too early is refused", async () => {
  const bytes = await encoded(storeOf(10));
  for (const length of [1, 20, bytes.length - 1]) {
    await expect(decodeSnapshot([bytes.subarray(0, length)])).rejects.toMatchObject({
      code: "data-loss",
    });
  }
});

test("no bytes whatever make the reader throw anything but its refusal", async () => {
  const bytes = await encoded(storeOf(5));
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 6 }),
      fc.nat(bytes.length),
      async (noise, at) => {
        const spoiled = [...noise, bytes.subarray(at)];
        const refusal = await decodeSnapshot(spoiled).catch((error: unknown) => error);
        expect(!(refusal instanceof Error) || isErrorCode(refusal, "data-loss")).toBe(true);
      },
    ),
  );
});

test("no more is held back than one object", () => {
  const parser = new SnapshotParser();
  const object = create(ConfigSchema, { id: "c", spec: { data: Buffer.alloc(1000) } });
  const store = create(StoreSnapshotSchema, { configs: Array(1000).fill(object) });
  const bytes = Buffer.from(toBinary(SnapshotSchema, create(SnapshotSchema, { store })));
  let given = 0;
  for (let at = 0; at < bytes.length; at += 777) {
    for (const fields of parser.push(bytes.subarray(at, at + 777))) given += fields.bytes.length;
    expect(at + 777 - given).toBeLessThan(2_000);
  }
  parser.end();
});
