/**
 * What the settings of an update promise. Availability: no more slots than its parallelism are
 * without a running task because the update took it away, also when it supersedes another in the
 * middle; start-first takes none away before the new one runs. Surge: no more slots than its
 * parallelism have a second task, and none has a third.
 *
 * What fails, or loses its host, is not the update's doing; a slot that it emptied is counted until
 * a task runs there, or has failed there.
 */

import { replicasOf, updateRulesOf } from "#model/defaults.ts";
import { losesTasks } from "#model/node.ts";
import { endedByItself, isJob, isTerminal, isWanted, slotKeyOf, stateOf } from "#model/task.ts";
import type { Service, Task } from "#wire/gen/swarmkit/objects_pb.js";
import {
  UpdateConfig_UpdateOrder as Order,
  PortConfig_PublishMode as PublishMode,
  TaskState,
  UpdateStatus_UpdateState as UpdateState,
} from "#wire/gen/swarmkit/types_pb.js";
import { Violation } from "../../checker.ts";
import type { Delta, Ledger, StoreLaw } from "../ledger.ts";

type TaskDelta = Extract<Delta, { kind: "task" }>;

interface Watched {
  /** Tasks by id, by slot. */
  readonly slots: Map<string, Map<string, Task>>;
  /** Slots that an update emptied, and the task that it stopped there. */
  readonly emptied: Map<string, Task>;
  /** Largest parallelism since no slot had a second task. */
  widest: number;
  /** Whether every spec of the service so far asked to start first. */
  alwaysStartsFirst: boolean;
}

const TASKS_IN_SLOT_MAX = 2;

export class UpdatesKeepTheirWord implements StoreLaw {
  readonly #services = new Map<string, Watched>();
  /** Updates that were seen to stop a task. */
  stops = 0;

  begins(ledger: Ledger): void {
    this.#services.clear();
    for (const service of ledger.all("service")) this.#note(service);
    for (const task of ledger.all("task")) this.#put(task);
    // What was before is not known: slots may be empty, or have a second task, for any reason.
    for (const watched of this.#services.values()) {
      watched.widest = Number.POSITIVE_INFINITY;
      watched.alwaysStartsFirst = false;
    }
  }

  sees(deltas: readonly Delta[], ledger: Ledger): void {
    const byService = new Map<string, TaskDelta[]>();
    for (const delta of deltas) {
      if (delta.kind === "service") {
        if (delta.after === undefined) this.#services.delete(delta.id);
        else this.#note(delta.after);
      }
      if (delta.kind !== "task") continue;
      const serviceId = (delta.after ?? delta.before)?.serviceId ?? "";
      const known = byService.get(serviceId);
      if (known === undefined) byService.set(serviceId, [delta]);
      else known.push(delta);
    }
    for (const [id, own] of byService) this.#look(id, own, ledger);
  }

