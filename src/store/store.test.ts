/**
 * The store against a naive model: Maps, recomputed from scratch. Random histories of transactions
 * (some refused, some dropped, several in flight), others' entries, snapshots and watchers.
 */

import { create, toBinary } from "@bufbuild/protobuf";
import fc from "fast-check";
import { expect, test } from "vitest";
import { isErrorCode } from "#base/error.ts";
import {
  type Network,
  NetworkSchema,
  type Service,
  ServiceSchema,
  type Task,
  TaskSchema,
} from "#wire/gen/swarmkit/objects_pb.js";
import { StoreSnapshotSchema } from "#wire/gen/swarmkit/snapshot_pb.js";
import { KIND_RULES, slotKey } from "./kinds.ts";
import { stateOfSnapshot } from "./snapshot.ts";
import { createStore, type Store } from "./store.ts";
import { isOutOfSequence } from "./transaction.ts";
import type { Change, Kind, ReadView, Tx } from "./types.ts";

const IDS = ["a", "b", "c", "d", "ab", "abc"];
const NAMES = ["web", "WEB", "db", "Db", "cache", ""];

type Step =
  | { op: "put"; kind: "service" | "task" | "network"; id: string; name: string; other: string }
  | { op: "delete"; kind: "service" | "task" | "network"; id: string };

const kindArb = fc.constantFrom("service" as const, "task" as const, "network" as const);
const stepArb: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    op: fc.constant("put" as const),
    kind: kindArb,
    id: fc.constantFrom(...IDS),
    name: fc.constantFrom(...NAMES),
    other: fc.constantFrom(...IDS, ""),
  }),
  fc.record({
    op: fc.constant("delete" as const),
    kind: kindArb,
    id: fc.constantFrom(...IDS),
  }),
);
const txArb = fc.record({
  steps: fc.array(stepArb, { maxLength: 8 }),
  throws: fc.boolean(),
});

function objectFor(step: Step & { op: "put" }, tx: Tx): Service | Task | Network {
  const { id, name, other } = step;
  const annotations = { name };
  switch (step.kind) {
    case "service": {
      const fresh = create(ServiceSchema, {
        id,
        spec: {
          annotations,
          task: {
            networks: [{ target: other }, { target: other }],
            runtime: { case: "container", value: { secrets: [{ secretId: other }] } },
          },
        },
      });
      const meta = tx.get("service", id)?.meta;
      return meta === undefined ? fresh : { ...fresh, meta };
    }
    case "task": {
      const slot = BigInt(other.length);
      const fresh = create(TaskSchema, { id, serviceId: other, nodeId: name, slot });
      const meta = tx.get("task", id)?.meta;
      return meta === undefined ? fresh : { ...fresh, meta };
    }
    case "network": {
      const fresh = create(NetworkSchema, { id, spec: { annotations } });
      const meta = tx.get("network", id)?.meta;
      return meta === undefined ? fresh : { ...fresh, meta };
    }
  }
}

/** Carries the steps out; what the store refuses must leave no trace, and the rest goes on. */
function run(tx: Tx, steps: readonly Step[]): void {
  for (const step of steps) {
    const exists = tx.get(step.kind, step.id) !== undefined;
    const before = dump(tx);
    try {
      if (step.op === "delete") tx.delete(step.kind, step.id);
      else if (exists) tx.update(step.kind, objectFor(step, tx));
      else tx.create(step.kind, objectFor(step, tx));
    } catch (error) {
      expect(isErrorCode(error, "already-exists", "not-found")).toBe(true);
      expect(dump(tx)).toEqual(before);
    }
  }
}

const KINDS_USED = ["service", "task", "network"] as const;

/** Everything in a view, objects only. */
function dump(view: Pick<ReadView, "all">): unknown[] {
  return KINDS_USED.flatMap((kind) => [...view.all(kind)]);
}

/** Every index must give what a scan of all objects gives. */
function checkIndexes(view: ReadView): void {
  const services = [...view.all("service")];
  const tasks = [...view.all("task")];
  expect(services.map(({ id }) => id)).toEqual(services.map(({ id }) => id).toSorted());
  expect(view.count("task")).toBe(tasks.length);
  for (const key of [...IDS, ""]) {
    const onNetwork = services.filter(({ spec }) =>
      spec?.task?.networks.some(({ target }) => target === key && key !== ""),
    );
    expect([...view.find("service", "network", key)]).toEqual(onNetwork);
    const ofService = tasks.filter(({ serviceId }) => serviceId === key && key !== "");
    expect([...view.find("task", "service", key)]).toEqual(ofService);
    expect([...view.byIdPrefix("task", key)]).toEqual(tasks.filter(({ id }) => id.startsWith(key)));
  }
  for (const task of tasks) {
    const same = tasks.filter((one) => one.serviceId !== "" && slotKey(one) === slotKey(task));
    const key = task.serviceId === "" ? "none" : slotKey(task);
    expect([...view.find("task", "slot", key)]).toEqual(task.serviceId === "" ? [] : same);
  }
  for (const name of NAMES) {
    const named = services.filter(
      ({ spec }) => name !== "" && spec?.annotations?.name.toLowerCase() === name.toLowerCase(),
    );
    expect(named.length).toBeLessThanOrEqual(1);
    expect(view.byName("service", name)).toEqual(named[0]);
  }
}

