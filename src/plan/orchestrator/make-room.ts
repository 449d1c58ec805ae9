/** Whether a new task that finds no node would find one, were the task gone that it replaces. */

import { holdsNode, isWanted, stateOf } from "#model/task.ts";
import type { Task } from "#wire/gen/swarmkit/objects_pb.js";
import { TaskState } from "#wire/gen/swarmkit/types_pb.js";
import { demandOf, refusalOf } from "../scheduler/filters.ts";
import { NodeInfo } from "../scheduler/node-info.ts";
import type { Desk } from "./desk.ts";

/** What the allocator says when a network has no address left, of which the old task has one. */
const NO_ADDRESS = /could not find an available IP|no address is free/;

export function makesRoom(desk: Desk, waiting: Task, old: readonly Task[]): boolean {
  const reason = waiting.status?.err ?? "";
  if (reason === "") return false;
  if (stateOf(waiting) === TaskState.NEW) return NO_ADDRESS.test(reason);
  if (stateOf(waiting) !== TaskState.PENDING) return false;
  const demand = demandOf(waiting);
  const going = new Set([...old.map(({ id }) => id), ...atWork(desk)]);
  const nodeIds = new Set(old.filter(holdsNode).map(({ nodeId }) => nodeId));
  for (const nodeId of nodeIds) {
    const node = desk.nodeOf(nodeId);
    if (node === undefined || (waiting.nodeId !== "" && waiting.nodeId !== nodeId)) continue;
    const info = new NodeInfo(node);
    const inTheWay: Task[] = [];
    for (const other of desk.context.tx.find("task", "node", nodeId)) {
      if (!holdsNode(other)) continue;
      if (going.has(other.id)) inTheWay.push(other);
      // What is told to stop will be gone as well.
      else if (isWanted(other)) info.count(other, 1);
    }
    if (refusalOf(info, demand) >= 0) continue;
    for (const other of inTheWay) info.count(other, 1);
    // A node that takes it as things are has only just come back: the scheduler has yet to look.
    if (refusalOf(info, demand) >= 0) return true;
  }
  return false;
}

/** Old tasks of all slots at work: two that make room together may let in what neither could. */
function atWork(desk: Desk): string[] {
  const { progress, slots, dirtiness } = desk.entry;
  return [...progress.busy.keys()].flatMap((key) =>
    [...(slots.get(key)?.tasks.values() ?? [])]
      .filter((task) => dirtiness?.isDirty(task, desk.nodeOf(task.nodeId)) === true)
      .map(({ id }) => id),
  );
}