  #look(serviceId: string, deltas: readonly TaskDelta[], ledger: Ledger): void {
    for (const { before, after } of deltas) {
      if (after !== undefined) this.#put(after);
      else if (before !== undefined) this.#drop(before);
    }
    const service = ledger.get("service", serviceId);
    const watched = this.#services.get(serviceId);
    if (service === undefined || watched === undefined || isJob(service)) return;
    for (const [key, stopped] of watched.emptied) {
      if (isOver(watched.slots.get(key), stopped)) watched.emptied.delete(key);
    }
    const stops = deltas.filter((delta) => isStop(delta, ledger));
    for (const { after } of stops) if (after !== undefined) this.#checkStop(service, after, ledger);
    if (deltas.some(({ before }) => before === undefined)) this.#checkSurge(service, ledger);
  }

  #checkStop(service: Service, task: Task, ledger: Ledger): void {
    const watched = this.#watched(service.id);
    const key = slotKeyOf(task);
    const others = [...(watched.slots.get(key)?.values() ?? [])].filter(isWanted);
    this.stops++;
    // Nobody is to run there any more: the slot was given up, not updated.
    if (others.length === 0 || others.some((other) => stateOf(other) === TaskState.RUNNING)) return;
    if (watched.alwaysStartsFirst && !mayBeInTheWay(service, ledger)) {
      throw new Violation(
        "availability",
        `${describe(service)} starts first, and stops ${task.id} in slot ${key} before another runs`,
      );
    }
    watched.emptied.set(key, task);
    const { parallelism } = rulesOf(service);
    if (watched.emptied.size <= parallelism) return;
    const slots = [...watched.emptied.keys()].join();
    throw new Violation(
      "availability",
      `${describe(service)} has emptied slots ${slots}, ${parallelism} at a time are allowed`,
    );
  }

  #checkSurge(service: Service, ledger: Ledger): void {
    const watched = this.#watched(service.id);
    let filled = 0;
    let surplus = 0;
    for (const [key, tasks] of watched.slots) {
      const active = [...tasks.values()].filter((task) => isActiveTask(task, ledger)).length;
      if (active > TASKS_IN_SLOT_MAX) {
        throw new Violation("surge", `${describe(service)} has ${active} tasks in slot ${key}`);
      }
      if (active > 0) filled++;
      if (active > 1) surplus++;
    }
    if (surplus > watched.widest) {
      throw new Violation(
        "surge",
        `${describe(service)} has ${surplus} slots with two tasks, ${watched.widest} are allowed`,
      );
    }
    if (surplus === 0) watched.widest = rulesOf(service).parallelism;
    const isReplicated = service.spec?.mode.case === "replicated";
    if (isReplicated && filled > replicasOf(service.spec)) {
      const replicas = replicasOf(service.spec);
      throw new Violation("surge", `${describe(service)} fills ${filled} of ${replicas} slots`);
    }
  }

  #note(service: Service): void {
    const watched = this.#watched(service.id);
    const { parallelism, order } = rulesOf(service);
    watched.widest = Math.max(watched.widest, parallelism);
    if (order !== Order.START_FIRST) watched.alwaysStartsFirst = false;
  }

  #put(task: Task): void {
    const { slots } = this.#watched(task.serviceId);
    const key = slotKeyOf(task);
    const known = slots.get(key);
    if (known === undefined) slots.set(key, new Map([[task.id, task]]));
    else known.set(task.id, task);
  }

  #drop(task: Task): void {
    const slots = this.#services.get(task.serviceId)?.slots;
    const tasks = slots?.get(slotKeyOf(task));
    tasks?.delete(task.id);
    if (tasks?.size === 0) slots?.delete(slotKeyOf(task));
  }

  #watched(serviceId: string): Watched {
    let watched = this.#services.get(serviceId);
    if (watched === undefined) {
      watched = { slots: new Map(), emptied: new Map(), widest: 0, alwaysStartsFirst: true };
      this.#services.set(serviceId, watched);
    }
    return watched;
  }
}

/** A task that ran, on a node that could go on running it, is told to stop, and not to go for good. */
function isStop({ before, after }: TaskDelta, ledger: Ledger): boolean {
  if (before === undefined || after === undefined) return false;
  if (!isWanted(before) || stateOf(before) !== TaskState.RUNNING) return false;
  if (after.desiredState !== TaskState.SHUTDOWN || isTerminal(after)) return false;
  return !losesTasks(ledger.get("node", before.nodeId));
}

/** Whether the slot is not empty any more by the update's doing. */
function isOver(tasks: ReadonlyMap<string, Task> | undefined, stopped: Task): boolean {
  const others = [...(tasks?.values() ?? [])].filter(({ id }) => id !== stopped.id);
  if (!others.some(isWanted)) return true;
  const since = stopped.meta?.updatedAt?.seconds ?? 0n;
  const isLater = (task: Task) => (task.meta?.updatedAt?.seconds ?? 0n) >= since;
  return others.some(
    (task) => stateOf(task) === TaskState.RUNNING || (endedByItself(task) && isLater(task)),
  );
}

/** Whether old tasks hold what new ones need: a port of their host, or an address of a small network. */
function mayBeInTheWay({ spec }: Service, ledger: Ledger): boolean {
  const ports = spec?.endpoint?.ports ?? [];
  if (ports.some(({ publishMode }) => publishMode === PublishMode.HOST)) return true;
  const networks = spec?.task?.networks ?? [];
  return networks.some(({ target }) => ledger.get("network", target)?.spec?.ipam !== undefined);
}

function isActiveTask(task: Task, ledger: Ledger): boolean {
  if (!isWanted(task) || isTerminal(task)) return false;
  return task.nodeId === "" || !losesTasks(ledger.get("node", task.nodeId));
}

function rulesOf(service: Service) {
  const isRollback = service.updateStatus?.state === UpdateState.ROLLBACK_STARTED;
  return updateRulesOf(service.spec, isRollback);
}

function describe({ id, spec }: Service): string {
  return `${spec?.annotations?.name ?? ""} (${id})`;
}
