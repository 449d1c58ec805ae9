/**
 * In which phases of updates leaders changed and hosts died. Faults strike at random: that they struck
 * in every phase is counted here, so that nobody has to hope for it.
 */

import { isTerminal, isWanted, stateOf } from "#model/task.ts";
import type { Service, Task } from "#wire/gen/swarmkit/objects_pb.js";
import { TaskState, UpdateStatus_UpdateState as UpdateState } from "#wire/gen/swarmkit/types_pb.js";
import type { Ledger } from "./ledger.ts";

/** Of an update that runs, by its tasks: "starting" while one of the new spec is on its way. */
export const PHASES = [
  "starting",
  "watched",
  "done but for its last",
  "paused",
  "rolling back",
] as const;
export type Phase = (typeof PHASES)[number];

export class PhasesOfFaults {
  readonly #leaders = new Map<Phase, number>();
  readonly #deaths = new Map<Phase, number>();
  #term = 0;
  #up: ReadonlySet<string> = new Set();

  /** What is so at this moment: the newest leader's term, and the hosts that are up. */
  look(ledger: Ledger, term: number, up: ReadonlySet<string>): void {
    const isNewLeader = term > this.#term && this.#term > 0;
    const hasDied = [...this.#up].some((nodeId) => !up.has(nodeId));
    this.#term = Math.max(term, this.#term);
    this.#up = up;
    if (!isNewLeader && !hasDied) return;
    for (const phase of phasesIn(ledger)) {
      if (isNewLeader) this.#leaders.set(phase, (this.#leaders.get(phase) ?? 0) + 1);
      if (hasDied) this.#deaths.set(phase, (this.#deaths.get(phase) ?? 0) + 1);
    }
  }

  /** By what happened and when, for people. */
  counts(): Readonly<Record<string, number>> {
    const named = (of: ReadonlyMap<Phase, number>, what: string) =>
      PHASES.map((phase) => [`${what} in updates ${phase}`, of.get(phase) ?? 0] as const);
    return Object.fromEntries([
      ...named(this.#leaders, "leaders changed"),
      ...named(this.#deaths, "hosts died"),
    ]);
  }
}

function phasesIn(ledger: Ledger): ReadonlySet<Phase> {
  const found = new Set<Phase>();
  for (const service of ledger.all("service")) {
    const phase = phaseOf(service, ledger.all("task"));
    if (phase !== undefined) found.add(phase);
  }
  return found;
}

function phaseOf(service: Service, tasks: Iterable<Task>): Phase | undefined {
  const state = service.updateStatus?.state;
  if (state === UpdateState.UPDATING) return phaseOfTasks(service, tasks);
  if (state === UpdateState.ROLLBACK_STARTED) return "rolling back";
  const isPaused = state === UpdateState.PAUSED || state === UpdateState.ROLLBACK_PAUSED;
  return isPaused ? "paused" : undefined;
}

function phaseOfTasks({ id, specVersion }: Service, tasks: Iterable<Task>): Phase {
  const own = [...tasks].filter((task) => task.serviceId === id && isWanted(task));
  const isNew = (task: Task) => task.specVersion?.index === specVersion?.index;
  const starts = (task: Task) =>
    isNew(task) && stateOf(task) !== TaskState.RUNNING && !isTerminal(task);
  if (own.some(starts)) return "starting";
  return own.every(isNew) ? "done but for its last" : "watched";
}
