/**
 * Stop, kill, restart, pause: what is done to a container that runs. Signals are sent without the
 * lock, because a stop waits long and a kill must get past it; the transitions that follow are made
 * by the end of the run.
 */

import { EngineError, isErrorCode, messageOf } from "#base/error.ts";
import { within } from "#platform/async.ts";
import type { Container, ExitNotice } from "./container.ts";
import { type ContainerContext, publishEvent } from "./context.ts";
import { removeLocked } from "./remove.ts";
import { parseSignal, SIGKILL } from "./signals.ts";
import { startRun } from "./start.ts";
import { isAlive, nextState } from "./state.ts";

const DEFAULT_GRACE_SECONDS = 10;
/** After SIGKILL the kernel needs a moment; a process in an uninterruptible wait needs for ever. */
const KILL_TIMEOUT_MS = 10_000;

export interface StopOptions {
  /** Undefined = the container's own; -1 = wait for ever. */
  readonly timeoutSeconds?: number;
  readonly signal?: string;
}

export async function startContainer(
  context: ContainerContext,
  container: Container,
): Promise<void> {
  await context.locks.run(container.id, async () => {
    requireStartable(context, container);
    cancelRestart(container);
    container.endWanted = false;
    container.lastDelayMs = 0;
    container.state = { ...container.state, restartCount: 0, stoppedByUser: false };
    try {
      await startRun(context, container);
    } catch (error) {
      // Who waits for the removal of a --rm container must not wait for a run that never was.
      if (container.record.hostConfig.AutoRemove) {
        await removeLocked(context, container, { volumes: true }).catch((failure: unknown) =>
          context.log.error("a container that did not start cannot be removed yet", {
            container: container.id,
            reason: messageOf(failure),
          }),
        );
      }
      throw error;
    }
  });
}

function requireStartable(context: ContainerContext, container: Container): void {
  switch (container.state.phase) {
    case "running":
      throw new EngineError("not-modified", "the container is already running");
    case "paused":
      throw new EngineError("conflict", "cannot start a paused container, try unpause instead");
    case "removing":
    case "dead":
      throw new EngineError("conflict", "container is marked for removal and cannot be started");
    case "created":
    case "exited":
    case "restarting":
      if (context.closing) throw new EngineError("unavailable", "the engine is shutting down");
  }
}

/** The policy's coming start does not happen; the state follows under the lock. */
function cancelRestart(container: Container): void {
  container.restartTimer?.cancel();
  container.restartTimer = undefined;
}

export async function stopContainer(
  context: ContainerContext,
  container: Container,
  options: StopOptions,
): Promise<void> {
  const { config } = container.record;
  const signal = parseSignal(options.signal || config.StopSignal || "SIGTERM");
  if (await settleRestart(context, container)) return;
  if (!isAlive(container.state.phase)) {
    throw new EngineError("not-modified", "the container is not running");
  }
  const grace = options.timeoutSeconds ?? config.StopTimeout ?? DEFAULT_GRACE_SECONDS;
  await markStopped(context, container);
  const ended = nextExit(container);
  await tellSignal(context, container, signal);
  const inTime = grace < 0 ? ended.then(() => true) : within(context.clock, ended, grace * 1_000);
  if (!(await inTime)) {
    await tellSignal(context, container, SIGKILL);
    if (!(await within(context.clock, ended, KILL_TIMEOUT_MS))) {
      throw new EngineError(
        "internal",
        `cannot stop container: ${container.id}: tried to kill container, but did not receive an exit event`,
      );
    }
  }
  await settled(context, container);
  publishEvent(context, container, "stop");
}

export async function killContainer(
  context: ContainerContext,
  container: Container,
  signalText: string,
): Promise<void> {
  const signal = signalText === "" ? SIGKILL : parseSignal(signalText);
  if (await settleRestart(context, container)) return;
  if (!isAlive(container.state.phase)) {
    throw new EngineError("conflict", `container ${container.id} is not running`);
  }
  const stopSignal = parseSignal(container.record.config.StopSignal || "SIGTERM");
  const ends = signal === SIGKILL || signal === stopSignal;
  if (ends) await markStopped(context, container);
  const ended = nextExit(container);
  await tellSignal(context, container, signal);
  if (signal !== SIGKILL) return;
  await within(context.clock, ended, KILL_TIMEOUT_MS);
  await settled(context, container);
}

export async function restartContainer(
  context: ContainerContext,
  container: Container,
  options: StopOptions,
): Promise<void> {
  if (container.state.phase !== "created") {
    container.restarts = true;
    try {
      await stopContainer(context, container, options);
    } catch (error) {
      if (!isErrorCode(error, "not-modified")) throw error;
    } finally {
      container.restarts = false;
    }
  }
  await startContainer(context, container);
  publishEvent(context, container, "restart");
}

