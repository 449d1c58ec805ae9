/**
 * The decision part of a task's life on a node: from (state, desired state) to the next thing to
 * do. Pure; `task-manager.ts` carries the steps out. The table is SwarmKit's, so that a task means
 * the same on any engine:
 *
 *   desired ≥ SHUTDOWN, state < COMPLETE        shut down
 *   PREPARING, STARTING, RUNNING                finish the operation, also past the desired state
 *   state ≥ desired                             pause (READY waits here for a start-first update)
 *   otherwise                                   one state onwards
 *
 * States never go back, and the largest state that an agent reaches on request is SHUTDOWN.
 */

import { TaskState } from "#wire/gen/swarmkit/types_pb.js";

export type Operation = "prepare" | "start" | "wait" | "shutdown";

export type Step =
  /** Nothing to do until the desired state moves. */
  | { readonly kind: "idle" }
  /** Move on without doing anything. */
  | { readonly kind: "advance"; readonly to: TaskState; readonly message: string }
  /** Run the controller's operation; on success the task is in state `to`. */
  | {
      readonly kind: "run";
      readonly operation: Operation;
      readonly to: TaskState;
      readonly message: string;
    };

const IDLE: Step = { kind: "idle" };
const ACCEPT: Step = { kind: "advance", to: TaskState.ACCEPTED, message: "accepted" };
const BEGIN_PREPARE: Step = { kind: "advance", to: TaskState.PREPARING, message: "preparing" };
const BEGIN_START: Step = { kind: "advance", to: TaskState.STARTING, message: "starting" };
const PREPARE: Step = {
  kind: "run",
  operation: "prepare",
  to: TaskState.READY,
  message: "prepared",
};
const START: Step = { kind: "run", operation: "start", to: TaskState.RUNNING, message: "started" };
const WAIT: Step = { kind: "run", operation: "wait", to: TaskState.COMPLETE, message: "finished" };
const SHUTDOWN: Step = {
  kind: "run",
  operation: "shutdown",
  to: TaskState.SHUTDOWN,
  message: "shutdown",
};

/** What a task in `state` has to do next when `desired` is wanted of it. */
export function nextStep(state: TaskState, desired: TaskState): Step {
  if (desired >= TaskState.SHUTDOWN) return state >= TaskState.COMPLETE ? IDLE : SHUTDOWN;
  if (state > desired) return IDLE;
  if (state === TaskState.PREPARING) return PREPARE;
  if (state === TaskState.STARTING) return START;
  if (state === TaskState.RUNNING) return WAIT;
  return state >= desired ? IDLE : onwards(state);
}

function onwards(state: TaskState): Step {
  if (state <= TaskState.ASSIGNED) return ACCEPT;
  if (state === TaskState.ACCEPTED) return BEGIN_PREPARE;
  if (state === TaskState.READY) return BEGIN_START;
  return IDLE;
}

/** Where a fatal error leaves a task: what never started was rejected, the rest failed. */
export function stateAfterFailure(state: TaskState): TaskState {
  return state < TaskState.STARTING ? TaskState.REJECTED : TaskState.FAILED;
}

/** True for states in which a task's container may exist and is worth reporting. */
export function hasContainer(state: TaskState): boolean {
  return state >= TaskState.STARTING;
}

/** True when nothing on the node will ever move the task again. */
export function isFinal(state: TaskState): boolean {
  return state >= TaskState.COMPLETE;
}
