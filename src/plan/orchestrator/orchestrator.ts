/**
 * The orchestrator keeps the tasks of every service at what its spec asks for: how many there are,
 * that they run, and that they run the present version. It has a mirror of all services with their
 * tasks by slot, and looks again only at slots that changed, so that its work is in proportion to
 * what happens, not to what there is.
 */

import { isDown, isDrained } from "#model/node.ts";
import { isPerNode } from "#model/task.ts";
import type { Change } from "#store/types.ts";
import type { Node, Service, Task } from "#wire/gen/swarmkit/objects_pb.js";
import { TaskState } from "#wire/gen/swarmkit/types_pb.js";
import { type Delta, deltaOf } from "../delta.ts";
import type { PlanContext, Planner } from "../planner.ts";
import { WakeQueue } from "../wake-queue.ts";
import { Desk } from "./desk.ts";
import { reconcileGlobal } from "./global.ts";
import { reconcileGlobalJob, reconcileReplicatedJob } from "./jobs.ts";
import { reconcileReplicated } from "./replicated.ts";
import { ServiceEntry } from "./service-entry.ts";

export class Orchestrator implements Planner {
  readonly name = "orchestrator";
  readonly #entries = new Map<string, ServiceEntry>();
  /** Services to look at. */
  readonly #dirty = new Set<string>();
  /** Services that have to do with every node. */
  readonly #perNode = new Set<string>();
  /** Slots to look at again at a time: "service id" and "slot key", with a space between. */
  readonly #wakes = new WakeQueue<string>();

  start(context: PlanContext): void {
    const { tx } = context;
    for (const after of tx.all("service")) this.#onService({ before: undefined, after }, context);
    for (const after of tx.all("task")) this.#onTask({ before: undefined, after });
    this.#work(context);
  }

  step(context: PlanContext, changes: readonly Change[]): void {
    for (const change of changes) {
      if (change.kind === "task") this.#onTask(deltaOf(change));
      else if (change.kind === "service") this.#onService(deltaOf(change), context);
      else if (change.kind === "node") this.#onNode(deltaOf(change), context);
    }
    this.#work(context);
  }

  #onTask({ before, after }: Delta<Task>): void {
    const task = after ?? before;
    // Tasks without a service are containers attached to a network; their engine looks after them.
    if (task === undefined || task.serviceId === "") return;
    const entry = this.#entryOf(task.serviceId);
    if (after === undefined) entry.remove(task);
    else {
      // The slot of a task without number is its node; nothing changes it once there is one.
      if (before !== undefined && before.nodeId !== after.nodeId) entry.remove(before);
      entry.put(after);
    }
    this.#dirty.add(entry.id);
  }

  #onService({ before, after }: Delta<Service>, { tx }: PlanContext): void {
    const service = after ?? before;
    if (service === undefined) return;
    const entry = this.#entryOf(service.id);
    this.#dirty.add(entry.id);
    if (after === undefined || !isPerNode(after)) this.#perNode.delete(entry.id);
    else this.#perNode.add(entry.id);
    const anew =
      entry.setService(after) ||
      before?.updateStatus !== after?.updateStatus ||
      before?.rollout !== after?.rollout ||
      before?.startAfter !== after?.startAfter;
    if (!anew) return;
    entry.touchAll();
    if (after === undefined || !isPerNode(after)) return;
    for (const node of tx.all("node")) entry.dirtySlots.add(`@${node.id}`);
  }

  #onNode({ before, after }: Delta<Node>, { tx }: PlanContext): void {
    const node = after ?? before;
    if (node === undefined || sameForTasks(before, after)) return;
    for (const task of tx.find("task", "node", node.id)) {
      const entry = this.#entries.get(task.serviceId);
      if (entry === undefined) continue;
      entry.put(task);
      this.#dirty.add(entry.id);
    }
    for (const id of this.#perNode) {
      this.#entries.get(id)?.dirtySlots.add(`@${node.id}`);
      this.#dirty.add(id);
    }
  }

  #entryOf(serviceId: string): ServiceEntry {
    let entry = this.#entries.get(serviceId);
    if (entry === undefined) {
      entry = new ServiceEntry(serviceId);
      this.#entries.set(serviceId, entry);
    }
    return entry;
  }

  #work(context: PlanContext): void {
    for (;;) {
      const due = this.#wakes.take(context.nowMs);
      if (due === undefined) break;
      const [serviceId = "", slotKey = ""] = due.split(" ");
      const entry = this.#entries.get(serviceId);
      if (entry === undefined) continue;
      if (slotKey !== "") entry.dirtySlots.add(slotKey);
      this.#dirty.add(serviceId);
    }
    for (const id of this.#dirty) {
      if (!context.hasRoom()) return;
      this.#dirty.delete(id);
      const entry = this.#entries.get(id);
      if (entry !== undefined) this.#reconcile(context, entry);
      // A turn that is full ends in the middle of a service, which is then gone on with.
      if (!context.hasRoom()) this.#dirty.add(id);
    }
    const next = this.#wakes.next();
    if (next !== undefined) context.wakeAt(next);
  }

  #reconcile(context: PlanContext, entry: ServiceEntry): void {
    const desk = new Desk(context, entry, (slotKey, timeMs) =>
      this.#wakes.set(`${entry.id} ${slotKey}`, timeMs),
    );
    const { service } = entry;
    if (service === undefined) {
      this.#removeTasks(desk);
      return;
    }
    switch (service.spec?.mode.case) {
      case "global":
        return reconcileGlobal(desk, service);
      case "replicatedJob":
        return reconcileReplicatedJob(desk, service);
      case "globalJob":
        return reconcileGlobalJob(desk, service);
      case "replicated":
        return reconcileReplicated(desk, service);
      case undefined:
      default:
    }
  }

  /** The service is gone: so shall its tasks be. */
  #removeTasks(desk: Desk): void {
    const { entry, context } = desk;
    for (const key of entry.dirtySlots) {
      if (!context.hasRoom()) return;
      entry.dirtySlots.delete(key);
      for (const task of entry.slots.get(key)?.tasks.values() ?? []) {
        desk.want("orchestrator", task, TaskState.REMOVE);
      }
    }
    if (entry.slots.size === 0) this.#entries.delete(entry.id);
  }
}

/** Whether nothing changed that decides where tasks may be. */
function sameForTasks(before: Node | undefined, after: Node | undefined): boolean {
  if (before === undefined || after === undefined) return false;
  return (
    before.spec === after.spec &&
    before.description === after.description &&
    before.role === after.role &&
    before.status?.addr === after.status?.addr &&
    isDown(before) === isDown(after) &&
    isDrained(before) === isDrained(after) &&
    before.status?.state === after.status?.state
  );
}
