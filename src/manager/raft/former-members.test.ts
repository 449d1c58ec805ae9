import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { createStore } from "#store/store.ts";
import { NodeSchema } from "#wire/gen/swarmkit/objects_pb.js";
import { formerMember } from "./former-members.ts";

const HOUR_MS = 3_600_000;
const NOW_MS = 1_000 * HOUR_MS;

/** Whose newest change is of now, and which knows a manager that was demoted five hours ago. */
function storeOf() {
  const store = createStore();
  const tx = store.begin({ index: 3, nowMs: NOW_MS });
  const barredManagerSince = BigInt((NOW_MS - 5 * HOUR_MS) / 1_000);
  tx.create("node", create(NodeSchema, { id: "demoted", barredManagerSince }));
  store.push(tx);
  store.commitHead(3);
  return store;
}

/** A certificate that was made so many hours ago, and began an hour earlier. */
const peer = (nodeId: string, hoursAgo: number) => ({
  nodeId,
  role: "swarm-manager",
  clusterId: "c1",
  since: (NOW_MS - (hoursAgo + 1) * HOUR_MS) / 1_000,
});

test("whom the store should know, and does not, is no member any more", () => {
  const store = storeOf();
  expect(formerMember(peer("unknown", 1.1), store)).toMatch("in this swarm no more");
  // Clocks may differ by an hour, and what is newer than all that is known here can't be judged.
  expect(formerMember(peer("unknown", 0.9), store)).toBeUndefined();
  expect(formerMember(peer("unknown", -100), store)).toBeUndefined();
  // Who has nothing yet believes all.
  expect(formerMember(peer("unknown", 1.1), createStore())).toBeUndefined();
  expect(formerMember(undefined, store)).toBeUndefined();
});

test("a demoted manager is told from itself as it was promoted again", () => {
  const store = storeOf();
  expect(formerMember(peer("demoted", 4), store)).toMatch("before its demotion");
  expect(formerMember(peer("demoted", 3.9), store)).toBeUndefined();
});
