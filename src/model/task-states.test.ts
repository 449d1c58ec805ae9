import { create } from "@bufbuild/protobuf";
import { describe, expect, it } from "vitest";
import { type Task, TaskSchema } from "#wire/gen/swarmkit/objects_pb.js";
import { TaskState } from "#wire/gen/swarmkit/types_pb.js";
import {
  assertTaskTransition,
  DESIRED_STATES,
  OBSERVED_STATES,
  TASK_ACTORS,
  taskTransitionFault,
} from "./task-states.ts";

function task(state: TaskState, desiredState: TaskState, nodeId = ""): Task {
  return create(TaskSchema, { id: "t", nodeId, desiredState, status: { state } });
}

describe("taskTransitionFault", () => {
  it("never lets a state go back, whoever tries", () => {
    for (const actor of TASK_ACTORS) {
      for (const from of OBSERVED_STATES) {
        for (const to of OBSERVED_STATES.filter((one) => one < from)) {
          const fault = taskTransitionFault(
            actor,
            task(from, TaskState.RUNNING),
            task(to, TaskState.RUNNING),
          );
          expect(fault, `${actor} ${from} ${to}`).toBeDefined();
        }
      }
      for (const from of DESIRED_STATES) {
        for (const to of DESIRED_STATES.filter((one) => one < from)) {
          const before = task(TaskState.NEW, from);
          const after = { ...before, desiredState: to };
          expect(taskTransitionFault(actor, before, after)).toBeDefined();
        }
      }
    }
  });

  it("is the table that design and code agree upon", () => {
    const lines: string[] = [];
    for (const actor of TASK_ACTORS) {
      const moves: string[] = [];
      for (const from of OBSERVED_STATES) {
        const to = OBSERVED_STATES.filter((one) => one !== from).filter((one) => {
          const before = task(from, TaskState.RUNNING);
          return taskTransitionFault(actor, before, task(one, TaskState.RUNNING)) === undefined;
        });
        if (to.length > 0) moves.push(`${name(from)}→${to.map(name).join("|")}`);
      }
      const wants = DESIRED_STATES.filter((one) => {
        const before = task(TaskState.NEW, TaskState.NEW);
        return taskTransitionFault(actor, before, { ...before, desiredState: one }) === undefined;
      });
      lines.push(`${actor}: ${moves.join(" ")} wants ${wants.map(name).join("|")}`);
    }
    expect(lines.join("\n")).toMatchInlineSnapshot(`
      "api: NEW→ORPHANED PENDING→ORPHANED ASSIGNED→ORPHANED ACCEPTED→ORPHANED PREPARING→ORPHANED READY→ORPHANED STARTING→ORPHANED RUNNING→ORPHANED COMPLETE→ORPHANED SHUTDOWN→ORPHANED FAILED→ORPHANED REJECTED→ORPHANED wants SHUTDOWN|REMOVE
      allocator: NEW→PENDING wants 
      orchestrator:  wants SHUTDOWN|REMOVE
      scheduler: NEW→SHUTDOWN PENDING→ASSIGNED|SHUTDOWN wants 
      restart:  wants RUNNING|COMPLETE|SHUTDOWN
      updater:  wants RUNNING|SHUTDOWN
      reaper:  wants 
      enforcer: ASSIGNED→REJECTED|ORPHANED ACCEPTED→REJECTED|ORPHANED PREPARING→REJECTED|ORPHANED READY→REJECTED|ORPHANED STARTING→REJECTED|ORPHANED RUNNING→REJECTED|ORPHANED REJECTED→ORPHANED wants 
      dispatcher: ASSIGNED→ACCEPTED|PREPARING|READY|STARTING|RUNNING|COMPLETE|SHUTDOWN|FAILED|REJECTED|ORPHANED ACCEPTED→PREPARING|READY|STARTING|RUNNING|COMPLETE|SHUTDOWN|FAILED|REJECTED|ORPHANED PREPARING→READY|STARTING|RUNNING|COMPLETE|SHUTDOWN|FAILED|REJECTED|ORPHANED READY→STARTING|RUNNING|COMPLETE|SHUTDOWN|FAILED|REJECTED|ORPHANED STARTING→RUNNING|COMPLETE|SHUTDOWN|FAILED|REJECTED|ORPHANED RUNNING→COMPLETE|SHUTDOWN|FAILED|REJECTED|ORPHANED COMPLETE→SHUTDOWN|FAILED|REJECTED SHUTDOWN→FAILED|REJECTED FAILED→REJECTED REJECTED→ORPHANED wants "
    `);
  });

  it("ties a task to its slot and node", () => {
    const before = task(TaskState.ASSIGNED, TaskState.RUNNING, "n1");
    for (const actor of TASK_ACTORS) {
      expect(taskTransitionFault(actor, before, { ...before, nodeId: "n2" })).toBeDefined();
      expect(taskTransitionFault(actor, before, { ...before, slot: 2n })).toBeDefined();
    }
  });

  it("names the component, the task and the move when it throws", () => {
    const before = task(TaskState.PENDING, TaskState.RUNNING);
    const after = task(TaskState.RUNNING, TaskState.RUNNING);
    expect(() => assertTaskTransition("scheduler", before, after)).toThrow(
      "invariant broken: scheduler and task t: may not move the state from PENDING to RUNNING",
    );
    expect(() => assertTaskTransition("stranger", undefined, before)).toThrow("NEW");
  });
});

function name(state: TaskState): string {
  return TaskState[state] ?? "?";
}
