/**
 * Who may move a task, and where to: the one table of task transitions. A task has an observed
 * state (`status.state`, what became of it) and a desired state (what it shall become); both only
 * ever grow, in the order of their numbers. Each component of a manager may make the moves listed
 * under its name and no others, which makes "who set this?" a question with one answer.
 *
 * Every write of a task by a planner passes `assertTaskTransition`; a violation is a bug and stops
 * the process before it reaches the log.
 */

import { invariant } from "#base/invariant.ts";
import type { Task } from "#wire/gen/swarmkit/objects_pb.js";
import { TaskState } from "#wire/gen/swarmkit/types_pb.js";

const { NEW, PENDING, ASSIGNED, ACCEPTED, PREPARING, READY, STARTING, RUNNING } = TaskState;
const { COMPLETE, SHUTDOWN, FAILED, REJECTED, REMOVE, ORPHANED } = TaskState;

/** States in which a task may be observed, in order. `REMOVE` is only ever desired. */
export const OBSERVED_STATES = [
  NEW,
  PENDING,
  ASSIGNED,
  ACCEPTED,
  PREPARING,
  READY,
  STARTING,
  RUNNING,
  COMPLETE,
  SHUTDOWN,
  FAILED,
  REJECTED,
  ORPHANED,
] as const;

/** States that a task may be wanted in, in order. */
export const DESIRED_STATES = [READY, RUNNING, COMPLETE, SHUTDOWN, REMOVE] as const;

export const TASK_ACTORS = [
  "api",
  "allocator",
  "orchestrator",
  "scheduler",
  "restart",
  "updater",
  "reaper",
  "enforcer",
  "dispatcher",
] as const;

export type TaskActor = (typeof TASK_ACTORS)[number];

export interface Move {
  readonly from: readonly TaskState[];
  readonly to: readonly TaskState[];
}

export interface TaskRights {
  /** Desired states with which it may create a task; the observed state is always NEW. */
  readonly creates: readonly TaskState[];
  /** Moves of the observed state; each must also lead upwards. */
  readonly moves: readonly Move[];
  /** Whether it may change message, error or details without moving the state. */
  readonly notes: boolean;
  /** States that it may come to want. */
  readonly wants: readonly TaskState[];
  /** Whether it may choose the node of a task that has none. */
  readonly places: boolean;
  readonly deletes: boolean;
}

const NOTHING: TaskRights = {
  creates: [],
  moves: [],
  notes: false,
  wants: [],
  places: false,
  deletes: false,
};

const ON_NODE = [ASSIGNED, ACCEPTED, PREPARING, READY, STARTING, RUNNING];
const REPORTED = [...ON_NODE.slice(1), COMPLETE, SHUTDOWN, FAILED, REJECTED];

export const TASK_RIGHTS: Readonly<Record<TaskActor, TaskRights>> = {
  // Attachments of containers to networks come and go by API; removing a node orphans its tasks.
  api: {
    ...NOTHING,
    creates: [RUNNING],
    moves: [{ from: OBSERVED_STATES.slice(0, -1), to: [ORPHANED] }],
    wants: [SHUTDOWN, REMOVE],
    deletes: true,
  },
  allocator: { ...NOTHING, moves: [{ from: [NEW], to: [PENDING] }], notes: true },
  orchestrator: {
    ...NOTHING,
    creates: [READY, RUNNING, COMPLETE],
    wants: [SHUTDOWN, REMOVE],
  },
  restart: {
    ...NOTHING,
    creates: [READY, RUNNING, COMPLETE],
    wants: [RUNNING, COMPLETE, SHUTDOWN],
  },
  updater: { ...NOTHING, creates: [READY, RUNNING], wants: [RUNNING, SHUTDOWN] },
  // A task that is told to stop before any node heard of it has stopped.
  scheduler: {
    ...NOTHING,
    moves: [
      { from: [PENDING], to: [ASSIGNED] },
      { from: [NEW, PENDING], to: [SHUTDOWN] },
    ],
    notes: true,
    places: true,
  },
  // Nobody will report for a node that no longer exists.
  enforcer: {
    ...NOTHING,
    moves: [
      { from: ON_NODE, to: [REJECTED] },
      { from: [...ON_NODE, REJECTED], to: [ORPHANED] },
    ],
  },
  reaper: { ...NOTHING, deletes: true },
  dispatcher: {
    ...NOTHING,
    moves: [
      { from: ON_NODE, to: REPORTED },
      // A container that exited may be reported as shut down or failed by a later look at it.
      { from: [COMPLETE, SHUTDOWN, FAILED], to: [SHUTDOWN, FAILED, REJECTED] },
      { from: [...ON_NODE, REJECTED], to: [ORPHANED] },
    ],
    notes: true,
  },
};

