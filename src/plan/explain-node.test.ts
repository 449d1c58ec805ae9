import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { createStore } from "#store/store.ts";
import { NodeSchema, TaskSchema } from "#wire/gen/swarmkit/objects_pb.js";
import { NodeSpec_Availability as Availability } from "#wire/gen/swarmkit/specs_pb.js";
import { NodeStatus_State, TaskState } from "#wire/gen/swarmkit/types_pb.js";
import { explainNode } from "./explain-node.ts";

const GIB = 1n << 30n;

function explained(nodeId: string, tasks: readonly MessageInitShape<typeof TaskSchema>[]) {
  const store = createStore();
  const tx = store.begin({ index: 1, nowMs: 1_000 });
  const node = (id: string, allow: string, availability = Availability.ACTIVE) =>
    create(NodeSchema, {
      id,
      spec: { availability },
      description: {
        hostname: `host-${id}`,
        resources: { memoryBytes: GIB },
        engine: { labels: { "skep.allow": allow } },
      },
      status: { state: NodeStatus_State.READY },
    });
  tx.create("node", node("a", ""));
  tx.create("node", node("b", "privileged"));
  tx.create("node", node("c", "", Availability.DRAIN));
  for (const [slot, task] of tasks.entries()) {
    const desiredState = TaskState.RUNNING;
    const serviceAnnotations = { name: "web" };
    const base = { id: `t${slot}`, serviceId: "s", slot: BigInt(slot + 1), desiredState };
    tx.create(
      "task",
      create(TaskSchema, { ...base, serviceAnnotations, ...task } as MessageInitShape<
        typeof TaskSchema
      >),
    );
  }
  store.push(tx);
  store.commitHead(1);
  return explainNode(store.view(), nodeId, 0);
}

const pending = { status: { state: TaskState.PENDING } };
const privileged = {
  ...pending,
  spec: {
    runtime: {
      case: "container" as const,
      value: { image: "x", labels: { "skep.privileged": "true" } },
    },
  },
};
const large = { ...pending, spec: { resources: { reservations: { memoryBytes: 2n * GIB } } } };

test("tasks that a node refuses, with what it lacks for each", () => {
  expect(explained("a", [privileged, large, pending])?.refused).toEqual([
    {
      taskId: "t0",
      name: "web.1.t0",
      state: "pending",
      refusedBy: ["host access"],
      reasons: ["services may not have there: privileged (label skep.allow of its engine)"],
    },
    expect.objectContaining({ taskId: "t1", reasons: ["it lacks 1024 MiB of memory"] }),
  ]);
  expect(explained("b", [privileged])?.refused).toEqual([]);
});

test("a node that takes nothing says so; its own tasks say what they wait for", () => {
  expect(explained("c", [])?.takesNone).toContain("drained");
  const mine = { nodeId: "a", status: { state: TaskState.PREPARING, err: "pulling" } };
  const told = explained("a", [mine, { nodeId: "b", status: { state: TaskState.PREPARING } }]);
  expect(told?.takesNone).toBe("");
  expect(told?.waiting).toEqual([
    expect.objectContaining({
      taskId: "t0",
      reasons: ["its node prepares it: image, networks, volumes", "pulling"],
    }),
  ]);
});

test("what is left out is counted", () => {
  const many = Array.from({ length: 70 }, () => large);
  const told = explained("a", many);
  expect([told?.refused.length, told?.leftOut]).toEqual([50, 20]);
});

test("an unknown node", () => {
  expect(explained("zz", [])).toBeUndefined();
});
