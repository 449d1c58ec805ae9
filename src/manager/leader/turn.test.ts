/** What planners know at a turn: never less than what their transaction builds on. */

import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import type { Planner } from "#plan/planner.ts";
import { createStore } from "#store/store.ts";
import { NodeSchema } from "#wire/gen/swarmkit/objects_pb.js";
import { Turns } from "./turn.ts";

test("planners are told of what is on its way, before they write on top of it", () => {
  const store = createStore();
  const known = new Map<string, string>();
  const remembers: Planner = {
    name: "leader",
    start: ({ tx }) => {
      for (const node of tx.all("node")) known.set(node.id, node.status?.addr ?? "");
    },
    step: (_context, changes) => {
      for (const { kind, object } of changes) {
        if (kind === "node") known.set(object.id, object.status?.addr ?? "");
      }
    },
  };
  const turns = new Turns([remembers]);
  const turn = () =>
    turns.run(
      {
        tx: store.begin({ index: store.head().index + 1, nowMs: 0 }),
        newId: () => "id",
        random: () => 0,
        wakeAt: () => undefined,
      },
      [],
    );
  const write = (id: string, addr: string) => {
    const tx = store.begin({ index: store.head().index + 1, nowMs: 0 });
    const old = tx.get("node", id);
    const fresh = create(NodeSchema, { id, status: { addr } });
    if (old === undefined) tx.create("node", fresh);
    else tx.update("node", { ...old, status: fresh.status });
    store.push(tx);
  };
  turn();
  write("n1", "first");
  write("n2", "other");
  write("n1", "second");
  expect(store.view().count("node")).toBe(0);
  turn();
  expect([...known]).toEqual([
    ["n1", "second"],
    ["n2", "other"],
  ]);
});
