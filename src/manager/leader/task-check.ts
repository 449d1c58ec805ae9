/**
 * Holds every write of a task on the leader against the table of transitions: the check that the
 * raft node and its stand-in for tests take (`checkChange`). What planners write in a turn of the
 * reconciler was checked there already, under the name of the planner.
 */

import { assertTaskTransition } from "#model/task-states.ts";
import type { Change } from "#store/types.ts";
import type { Actor } from "../state.ts";

export function checkTaskChange(actor: Actor, change: Change): void {
  if (change.kind !== "task" || actor === "leader") return;
  switch (change.action) {
    case "create":
      assertTaskTransition(actor, undefined, change.object);
      break;
    case "update":
      assertTaskTransition(actor, change.old, change.object);
      break;
    case "delete":
      assertTaskTransition(actor, change.object, undefined);
  }
}