/** A model of watching: applying a batch's changes to a Map of the objects. */
function applyTo(model: Map<string, unknown>, changes: readonly Change[]): void {
  for (const { kind, action, object } of changes) {
    const key = `${kind}/${object.id}`;
    expect(model.has(key)).toBe(action !== "create");
    if (action === "delete") model.delete(key);
    else model.set(key, object);
  }
}

function asMap(view: ReadView): Map<string, unknown> {
  const map = new Map<string, unknown>();
  for (const kind of KINDS_USED) {
    for (const object of view.all(kind)) map.set(`${kind}/${object.id}`, object);
  }
  return map;
}

function follow(store: Store, from: number, model: Map<string, unknown>): number {
  let position = from;
  for (;;) {
    const batch = store.batchAfter(position);
    if (batch === undefined || batch === "unavailable") return position;
    expect(batch.index).toBeGreaterThan(position);
    applyTo(model, batch.changes);
    position = batch.index;
  }
}

test("leader through the head and follower through apply hold the same, at every step", () => {
  fc.assert(
    fc.property(fc.array(txArb, { maxLength: 12 }), fc.nat(3), (transactions, window) => {
      const leader = createStore();
      const follower = createStore();
      const watched = new Map<string, unknown>();
      let position = 0;
      let index = 0;
      const waiting: { index: number; actions: ReturnType<typeof leader.begin> }[] = [];
      const commit = () => {
        const oldest = waiting.shift();
        if (oldest === undefined) return;
        const headBefore = asMap(leader.head());
        leader.commitHead(oldest.index);
        follower.apply(oldest.actions.actions(), oldest.index);
        expect(asMap(leader.view())).toEqual(asMap(follower.view()));
        expect(asMap(leader.head())).toEqual(headBefore);
        checkIndexes(follower.view());
        checkIndexes(leader.view());
        position = follow(leader, position, watched);
        expect(watched).toEqual(asMap(leader.view()));
      };
      for (const { steps, throws } of transactions) {
        const before = leader.view();
        const dumped = dump(before);
        const headDump = dump(leader.head());
        const tx = leader.begin({ index: index + 1, nowMs: 1_700_000_000_123 });
        run(tx, steps);
        if (!throws && tx.changes().length > 0) {
          index += 1;
          leader.push(tx);
          waiting.push({ index, actions: tx });
          checkIndexes(leader.head());
        } else {
          expect(dump(leader.head())).toEqual(headDump);
        }
        // Nothing uncommitted shows, and a held view never changes.
        expect(dump(leader.view())).toEqual(dumped);
        expect(dump(before)).toEqual(dumped);
        if (waiting.length > window) commit();
      }
      while (waiting.length > 0) commit();
    }),
    { numRuns: 150 },
  );
});

test("entries that are applied without a look in between make the same, and a held view stays", () => {
  const entryArb = fc.record({ steps: fc.array(stepArb, { maxLength: 4 }), looks: fc.boolean() });
  fc.assert(
    fc.property(fc.array(entryArb, { maxLength: 12 }), (entries) => {
      const leader = createStore();
      const follower = createStore();
      const held: { view: ReadView; dumped: unknown[] }[] = [];
      let index = 0;
      for (const { steps, looks } of entries) {
        const tx = leader.begin({ index: index + 1, nowMs: 1_700_000_000_123 });
        run(tx, steps);
        if (tx.changes().length === 0) continue;
        index += 1;
        leader.push(tx);
        leader.commitHead(index);
        follower.apply(tx.actions(), index);
        if (looks) held.push({ view: follower.view(), dumped: dump(leader.view()) });
      }
      checkIndexes(follower.view());
      expect(follower.view().index).toBe(index);
      expect(dump(follower.view())).toEqual(dump(leader.view()));
      for (const { view, dumped } of held) expect(dump(view)).toEqual(dumped);
    }),
    { numRuns: 150 },
  );
});

test("a snapshot restores everything, and its watchers see the difference", () => {
  fc.assert(
    fc.property(fc.array(txArb, { maxLength: 8 }), fc.nat(8), (transactions, behind) => {
      const source = createStore();
      const target = createStore();
      let index = 0;
      for (const { steps } of transactions) {
        index += 1;
        const tx = source.begin({ index, nowMs: 0 });
        run(tx, steps);
        source.apply(tx.actions(), index);
        if (index <= behind) target.apply(tx.actions(), index);
      }
      const watched = asMap(target.view());
      const from = target.view().index;
      const jump = index + 1;
      source.skip(jump);
      const bytes = toBinary(StoreSnapshotSchema, source.snapshot());
      target.restore(stateOfSnapshot(source.snapshot()), jump);
      expect(toBinary(StoreSnapshotSchema, target.snapshot())).toEqual(bytes);
      checkIndexes(target.view());
      expect(target.view().index).toBe(jump);
      if (from === 0) {
        expect(target.batchAfter(0)).toBe("unavailable");
        return;
      }
      follow(target, from, watched);
      expect(watched).toEqual(asMap(target.view()));
      if (jump - from > 1) expect(target.batchAfter(from + 1)).toBe("unavailable");
    }),
    { numRuns: 100 },
  );
});

