/**
 * The life of a container as a pure state machine: one table says which event may meet which phase,
 * one function makes the next state. Whoever owns the container performs the effects.
 */

import { invariant } from "#base/invariant.ts";
import { type NetworkState, NO_NETWORK, type Phase, type RunState } from "./record.ts";

export type LifeEvent =
  | {
      readonly kind: "started";
      readonly pid: number;
      readonly at: string;
      readonly network: NetworkState;
    }
  | {
      readonly kind: "start-failed";
      readonly exitCode: number;
      readonly error: string;
      readonly at: string;
    }
  | { readonly kind: "paused" }
  | { readonly kind: "resumed" }
  | {
      readonly kind: "exited";
      readonly exitCode: number;
      readonly oomKilled: boolean;
      readonly at: string;
    }
  /** The policy starts it again after a pause. */
  | { readonly kind: "restart-planned" }
  /** A stop or kill came during that pause. */
  | { readonly kind: "restart-cancelled" }
  | { readonly kind: "removing"; readonly volumes: boolean }
  | { readonly kind: "remove-failed"; readonly error: string };

/** Phases in which an event may come; everything else is a bug of the caller. */
export const ALLOWED: Readonly<Record<LifeEvent["kind"], readonly Phase[]>> = {
  started: ["created", "exited", "restarting"],
  "start-failed": ["created", "exited", "restarting"],
  paused: ["running"],
  resumed: ["paused"],
  exited: ["running", "paused"],
  "restart-planned": ["exited"],
  "restart-cancelled": ["restarting"],
  removing: ["created", "exited", "dead", "removing"],
  "remove-failed": ["removing"],
};

export function isAlive(phase: Phase): boolean {
  return phase === "running" || phase === "paused";
}

export function mayMeet(phase: Phase, kind: LifeEvent["kind"]): boolean {
  return ALLOWED[kind].includes(phase);
}

export function nextState(state: RunState, event: LifeEvent): RunState {
  invariant(mayMeet(state.phase, event.kind), `a ${state.phase} container met ${event.kind}`);
  switch (event.kind) {
    case "started":
      return {
        ...state,
        phase: "running",
        pid: event.pid,
        exitCode: 0,
        oomKilled: false,
        error: "",
        startedAt: event.at,
        network: event.network,
      };
    case "start-failed":
      return {
        ...state,
        // A container that never ran stays "created", as docker has it.
        phase: state.phase === "created" ? "created" : "exited",
        pid: 0,
        exitCode: event.exitCode,
        error: event.error,
        finishedAt: state.phase === "created" ? state.finishedAt : event.at,
        network: NO_NETWORK,
      };
    case "paused":
      return { ...state, phase: "paused" };
    case "resumed":
      return { ...state, phase: "running" };
    case "exited":
      return {
        ...state,
        phase: "exited",
        pid: 0,
        exitCode: event.exitCode,
        oomKilled: event.oomKilled,
        finishedAt: event.at,
        network: NO_NETWORK,
      };
    case "restart-planned":
      return { ...state, phase: "restarting", restartCount: state.restartCount + 1 };
    case "restart-cancelled":
      return { ...state, phase: "exited" };
    case "removing":
      return { ...state, phase: "removing", pid: 0, removeVolumes: event.volumes };
    case "remove-failed":
      return { ...state, phase: "dead", error: event.error };
  }
}