export function isTaskActor(actor: string): actor is TaskActor {
  return Object.hasOwn(TASK_RIGHTS, actor);
}

/**
 * Why `actor` may not turn `before` into `after`; undefined if it may. An absent `before` is a
 * creation, an absent `after` a deletion.
 */
export function taskTransitionFault(
  actor: string,
  before: Task | undefined,
  after: Task | undefined,
): string | undefined {
  const rights = isTaskActor(actor) ? TASK_RIGHTS[actor] : NOTHING;
  if (before === undefined) return creationFault(rights, after);
  if (after === undefined) return rights.deletes ? undefined : "may not delete tasks";
  return (
    identityFault(rights, before, after) ??
    stateFault(rights, before, after) ??
    desiredFault(rights, before, after)
  );
}

/** Stops the process when a component moves a task that it may not move. */
export function assertTaskTransition(
  actor: string,
  before: Task | undefined,
  after: Task | undefined,
): void {
  const fault = taskTransitionFault(actor, before, after);
  if (fault === undefined) return;
  invariant(false, `${actor} and task ${(after ?? before)?.id ?? "?"}: ${fault}`);
}

function creationFault(rights: TaskRights, after: Task | undefined): string | undefined {
  if (after === undefined) return undefined;
  const state = after.status?.state ?? NEW;
  if (state !== NEW) return `a task starts NEW, not ${nameOf(state)}`;
  if (rights.creates.includes(after.desiredState)) return undefined;
  return `may not create tasks that shall be ${nameOf(after.desiredState)}`;
}

function identityFault(rights: TaskRights, before: Task, after: Task): string | undefined {
  if (before.serviceId !== after.serviceId) return "a task stays with its service";
  if (before.slot !== after.slot) return "a task stays in its slot";
  if (before.nodeId === after.nodeId) return undefined;
  if (before.nodeId !== "") return "a task stays on its node";
  return rights.places ? undefined : "may not choose a node";
}

function stateFault(rights: TaskRights, before: Task, after: Task): string | undefined {
  if (before.status === after.status) return undefined;
  const from = before.status?.state ?? NEW;
  const to = after.status?.state ?? NEW;
  if (from === to) return rights.notes ? undefined : "may not write the status";
  const move = `${nameOf(from)} to ${nameOf(to)}`;
  if (to < from) return `the state never goes back: ${move}`;
  const allowed = rights.moves.some((one) => one.from.includes(from) && one.to.includes(to));
  return allowed ? undefined : `may not move the state from ${move}`;
}

function desiredFault(rights: TaskRights, before: Task, after: Task): string | undefined {
  const from = before.desiredState;
  const to = after.desiredState;
  if (from === to) return undefined;
  const move = `${nameOf(from)} to ${nameOf(to)}`;
  if (to < from) return `the desired state never goes back: ${move}`;
  return rights.wants.includes(to) ? undefined : `may not move the desired state from ${move}`;
}

function nameOf(state: TaskState): string {
  return TaskState[state] ?? String(state);
}