/** Ends it if it runs, and keeps it from being started by its policy. */
export async function endForRemoval(
  context: ContainerContext,
  container: Container,
): Promise<void> {
  if (await settleRestart(context, container)) return;
  if (!isAlive(container.state.phase)) return;
  container.endWanted = true;
  const ended = nextExit(container);
  await tellSignal(context, container, SIGKILL);
  if (!(await within(context.clock, ended, KILL_TIMEOUT_MS))) {
    throw new EngineError(
      "internal",
      `cannot remove container "/${container.name}": could not kill container: tried to kill container, but did not receive an exit event`,
    );
  }
  await settled(context, container);
}

export async function pauseContainer(
  context: ContainerContext,
  container: Container,
): Promise<void> {
  await context.locks.run(container.id, async () => {
    const { phase } = container.state;
    if (phase === "paused") {
      throw new EngineError("conflict", `container ${container.id} is already paused`);
    }
    if (phase !== "running") {
      const what =
        phase === "restarting" ? "restarting, wait until the container is running" : "not running";
      throw new EngineError("conflict", `container ${container.id} is ${what}`);
    }
    await context.runtime.pause(container.id);
    container.state = nextState(container.state, { kind: "paused" });
    await context.store.keepState(container.id, container.state, context.log);
    publishEvent(context, container, "pause");
  });
}

export async function unpauseContainer(
  context: ContainerContext,
  container: Container,
): Promise<void> {
  await context.locks.run(container.id, async () => {
    if (container.state.phase !== "paused") {
      throw new EngineError("conflict", `container ${container.id} is not paused`);
    }
    await context.runtime.resume(container.id);
    container.state = nextState(container.state, { kind: "resumed" });
    await context.store.keepState(container.id, container.state, context.log);
    publishEvent(context, container, "unpause");
  });
}

/** See `ContainerEngine.commit`. The lock keeps a removal, and an unpause of the user's, away. */
export async function commitContainer(
  context: ContainerContext,
  container: Container,
  pause: boolean,
  make: () => Promise<string>,
): Promise<string> {
  return context.locks.run(container.id, async () => {
    const { phase } = container.state;
    if (phase === "removing" || phase === "dead") {
      throw new EngineError(
        "conflict",
        `You cannot commit container ${container.id} which is Dead or being removed`,
      );
    }
    const frozen = pause && phase === "running";
    if (frozen) await context.runtime.pause(container.id);
    try {
      const id = await make();
      publishEvent(context, container, "commit", { imageID: id, comment: "" });
      return id;
    } finally {
      if (frozen && isAlive(container.state.phase)) {
        await context.runtime.resume(container.id);
      }
    }
  });
}

/** A container between two runs of its policy: it stays down. True when it was in between. */
async function settleRestart(context: ContainerContext, container: Container): Promise<boolean> {
  if (container.state.phase !== "restarting") return false;
  container.endWanted = true;
  cancelRestart(container);
  return await context.locks.run(container.id, async () => {
    // A start that was already under way has made it run: then it is stopped like any other.
    if (container.state.phase !== "restarting") return false;
    const stopped = { ...container.state, stoppedByUser: true };
    container.state = nextState(stopped, { kind: "restart-cancelled" });
    await context.store.keepState(container.id, container.state, context.log);
    container.announceExit({ exitCode: container.state.exitCode, final: true });
    return true;
  });
}

async function markStopped(context: ContainerContext, container: Container): Promise<void> {
  container.endWanted = true;
  container.state = { ...container.state, stoppedByUser: true };
  await context.store.keepState(container.id, container.state, context.log);
}

/** Sends a signal, and tells of it before the end that it brings is told of. */
async function tellSignal(
  context: ContainerContext,
  container: Container,
  signal: number,
): Promise<void> {
  const told = sendSignal(context, container, signal).then(() =>
    publishEvent(context, container, "kill", { signal: String(signal) }),
  );
  const settled = told.catch(() => undefined);
  container.signals.add(settled);
  await told.finally(() => container.signals.delete(settled));
  // A frozen process would not see it. As dockerd: any signal wakes it that could be meant to end it.
  const ends = signal === SIGKILL || container.endWanted || !container.record.config.StopSignal;
  if (container.state.phase === "paused" && ends) await thaw(context, container);
}

async function sendSignal(
  { runtime }: ContainerContext,
  { id }: Container,
  signal: number,
): Promise<void> {
  try {
    await runtime.signal(id, signal);
  } catch (error) {
    // It ended by itself meanwhile, which is what most signals are for.
    if (isErrorCode(error, "not-found", "failed-precondition", "conflict")) return;
    if (error instanceof EngineError && /already finished|not running/.test(error.message)) return;
    throw error;
  }
}

/** Where runc thaws what it kills, there is nothing left to do; else the end that fails to come is told. */
async function thaw(context: ContainerContext, container: Container): Promise<void> {
  await unpauseContainer(context, container).catch((error: unknown) =>
    context.log.debug("a container that was told to end is not unpaused", {
      container: container.id,
      reason: messageOf(error),
    }),
  );
}

function nextExit(container: Container): Promise<ExitNotice> {
  return new Promise((resolve) => {
    container.onExit(resolve);
  });
}

/** The end of the run has been dealt with: ports are free, the name may be gone. */
async function settled(context: ContainerContext, container: Container): Promise<void> {
  await context.locks.run(container.id, () => Promise.resolve());
}
