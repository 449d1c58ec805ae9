/**
 * What the orchestrator keeps of a service: its tasks by slot, which slots are worth a look, and how
 * far a rolling update has come. A mirror: all of it can be made again from the store.
 */

import { slotKeyOf } from "#model/task.ts";
import type { Service, Task } from "#wire/gen/swarmkit/objects_pb.js";
import { Dirtiness } from "./dirtiness.ts";
import type { Slot } from "./slot.ts";

/** How far the update to the present spec has come. */
export interface Progress {
  /** Slots whose task is outdated and that nobody is at work on. */
  readonly todo: Set<string>;
  /** Those of `todo` where nothing runs: they have nothing to lose. */
  readonly down: Set<string>;
  /** Slots at work, and until when they keep the others waiting; Infinity: until something happens. */
  readonly busy: Map<string, number>;
  /** Slots whose new task could do its work now if the old one stopped, which still runs. */
  readonly passing: Set<string>;
  /** Slots whose new task failed beside the old one and has yet to be tried again. */
  readonly retries: Set<string>;
  /** Slots that have a task of the new version, whatever its state. */
  readonly fresh: Set<string>;
  /** When the first new task of a slot ran or ended. */
  readonly doneMs: Map<string, number>;
  /** When a new task was first seen running. */
  readonly ranMs: Map<string, number>;
  /** New tasks that ended too early. */
  readonly failures: Set<string>;
}

export class ServiceEntry {
  readonly id: string;
  readonly slots = new Map<string, Slot>();
  readonly dirtySlots = new Set<string>();
  /** Slots that count as filled: something shall run there, or is done for good. */
  readonly occupied = new Set<string>();
  #service: Service | undefined;
  #dirtiness: Dirtiness | undefined;
  progress: Progress = newProgress();

  constructor(id: string) {
    this.id = id;
  }

  get service(): Service | undefined {
    return this.#service;
  }

  get dirtiness(): Dirtiness | undefined {
    return this.#dirtiness;
  }

  /** True if tasks must be compared with the spec anew. */
  setService(service: Service | undefined): boolean {
    const before = this.#service;
    this.#service = service;
    if (service === undefined) return true;
    const same = before !== undefined && before.spec === service.spec;
    if (same && before.specVersion === service.specVersion) return false;
    this.#dirtiness = new Dirtiness(service);
    this.progress = newProgress();
    return true;
  }

  put(task: Task): void {
    const key = slotKeyOf(task);
    let slot = this.slots.get(key);
    if (slot === undefined) {
      const nodeId = task.slot === 0n ? task.nodeId : "";
      slot = { key, number: task.slot, nodeId, tasks: new Map() };
      this.slots.set(key, slot);
    }
    slot.tasks.set(task.id, task);
    this.dirtySlots.add(key);
  }

  remove(task: Task): void {
    const key = slotKeyOf(task);
    const slot = this.slots.get(key);
    if (slot?.tasks.delete(task.id) !== true) return;
    this.dirtySlots.add(key);
    if (slot.tasks.size === 0) this.slots.delete(key);
  }

  touchAll(): void {
    for (const key of this.slots.keys()) this.dirtySlots.add(key);
  }
}

function newProgress(): Progress {
  return {
    todo: new Set(),
    down: new Set(),
    busy: new Map(),
    passing: new Set(),
    retries: new Set(),
    fresh: new Set(),
    doneMs: new Map(),
    ranMs: new Map(),
    failures: new Set(),
  };
}
