/**
 * What an update promises, as clients see it: in the tables of every node there are always as many
 * tasks to serve as the service asks for, less those that the update may take away at a time; none,
 * if it starts first. That holds from when all tasks ran to the next thing that is not the update's
 * doing: a task that ended by itself, a host that is lost, or an operator who asks for something else.
 */

import { equals } from "@bufbuild/protobuf";
import { replicasOf, updateRulesOf } from "#model/defaults.ts";
import { losesTasks } from "#model/node.ts";
import { endedByItself, isWanted, stateOf } from "#model/task.ts";
import type { Service, Task } from "#wire/gen/swarmkit/objects_pb.js";
import { EndpointSpecSchema, type ServiceSpec } from "#wire/gen/swarmkit/specs_pb.js";
import {
  UpdateConfig_UpdateOrder as Order,
  PortConfig_PublishMode as PublishMode,
  TaskState,
  UpdateConfigSchema,
} from "#wire/gen/swarmkit/types_pb.js";
import { Violation } from "../../checker.ts";
import type { DataPath } from "../data-path.ts";
import type { Delta, Ledger, StoreLaw } from "../ledger.ts";

interface Promised {
  readonly count: number;
  /** Index of the store from which on. */
  readonly since: number;
}

export class EnoughToServe implements StoreLaw {
  readonly #promised = new Map<string, Promised>();
  /** By service. */
  readonly #tasks = new Map<string, Map<string, Task>>();
  /** How often it could be held against a node's tables. */
  checks = 0;

  begins(ledger: Ledger): void {
    this.#promised.clear();
    this.#tasks.clear();
    for (const task of ledger.all("task")) this.#put(task);
    for (const { id } of ledger.all("service")) this.#promise(id, ledger);
  }

  sees(deltas: readonly Delta[], ledger: Ledger): void {
    const touched = new Set<string>();
    for (const delta of deltas) {
      if (delta.kind === "task") {
        const { before, after } = delta;
        const serviceId = (after ?? before)?.serviceId ?? "";
        touched.add(serviceId);
        if (after !== undefined) this.#put(after);
        else this.#tasks.get(serviceId)?.delete(delta.id);
        if (isBlow(before, after)) this.#promised.delete(serviceId);
      } else if (delta.kind === "service") {
        touched.add(delta.id);
        if (asksForElse(delta.before?.spec, delta.after?.spec)) this.#promised.delete(delta.id);
      } else if (delta.kind === "node" && losesTasks(delta.after)) this.#lose(delta.id);
    }
    for (const serviceId of touched) {
      if (!this.#promised.has(serviceId)) this.#promise(serviceId, ledger);
    }
  }

  /** The kernel of a node follows other tables than before. */
  applied(nodeId: string, { kernel, revision }: DataPath): void {
    for (const { networkId, services, endpoints } of kernel.values()) {
      for (const { serviceId, name } of services) {
        const promised = this.#promised.get(serviceId);
        if (promised === undefined || promised.since > revision) continue;
        const ready = endpoints.filter((one) => one.ready && one.serviceId === serviceId).length;
        this.checks++;
        if (ready >= promised.count) continue;
        throw new Violation(
          "availability",
          `${nodeId} has ${ready} tasks of ${name} to lead requests to on ${networkId} at ${revision}, ${promised.count} are promised since ${promised.since}`,
        );
      }
    }
  }

  #lose(nodeId: string): void {
    for (const [serviceId, tasks] of this.#tasks) {
      for (const task of tasks.values()) {
        if (task.nodeId === nodeId) this.#promised.delete(serviceId);
      }
    }
  }

  /** Once all run as they should. */
  #promise(serviceId: string, ledger: Ledger): void {
    const service = ledger.get("service", serviceId);
    if (service?.spec?.mode.case !== "replicated") return;
    const serve = [...(this.#tasks.get(serviceId)?.values() ?? [])].filter(
      (task) => isWanted(task) && stateOf(task) === TaskState.RUNNING,
    );
    const replicas = replicasOf(service.spec);
    const isWhole =
      serve.length === replicas &&
      serve.every(
        (task) =>
          task.specVersion?.index === service.specVersion?.index &&
          !losesTasks(ledger.get("node", task.nodeId)),
      );
    if (!isWhole) return;
    const count = replicas - takenAtOnce(service, ledger);
    if (count > 0) this.#promised.set(serviceId, { count, since: ledger.index });
  }

  #put(task: Task): void {
    const tasks = this.#tasks.get(task.serviceId);
    if (tasks === undefined) this.#tasks.set(task.serviceId, new Map([[task.id, task]]));
    else tasks.set(task.id, task);
  }
}

/** Nobody asked for it: the task ended. */
function isBlow(before: Task | undefined, after: Task | undefined): boolean {
  return after !== undefined && endedByItself(after) && (before === undefined || isWanted(before));
}

/** Whether the same tasks cannot be counted on any more, whatever the update does. */
function asksForElse(before: ServiceSpec | undefined, after: ServiceSpec | undefined): boolean {
  if (before === after) return false;
  if (before === undefined || after === undefined) return true;
  const networksOf = ({ task }: ServiceSpec) => task?.networks.map(({ target }) => target).join();
  const isSame = (["update", "rollback"] as const).every((key) => {
    const [a, b] = [before[key], after[key]];
    return a === b || (a !== undefined && b !== undefined && equals(UpdateConfigSchema, a, b));
  });
  const [a, b] = [before.endpoint, after.endpoint];
  const answersAlike =
    a === b || (a !== undefined && b !== undefined && equals(EndpointSpecSchema, a, b));
  return (
    !isSame ||
    !answersAlike ||
    replicasOf(before) !== replicasOf(after) ||
    networksOf(before) !== networksOf(after)
  );
}

/** How many tasks the update, or the rollback that may follow, may take away before others run. */
function takenAtOnce({ spec }: Service, ledger: Ledger): number {
  const replicas = replicasOf(spec);
  const ports = spec?.endpoint?.ports ?? [];
  const networks = spec?.task?.networks ?? [];
  // What old tasks hold may be in the way of new ones.
  if (ports.some(({ publishMode }) => publishMode === PublishMode.HOST)) return replicas;
  const isSmall = networks.some(
    ({ target }) => ledger.get("network", target)?.spec?.ipam !== undefined,
  );
  if (isSmall) return replicas;
  const taken = [false, true].map((isRollback) => {
    const { order, parallelism } = updateRulesOf(spec, isRollback);
    return order === Order.START_FIRST ? 0 : parallelism;
  });
  return Math.max(...taken);
}
