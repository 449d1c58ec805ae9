/** Global services: one task on every node that may have one, bound to it from the start. */

import { isPaused as isNodePaused, losesTasks } from "#model/node.ts";
import { isHeldBack } from "#model/start-order.ts";
import { isWanted } from "#model/task.ts";
import type { Node, Service } from "#wire/gen/swarmkit/objects_pb.js";
import { TaskState } from "#wire/gen/swarmkit/types_pb.js";
import type { Desk } from "./desk.ts";
import { nodeMatchesSpec } from "./dirtiness.ts";
import { replaceBroken, specForNewSlot, startReady } from "./restart.ts";
import { isHeld, type Slot } from "./slot.ts";
import { advanceUpdate } from "./update.ts";
import { updateSlot } from "./update-slot.ts";

/** Slot keys are "@" and the node's id; dirty ones name nodes that may not have a slot yet. */
export function reconcileGlobal(desk: Desk, service: Service): void {
  const { entry, context } = desk;
  for (const key of entry.dirtySlots) {
    if (!context.hasRoom()) return;
    entry.dirtySlots.delete(key);
    reconcileNode(desk, service, key);
  }
  advanceUpdate(desk, entry.service ?? service);
}

function reconcileNode(desk: Desk, service: Service, key: string): void {
  const { entry } = desk;
  const nodeId = key.slice(1);
  const node = desk.nodeOf(nodeId);
  const slot = entry.slots.get(key);
  // While the new version waits, the old one's places are where the old one may be.
  const asked = isHeldBack(service) ? specForNewSlot(desk, service) : service;
  if (node === undefined || !mayHaveTask(asked, node)) {
    withdraw(desk, slot, node === undefined ? TaskState.REMOVE : TaskState.SHUTDOWN);
    updateSlot(desk, service, key);
    entry.occupied.delete(key);
    return;
  }
  if (slot !== undefined) replaceBroken(desk, service, slot);
  updateSlot(desk, service, key);
  if (slot !== undefined) startReady(desk, service, slot, TaskState.RUNNING);
  const filled = slot !== undefined && ([...slot.tasks.values()].some(isWanted) || isHeld(slot));
  if (!filled && !isNodePaused(node)) {
    // A predecessor that still stops has the ports and names that the new task needs.
    const desired = slot === undefined ? TaskState.RUNNING : TaskState.READY;
    desk.spawn("orchestrator", specForNewSlot(desk, service), { number: 0n, nodeId }, desired);
    entry.dirtySlots.add(key);
  }
  if (filled) entry.occupied.add(key);
}

export function mayHaveTask(service: Service, node: Node): boolean {
  return !losesTasks(node) && nodeMatchesSpec(service.spec?.task, node);
}

export function withdraw(desk: Desk, slot: Slot | undefined, desired: TaskState): void {
  for (const task of slot?.tasks.values() ?? []) {
    if (desired === TaskState.REMOVE || isWanted(task)) desk.want("orchestrator", task, desired);
  }
}
