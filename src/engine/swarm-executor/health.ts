/**
 * Watching one container's health. Level-triggered: events say when to look, and inspecting says
 * what is; a look now and then makes up for an event that never came.
 */

import { isErrorCode } from "#base/error.ts";
import type { Clock } from "#base/ports.ts";
import { sleep } from "#platform/async.ts";
import type { ContainerInspect } from "#wire/docker/containers.ts";
import type { ContainerService, EventBus } from "../ports.ts";

export interface HealthPorts {
  readonly containers: Pick<ContainerService, "inspect">;
  readonly events: EventBus;
  readonly clock: Clock;
}

/** `gone`: it no longer runs, or no longer exists. */
export type Health = "healthy" | "unhealthy" | "gone";

/** How often to look without an event, and when events cannot be had. */
const LOOK_MS = 5_000;
const BLIND_LOOK_MS = 1_000;

/** True when the container, or its image, has a health check that is not switched off. */
export function hasHealthcheck(container: ContainerInspect): boolean {
  const test = container.Config.Healthcheck?.Test;
  return test !== undefined && test !== null && test.length > 0 && test[0] !== "NONE";
}

/** Resolves when the container's health is one of those asked for, or when it is gone. */
export async function untilHealth(
  ports: HealthPorts,
  container: string,
  wanted: readonly Health[],
  signal: AbortSignal,
): Promise<Health> {
  const done = new AbortController();
  const both = AbortSignal.any([signal, done.signal]);
  let changed = false;
  let wake = (): void => undefined;
  let lookMs = LOOK_MS;
  const listen = async (): Promise<void> => {
    const filters = new Map([
      ["type", ["container"]],
      ["container", [container]],
    ]);
    const events = ports.events.subscribe({ filters, signal: both })[Symbol.asyncIterator]();
    try {
      while (!(await events.next()).done) {
        changed = true;
        wake();
      }
    } finally {
      // The bus ended, or lost us for reading slowly: the looks alone have to do.
      lookMs = BLIND_LOOK_MS;
      wake();
    }
  };
  const listening = listen().catch(() => undefined);
  try {
    for (;;) {
      changed = false;
      const health = await look(ports, container);
      if (health === "gone" || (health !== undefined && wanted.includes(health))) return health;
      const pause = new AbortController();
      wake = () => pause.abort();
      if (!changed) {
        const either = AbortSignal.any([signal, pause.signal]);
        await sleep(ports.clock, lookMs, either).catch(() => undefined);
      }
      signal.throwIfAborted();
    }
  } finally {
    done.abort();
    await listening;
  }
}

async function look(ports: HealthPorts, container: string): Promise<Health | undefined> {
  try {
    const { State } = await ports.containers.inspect(container);
    if (State.Status === "exited" || State.Status === "dead" || State.Status === "removing") {
      return "gone";
    }
    const health = State.Health?.Status;
    return health === "healthy" || health === "unhealthy" ? health : undefined;
  } catch (error) {
    if (isErrorCode(error, "not-found")) return "gone";
    throw error;
  }
}
