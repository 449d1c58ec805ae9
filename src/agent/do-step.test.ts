import { expect, test } from "vitest";
import { TaskState } from "#wire/gen/swarmkit/types_pb.js";
import { nextStep, type Step, stateAfterFailure } from "./do-step.ts";

const STATES = [
  TaskState.NEW,
  TaskState.PENDING,
  TaskState.ASSIGNED,
  TaskState.ACCEPTED,
  TaskState.PREPARING,
  TaskState.READY,
  TaskState.STARTING,
  TaskState.RUNNING,
  TaskState.COMPLETE,
  TaskState.SHUTDOWN,
  TaskState.FAILED,
  TaskState.REJECTED,
  TaskState.ORPHANED,
] as const;

function show(step: Step): string {
  if (step.kind === "idle") return "-";
  return step.kind === "advance"
    ? `>${TaskState[step.to]}`
    : `${step.operation}>${TaskState[step.to]}`;
}

// Rows: state; columns: desired READY, RUNNING, COMPLETE, SHUTDOWN, REMOVE.
const TABLE: Readonly<Record<string, string>> = {
  NEW: ">ACCEPTED >ACCEPTED >ACCEPTED shutdown>SHUTDOWN shutdown>SHUTDOWN",
  PENDING: ">ACCEPTED >ACCEPTED >ACCEPTED shutdown>SHUTDOWN shutdown>SHUTDOWN",
  ASSIGNED: ">ACCEPTED >ACCEPTED >ACCEPTED shutdown>SHUTDOWN shutdown>SHUTDOWN",
  ACCEPTED: ">PREPARING >PREPARING >PREPARING shutdown>SHUTDOWN shutdown>SHUTDOWN",
  PREPARING: "prepare>READY prepare>READY prepare>READY shutdown>SHUTDOWN shutdown>SHUTDOWN",
  READY: "- >STARTING >STARTING shutdown>SHUTDOWN shutdown>SHUTDOWN",
  STARTING: "- start>RUNNING start>RUNNING shutdown>SHUTDOWN shutdown>SHUTDOWN",
  RUNNING: "- wait>COMPLETE wait>COMPLETE shutdown>SHUTDOWN shutdown>SHUTDOWN",
  COMPLETE: "- - - - -",
  SHUTDOWN: "- - - - -",
  FAILED: "- - - - -",
  REJECTED: "- - - - -",
  ORPHANED: "- - - - -",
};
const DESIRED = [
  TaskState.READY,
  TaskState.RUNNING,
  TaskState.COMPLETE,
  TaskState.SHUTDOWN,
  TaskState.REMOVE,
] as const;

test.each(STATES)("every step from state %i is the one of the table", (state) => {
  expect(DESIRED.map((desired) => show(nextStep(state, desired))).join(" ")).toBe(
    TABLE[TaskState[state]],
  );
});

test("following the steps never goes back and always comes to rest", () => {
  for (const start of STATES) {
    for (const desired of DESIRED) {
      let state: TaskState = start;
      for (let steps = 0; ; steps += 1) {
        const step = nextStep(state, desired);
        if (step.kind === "idle") break;
        expect(step.to).toBeGreaterThan(state);
        state = step.to;
        expect(steps).toBeLessThan(10);
      }
      expect(state >= desired || state >= TaskState.COMPLETE).toBe(true);
    }
  }
});

test("what fails before it starts was rejected, and failed afterwards", () => {
  expect(stateAfterFailure(TaskState.PREPARING)).toBe(TaskState.REJECTED);
  expect(stateAfterFailure(TaskState.READY)).toBe(TaskState.REJECTED);
  expect(stateAfterFailure(TaskState.STARTING)).toBe(TaskState.FAILED);
  expect(stateAfterFailure(TaskState.RUNNING)).toBe(TaskState.FAILED);
});
