/** How the orchestrator writes: every write shows in its mirror at once, not only when it is told. */

import { type NewTask, newTask } from "#model/task.ts";
import type { Node, Service, Task } from "#wire/gen/swarmkit/objects_pb.js";
import type { TaskState } from "#wire/gen/swarmkit/types_pb.js";
import type { PlanContext } from "../planner.ts";
import type { ServiceEntry } from "./service-entry.ts";
import type { Slot } from "./slot.ts";

type Place = Pick<Slot, "number" | "nodeId">;

export class Desk {
  readonly context: PlanContext;
  readonly entry: ServiceEntry;
  readonly #wake: (slotKey: string, timeMs: number) => void;

  constructor(
    context: PlanContext,
    entry: ServiceEntry,
    wake: (slotKey: string, timeMs: number) => void,
  ) {
    this.context = context;
    this.entry = entry;
    this.#wake = wake;
  }

  get nowMs(): number {
    return this.context.nowMs;
  }

  readonly nodeOf = (nodeId: string): Node | undefined =>
    nodeId === "" ? undefined : this.context.tx.get("node", nodeId);

  /** Looks at the slot again at a time; with "" as slot, at the service. */
  wake(slotKey: string, timeMs: number): void {
    if (Number.isFinite(timeMs)) this.#wake(slotKey, timeMs);
  }

  want(actor: string, task: Task, desiredState: TaskState): void {
    if (task.desiredState >= desiredState) return;
    const tx = this.context.as(actor);
    tx.update("task", { ...task, desiredState });
    this.#show(task.id);
  }

  spawn(
    actor: string,
    service: Service,
    place: Place,
    desiredState: TaskState,
    quickFailures = 0,
  ): void {
    const { context } = this;
    const [cluster] = context.tx.all("cluster");
    const fresh: NewTask = {
      id: context.newId(),
      nowMs: context.nowMs,
      slot: place.number,
      nodeId: place.nodeId,
      desiredState,
      quickFailures,
    };
    context.as(actor).create("task", newTask(cluster, service, fresh));
    this.#show(fresh.id);
  }

  saveService(service: Service): void {
    this.context.as("updater").update("service", service);
    this.entry.setService(this.context.tx.get("service", service.id));
  }

  #show(taskId: string): void {
    const task = this.context.tx.get("task", taskId);
    if (task !== undefined) this.entry.put(task);
  }
}
