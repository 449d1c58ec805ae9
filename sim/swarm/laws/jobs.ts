/** Jobs: no more at a time than allowed, and none beyond what is to be completed. */

import { isTerminal, isWanted, stateOf } from "#model/task.ts";
import type { Service, Task } from "#wire/gen/swarmkit/objects_pb.js";
import { TaskState } from "#wire/gen/swarmkit/types_pb.js";
import { Violation } from "../../checker.ts";
import type { Delta, Ledger, StoreLaw } from "../ledger.ts";

export class JobsKeepTheirLimits implements StoreLaw {
  begins(): void {}

  sees(deltas: readonly Delta[], ledger: Ledger): void {
    const grown = new Set<string>();
    for (const delta of deltas) {
      if (delta.kind !== "task" || delta.before !== undefined) continue;
      grown.add(delta.after?.serviceId ?? "");
    }
    for (const id of grown) {
      const service = ledger.get("service", id);
      if (service?.spec?.mode.case === "replicatedJob") checkJob(service, ledger);
    }
  }
}

/** Tasks of a job's present iteration. */
export function tasksOfIteration(service: Service, tasks: Iterable<Task>): readonly Task[] {
  const iteration = service.jobStatus?.jobIteration?.index ?? 0n;
  return [...tasks].filter(
    ({ serviceId, jobIteration }) =>
      serviceId === service.id && (jobIteration?.index ?? 0n) === iteration,
  );
}

function checkJob(service: Service, ledger: Ledger): void {
  const mode = service.spec?.mode;
  if (mode?.case !== "replicatedJob") return;
  const tasks = tasksOfIteration(service, ledger.all("task"));
  const completed = tasks.filter((task) => stateOf(task) === TaskState.COMPLETE).length;
  const active = tasks.filter((task) => isWanted(task) && !isTerminal(task)).length;
  const { maxConcurrent, totalCompletions } = mode.value;
  if (active > Number(maxConcurrent)) {
    throw new Violation("jobs", `${service.id} runs ${active} tasks at once of ${maxConcurrent}`);
  }
  if (completed + active > Number(totalCompletions)) {
    throw new Violation(
      "jobs",
      `${service.id} has ${completed} completed and ${active} tasks for ${totalCompletions}`,
    );
  }
}
