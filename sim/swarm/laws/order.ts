/**
 * Services that wait for others: no task of a version that waits is given a node, and what is waited
 * for is let go only when it is there.
 */

import { isHeldBack, isTaskHeldBack } from "#model/start-order.ts";
import { holdsNode, isJob, slotKeyOf, stateOf } from "#model/task.ts";
import type { Service, StartCondition } from "#wire/gen/swarmkit/objects_pb.js";
import { TaskState } from "#wire/gen/swarmkit/types_pb.js";
import { Violation } from "../../checker.ts";
import type { Delta, Ledger, StoreLaw } from "../ledger.ts";
import { tasksOfIteration } from "./jobs.ts";

export class StartsInOrder implements StoreLaw {
  /** Conditions that came true. */
  met = 0;

  begins(): void {}

  sees(deltas: readonly Delta[], ledger: Ledger): void {
    for (const delta of deltas) {
      if (delta.kind === "task") {
        const { before, after } = delta;
        if (after === undefined || !holdsNode(after)) continue;
        if (before !== undefined && holdsNode(before)) continue;
        if (!isTaskHeldBack(ledger.get("service", after.serviceId), after)) continue;
        throw new Violation("order", `task ${after.id} of ${after.serviceId} does not wait`);
      } else if (delta.kind === "service") {
        this.#checkMet(delta.before, delta.after, ledger);
      }
    }
  }

  #checkMet(before: Service | undefined, after: Service | undefined, ledger: Ledger): void {
    if (before === undefined || after === undefined || !isHeldBack(before)) return;
    // Another spec has other conditions.
    if (before.specVersion?.index !== after.specVersion?.index) return;
    const left = new Set(after.startAfter.map(nameOf));
    for (const condition of before.startAfter) {
      if (left.has(nameOf(condition))) continue;
      this.met += 1;
      if (isMet(condition, ledger)) continue;
      throw new Violation("order", `${after.id} waits no more, but ${condition.service} is not up`);
    }
  }
}

/** As far as can be told after the entry, in which what was met may have begun to go. */
function isMet({ service: name }: StartCondition, ledger: Ledger): boolean {
  const other = [...ledger.all("service")].find(({ spec }) => spec?.annotations?.name === name);
  const mode = other?.spec?.mode;
  if (other === undefined || mode === undefined) return false;
  const isDone = isJob(other) ? TaskState.COMPLETE : TaskState.RUNNING;
  const own = [...ledger.all("task")].filter(({ serviceId }) => serviceId === other.id);
  const tasks = isJob(other) ? tasksOfIteration(other, own) : own;
  const places = new Set(tasks.filter((task) => stateOf(task) === isDone).map(slotKeyOf)).size;
  if (mode.case === "replicated") return places >= Number(mode.value.replicas);
  if (mode.case === "replicatedJob") return places >= Number(mode.value.totalCompletions);
  return places > 0;
}

function nameOf({ service, kind }: StartCondition): string {
  return `${service} ${kind}`;
}