function service(id: string, name: string): Service {
  return create(ServiceSchema, { id, spec: { annotations: { name } } });
}

function committed(store: Store, write: (tx: Tx) => void): void {
  const index = store.view().index + 1;
  const tx = store.begin({ index, nowMs: 5_000 });
  write(tx);
  store.push(tx);
  store.commitHead(index);
}

test("updates must start from the newest version, across and within transactions", () => {
  const store = createStore();
  committed(store, (tx) => tx.create("service", service("s", "web")));
  const read = store.view().get("service", "s");
  if (read === undefined) throw new Error("not stored");
  const first = store.begin({ index: 2, nowMs: 0 });
  first.update("service", { ...read, pendingDelete: true });
  // In the same transaction, a copy from before the write would undo it.
  expect(() => first.update("service", { ...read })).toThrow("update out of sequence");
  const newest = first.get("service", "s");
  if (newest === undefined) throw new Error("gone");
  first.update("service", { ...newest, spec: undefined });
  store.push(first);
  // Still in flight, and yet already the version to start from.
  const second = store.begin({ index: 3, nowMs: 0 });
  let refused: unknown;
  try {
    second.update("service", { ...read });
  } catch (error) {
    refused = error;
  }
  expect(isOutOfSequence(refused)).toBe(true);
  const latest = second.get("service", "s");
  if (latest === undefined) throw new Error("gone");
  expect(latest.meta?.version?.index).toBe(2n);
  expect(latest.pendingDelete).toBe(true);
  second.update("service", latest);
});

test("the creator of an object may go on from the value it created, nobody else from it", () => {
  const store = createStore();
  const tx = store.begin({ index: 1, nowMs: 0 });
  const mine = service("s", "web");
  tx.create("service", mine);
  tx.update("service", { ...mine, pendingDelete: true });
  expect(() => tx.update("service", { ...mine })).toThrow("update out of sequence");
  expect(tx.changes()).toHaveLength(1);
  expect(tx.changes()[0]).toMatchObject({ action: "create", object: { pendingDelete: true } });
});

test("dropping the head forgets what was in flight, and what it named", () => {
  const store = createStore();
  const tx = store.begin({ index: 1, nowMs: 0 });
  tx.create("service", service("s", "web"));
  store.push(tx);
  expect(() => store.begin({ index: 2, nowMs: 0 }).create("service", service("t", "Web"))).toThrow(
    "name conflicts",
  );
  store.dropHead();
  expect(store.head().count("service")).toBe(0);
  store.begin({ index: 1, nowMs: 0 }).create("service", service("t", "Web"));
});

test("an iteration sees the moment it was asked for, whatever is written during it", () => {
  const store = createStore();
  committed(store, (tx) => {
    for (let i = 0; i < 200; i++) {
      tx.create("task", create(TaskSchema, { id: `t${i}`, serviceId: "s", slot: BigInt(i + 1) }));
    }
  });
  const tx = store.begin({ index: 2, nowMs: 0 });
  let seen = 0;
  for (const task of tx.find("task", "service", "s")) {
    tx.delete("task", task.id);
    seen += 1;
  }
  expect(seen).toBe(200);
  expect(tx.count("task")).toBe(0);
  expect(store.view().count("task")).toBe(200);
});

test("times are the proposer's: created once, updated each time", () => {
  const store = createStore();
  committed(store, (tx) => tx.create("service", service("s", "web")));
  const created = store.view().get("service", "s");
  expect(created?.meta?.createdAt).toMatchObject({ seconds: 5n, nanos: 0 });
  const tx = store.begin({ index: 2, nowMs: 6_250.5 });
  if (created === undefined) throw new Error("not stored");
  tx.update("service", created);
  expect(tx.get("service", "s")?.meta?.createdAt?.seconds).toBe(5n);
  expect(tx.get("service", "s")?.meta?.updatedAt).toMatchObject({
    seconds: 6n,
    nanos: 250_500_000,
  });
});

test("a watcher that fell behind the ring is told", () => {
  const store = createStore({ watchChangesMax: 3 });
  for (let i = 0; i < 5; i++) committed(store, (tx) => tx.create("service", service(`s${i}`, "")));
  expect(store.batchAfter(0)).toBe("unavailable");
  expect(store.batchAfter(2)).toMatchObject({ index: 3 });
  expect(store.batchAfter(5)).toBeUndefined();
});

test("every kind has a schema whose messages it stores", () => {
  for (const [kind, { schema }] of Object.entries(KIND_RULES)) {
    expect(schema.typeName.toLowerCase()).toBe(`docker.swarmkit.v1.${kind satisfies string}`);
  }
  const kinds: Kind[] = ["node", "volume"];
  expect(kinds.every((kind) => kind in KIND_RULES)).toBe(true);
});
