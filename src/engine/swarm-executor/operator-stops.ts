/**
 * Containers as an operator handles them: what he stops, kills, restarts or removes by hand may be a
 * task's, and then traffic is led away before the signal, as for a stop that managers ask for. The
 * swarm then finds its task ended, and does what the restart policy says.
 */

import type { ContainerInspect } from "#wire/docker/containers.ts";
import type { ContainerEngine } from "../containers/service.ts";
import { parseSignal, SIGKILL } from "../containers/signals.ts";
import { TASK_ID_LABEL } from "./container-body.ts";

export interface TaskWithdrawer {
  /** See `ContainerTaskController.withdraw`; does nothing for a task that is not this host's. */
  withdraw(taskId: string, graceMs: number | undefined): Promise<void>;
}

/** The same engine, for who is not the swarm. */
export function forOperators(engine: ContainerEngine, tasks: TaskWithdrawer): ContainerEngine {
  const first = async (
    reference: string,
    graceMs: (found: ContainerInspect) => number | undefined | "none",
  ): Promise<void> => {
    const found = await engine.inspect(reference).catch(() => undefined);
    // What is refused, or does not run, is the engine's to answer.
    const taskId = found?.Config.Labels?.[TASK_ID_LABEL];
    if (found === undefined || taskId === undefined || !found.State.Running) return;
    const grace = graceMs(found);
    if (grace !== "none") await tasks.withdraw(taskId, grace);
  };
  return {
    ...engine,
    stop: async (reference, options) => {
      await first(reference, () => graceOf(options.timeoutSeconds));
      await engine.stop(reference, options);
    },
    restart: async (reference, options) => {
      await first(reference, () => graceOf(options.timeoutSeconds));
      await engine.restart(reference, options);
    },
    kill: async (reference, signal) => {
      // At once is what was asked for: new connections go elsewhere, those that are there end.
      await first(reference, (found) => (ends(signal, found) ? 0 : "none"));
      await engine.kill(reference, signal);
    },
    remove: async (reference, options) => {
      if (options.force === true) await first(reference, () => 0);
      await engine.remove(reference, options);
    },
  };
}

/** As the stop itself: undefined = as the container says, -1 = for ever. */
function graceOf(seconds: number | undefined): number | undefined {
  return seconds === undefined || seconds < 0 ? undefined : seconds * 1_000;
}

/** Whether the signal is to end the container; one that is malformed is refused later. */
function ends(signal: string, { Config }: ContainerInspect): boolean {
  if (signal === "") return true;
  try {
    const number = parseSignal(signal);
    return number === SIGKILL || number === parseSignal(Config.StopSignal || "SIGTERM");
  } catch {
    return false;
  }
}
