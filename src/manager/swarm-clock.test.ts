import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { stateOfSnapshot } from "#store/snapshot.ts";
import { createStore } from "#store/store.ts";
import { NodeSchema } from "#wire/gen/swarmkit/objects_pb.js";
import { SwarmClock } from "./swarm-clock.ts";

test("goes on from where an earlier leader was, and never back", () => {
  const store = createStore();
  const write = (id: string, nowMs: number) => {
    const index = store.view().index + 1;
    const tx = store.begin({ index, nowMs });
    tx.create("node", create(NodeSchema, { id }));
    store.push(tx);
    store.commitHead(index);
  };
  let ownMs = 1_000;
  const clock = new SwarmClock({ nowMs: () => ownMs }, () => store.newestMs);
  expect(clock.nowMs()).toBe(1_000);
  write("a", 61_000);
  expect(clock.nowMs()).toBe(61_000);
  ownMs = 1_500;
  expect(clock.nowMs()).toBe(61_500);
  write("b", clock.nowMs());
  // Set back in the middle of a reign.
  ownMs = 0;
  expect(clock.nowMs()).toBe(61_500);
  ownMs = 70_000;
  expect(clock.nowMs()).toBe(131_500);
});

test("a store that comes from a snapshot or another's entries knows its newest stamp", () => {
  const source = createStore();
  const tx = source.begin({ index: 1, nowMs: 5_250 });
  tx.create("node", create(NodeSchema, { id: "a" }));
  const follower = createStore();
  follower.apply(tx.actions(), 1);
  expect(follower.newestMs).toBe(5_250);
  const restored = createStore();
  restored.restore(stateOfSnapshot(follower.snapshot()), 1);
  expect(restored.newestMs).toBe(5_250);
});
