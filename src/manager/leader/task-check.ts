/**
 * Holds every write of a task on the leader against the table of transitions: the check that the
 * raft node and its stand-in for tests take (`checkChange`). What planners write in a turn of the
 * reconciler was checked there already, under the name of the planner.
 *
 * Here the wish comes from outside, a node's report or a client's request, so that a move that may
 * not be is refused; among planners it would be a bug.
 */

import { EngineError } from "#base/error.ts";
import { taskTransitionFault } from "#model/task-states.ts";
import type { Change } from "#store/types.ts";
import type { Task } from "#wire/gen/swarmkit/objects_pb.js";
import type { Actor } from "../state.ts";

export function checkTaskChange(actor: Actor, change: Change): void {
  if (change.kind !== "task" || actor === "leader") return;
  switch (change.action) {
    case "create":
      refuse(actor, undefined, change.object);
      break;
    case "update":
      refuse(actor, change.old, change.object);
      break;
    case "delete":
      refuse(actor, change.object, undefined);
  }
}

function refuse(actor: Actor, before: Task | undefined, after: Task | undefined): void {
  const fault = taskTransitionFault(actor, before, after);
  if (fault === undefined) return;
  const id = (after ?? before)?.id ?? "";
  throw new EngineError("failed-precondition", `${actor} and task ${id}: ${fault}`);
}
