/** Replicated services: so many slots, numbered from 1, are kept filled. */

import { replicasOf } from "#model/defaults.ts";
import { isWanted, stateOf } from "#model/task.ts";
import type { Service } from "#wire/gen/swarmkit/objects_pb.js";
import { TaskState } from "#wire/gen/swarmkit/types_pb.js";
import type { Desk } from "./desk.ts";
import { furthestFirst, replaceBroken, specForNewSlot, startReady } from "./restart.ts";
import { isHeld, type Slot, wantedOf } from "./slot.ts";
import { advanceUpdate } from "./update.ts";
import { forgetSlot, updateSlot } from "./update-slot.ts";

export function reconcileReplicated(desk: Desk, service: Service): void {
  const { entry, context } = desk;
  for (const key of entry.dirtySlots) {
    if (!context.hasRoom()) return;
    entry.dirtySlots.delete(key);
    reconcileSlot(desk, service, key);
  }
  scale(desk, service);
  advanceUpdate(desk, entry.service ?? service);
}

function reconcileSlot(desk: Desk, service: Service, key: string): void {
  const { slots, occupied } = desk.entry;
  const slot = slots.get(key);
  if (slot !== undefined) replaceBroken(desk, service, slot);
  updateSlot(desk, service, key);
  if (slot !== undefined) startReady(desk, service, slot, TaskState.RUNNING);
  if (slot !== undefined && isOccupied(slot)) occupied.add(key);
  else occupied.delete(key);
}

function isOccupied(slot: Slot): boolean {
  for (const task of slot.tasks.values()) if (isWanted(task)) return true;
  return isHeld(slot);
}

function scale(desk: Desk, service: Service): void {
  const replicas = replicasOf(service.spec);
  const { occupied } = desk.entry;
  if (occupied.size > replicas) {
    for (const slot of surplus(desk, replicas)) {
      if (!desk.context.hasRoom()) return;
      for (const task of slot.tasks.values()) desk.want("orchestrator", task, TaskState.REMOVE);
      forget(desk, slot.key);
    }
    return;
  }
  if (occupied.size === replicas) return;
  // The same for all: to find it may take a look at every task.
  const fresh = specForNewSlot(desk, service);
  // Up to `replicas` slots are filled: so many tries find the lowest free numbers.
  for (let number = 1; occupied.size < replicas; number++) {
    if (!desk.context.hasRoom()) return;
    const key = String(number);
    if (occupied.has(key)) continue;
    // Another task still stopping under this number is no obstacle: names carry the task's id. What has
    // ended here stays to be read: why a canary failed, say.
    const place = { number: BigInt(number), nodeId: "" };
    desk.spawn("orchestrator", fresh, place, TaskState.RUNNING);
    occupied.add(key);
  }
}

function forget(desk: Desk, key: string): void {
  const { occupied, progress } = desk.entry;
  occupied.delete(key);
  progress.doneMs.delete(key);
  forgetSlot(desk, key);
}

/** The slots to give up: first those that do not run, then those on nodes that hold most. */
function surplus(desk: Desk, replicas: number): Slot[] {
  const perNode = new Map<string, number>();
  const ranked = [...desk.entry.occupied]
    .flatMap((key) => desk.entry.slots.get(key) ?? [])
    .map((slot) => {
      const task = wantedOf(slot).sort(furthestFirst)[0];
      const running = task !== undefined && stateOf(task) === TaskState.RUNNING;
      return { slot, running, nodeId: task?.nodeId ?? "" };
    })
    .sort((a, b) => Number(b.running) - Number(a.running) || byNumber(a.slot, b.slot))
    .map((one) => {
      const index = perNode.get(one.nodeId) ?? 0;
      perNode.set(one.nodeId, index + 1);
      return { ...one, index };
    })
    .sort((a, b) => Number(b.running) - Number(a.running) || a.index - b.index);
  return ranked.slice(replicas).map(({ slot }) => slot);
}

function byNumber(a: Slot, b: Slot): number {
  return a.number < b.number ? -1 : a.number > b.number ? 1 : 0;
}
