import { create } from "@bufbuild/protobuf";
import { describe, expect, it } from "vitest";
import type { Change } from "#store/types.ts";
import { NodeSchema, TaskSchema } from "#wire/gen/swarmkit/objects_pb.js";
import { Ledger } from "../ledger.ts";
import { RemovedNodesStayAway } from "./nodes.ts";

const NODE = create(NodeSchema, { id: "n1" });
const TASK = create(TaskSchema, { id: "t1", serviceId: "web" });
const MADE: Change = { kind: "node", action: "create", object: NODE };
const REMOVED: Change = { kind: "node", action: "delete", object: NODE };
const GIVEN: Change = { kind: "task", action: "create", object: { ...TASK, nodeId: "n1" } };

function show(...batches: readonly (readonly Change[])[]): void {
  const ledger = new Ledger([new RemovedNodesStayAway()]);
  for (const [at, changes] of batches.entries()) ledger.takes(at, { index: at + 1, changes });
}

describe("the law of removed nodes", () => {
  it("lets a node have tasks, and go", () => {
    expect(() => show([MADE], [GIVEN], [REMOVED])).not.toThrow();
  });

  it("speaks up at a task for a node that is gone", () => {
    expect(() => show([MADE], [REMOVED], [GIVEN])).toThrow("task t1 is given to n1");
    expect(() => show([MADE], [REMOVED, GIVEN])).toThrow("task t1 is given to n1");
  });

  it("speaks up at a node that comes back", () => {
    expect(() => show([MADE], [REMOVED], [MADE])).toThrow("node n1 was removed and is back");
  });
});
