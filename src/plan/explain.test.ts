import { create } from "@bufbuild/protobuf";
import { describe, expect, it } from "vitest";
import { createStore } from "#store/store.ts";
import type { ReadView } from "#store/types.ts";
import { NodeSchema, type Task, TaskSchema } from "#wire/gen/swarmkit/objects_pb.js";
import { NodeSpec_Availability as Availability } from "#wire/gen/swarmkit/specs_pb.js";
import { NodeStatus_State, TaskState, TaskStatusSchema } from "#wire/gen/swarmkit/types_pb.js";
import { explainTask } from "./explain.ts";

const GIB = 1n << 30n;

function viewOf(task: Task): ReadView {
  const store = createStore();
  const tx = store.begin({ index: 1, nowMs: 1_000 });
  const node = (id: string, memoryBytes: bigint, availability = Availability.ACTIVE) =>
    create(NodeSchema, {
      id,
      spec: { availability },
      description: { hostname: `host-${id}`, resources: { memoryBytes } },
      status: { state: NodeStatus_State.READY },
    });
  tx.create("node", node("a", GIB));
  tx.create("node", node("b", GIB));
  tx.create("node", node("c", 64n * GIB, Availability.DRAIN));
  tx.create("task", task);
  store.push(tx);
  store.commitHead(1);
  return store.view();
}

function waiting(memoryBytes: bigint, constraints: string[] = []): Task {
  return create(TaskSchema, {
    id: "t",
    serviceId: "s",
    slot: 1n,
    serviceAnnotations: { name: "web" },
    spec: { resources: { reservations: { memoryBytes } }, placement: { constraints } },
    status: { state: TaskState.PENDING },
    desiredState: TaskState.RUNNING,
  });
}

describe("explainTask", () => {
  it("tells which filter refuses which node", () => {
    const explanation = explainTask(viewOf(waiting(2n * GIB)), "t", 1_000);
    expect(explanation?.summary).toBe(
      "no suitable node (insufficient resources on 2 nodes; 1 node not available for new tasks)",
    );
    expect(explanation?.nodes).toEqual([
      {
        nodeId: "a",
        hostname: "host-a",
        refusedBy: ["resources"],
        lacks: ["it lacks 1024 MiB of memory"],
      },
      {
        nodeId: "b",
        hostname: "host-b",
        refusedBy: ["resources"],
        lacks: ["it lacks 1024 MiB of memory"],
      },
      {
        nodeId: "c",
        hostname: "host-c",
        refusedBy: ["ready"],
        lacks: ["it is drained, paused or not ready: skep node inspect"],
      },
    ]);
    expect(explanation?.nearest).toBe("host-a: it lacks 1024 MiB of memory");
    expect(explanation?.name).toBe("web.1.t");
  });

  it("takes a node where something may come free for nearer than one that the service forbids", () => {
    const bound = waiting(2n * GIB, ["node.hostname==host-b"]);
    expect(explainTask(viewOf(bound), "t", 1_000)?.nearest).toBe(
      "host-b: it lacks 1024 MiB of memory",
    );
    const drained = waiting(0n, ["node.id==c"]);
    expect(explainTask(viewOf(drained), "t", 1_000)?.nearest).toBe(
      "host-c: it is drained, paused or not ready: skep node inspect",
    );
  });

  it("knows when a node would take it", () => {
    const explanation = explainTask(viewOf(waiting(GIB)), "t", 1_000);
    expect(explanation?.summary).toBe("it is about to be given a node");
  });

  it.each([
    [TaskState.ASSIGNED, "it waits for its node to take it"],
    [TaskState.PREPARING, "its node prepares it: image, networks, volumes"],
    [TaskState.STARTING, "it was started, and has yet to be healthy if it has a health check"],
    [TaskState.RUNNING, "it is as it shall be"],
  ])("tells what a node is at with a task: %s", (state, summary) => {
    const status = create(TaskStatusSchema, { state });
    const task = { ...waiting(0n), nodeId: "a", status };
    expect(explainTask(viewOf(task), "t", 1_000)?.summary).toBe(summary);
  });

  it("knows no task that is not there", () => {
    expect(explainTask(viewOf(waiting(0n)), "other", 1_000)).toBeUndefined();
  });
});
