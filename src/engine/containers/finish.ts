/**
 * The end of a run: the last output, the state, who waits, what the run held, and then the restart
 * policy. Runs under the container's lock, so that nothing starts or removes it in between.
 */

import { readFile } from "node:fs/promises";
import { messageOf } from "#base/error.ts";
import { within } from "#platform/async.ts";
import { formatNs } from "../logs/timestamps.ts";
import type { Container } from "./container.ts";
import { type ContainerContext, publishEvent, publishVolumeEvents } from "./context.ts";
import { releaseRun } from "./release.ts";
import { removeLocked } from "./remove.ts";
import { planRestart } from "./restart-policy.ts";
import { SIGKILL } from "./signals.ts";
import { cgroupPath } from "./spec.ts";
import { startRun } from "./start.ts";
import { isAlive, nextState } from "./state.ts";
import type { TaskExit } from "./task-runtime.ts";

/** Output that a process outside the container (a joined pid namespace) holds open is not awaited. */
const DRAIN_TIMEOUT_MS = 2_000;
/** Nor is the answer to a signal, when the end is there already. */
const SIGNAL_TIMEOUT_MS = 2_000;

export async function finishRun(
  context: ContainerContext,
  container: Container,
  exit: TaskExit,
  watch: AbortController,
): Promise<void> {
  // A start that failed, or the engine's close, was faster.
  if (watch.signal.aborted || !isAlive(container.state.phase)) return;
  container.watch = undefined;
  container.stopHealthChecks?.();
  await drainOutput(context, container);
  await within(context.clock, Promise.all(container.signals), SIGNAL_TIMEOUT_MS);
  const killed = exit.exitCode === 128 + SIGKILL;
  const oomKilled = killed && (await countOomKills(context, container)) > 0;
  const ranForMs = context.clock.monotonicMs() - container.startedMonotonicMs;
  const at = exit.at ?? formatNs(context.nowNs());
  const { exitCode } = exit;
  container.state = nextState(container.state, { kind: "exited", exitCode, oomKilled, at });
  const delayMs = planRestart(container.record.hostConfig.RestartPolicy, {
    exitCode,
    restartCount: container.state.restartCount,
    stoppedByUser: container.state.stoppedByUser || container.endWanted,
    ranForMs,
    lastDelayMs: container.lastDelayMs,
  });
  if (delayMs !== undefined) {
    container.state = nextState(container.state, { kind: "restart-planned" });
  }
  await context.store.keepState(container.id, container.state, context.log);
  if (oomKilled) publishEvent(context, container, "oom");
  publishEvent(context, container, "die", {
    exitCode: String(exitCode),
    execDuration: String(Math.floor(ranForMs / 1000)),
  });
  container.hub.end();
  container.announceStopped();
  container.announceExit({ exitCode, final: delayMs === undefined });
  await releaseRun(context, container).catch((error: unknown) =>
    context.log.warn("an ended container still holds something", {
      container: container.id,
      reason: messageOf(error),
    }),
  );
  publishVolumeEvents(context, container, "unmount");
  await afterEnd(context, container, delayMs);
}

/** What follows when the run is cleared away. */
async function afterEnd(
  context: ContainerContext,
  container: Container,
  delayMs: number | undefined,
): Promise<void> {
  if (delayMs !== undefined) planStart(context, container, delayMs);
  else if (container.record.hostConfig.AutoRemove && !container.restarts && !context.closing) {
    await removeLocked(context, container, { volumes: true }).catch((error: unknown) =>
      context.log.error("an ended container cannot be removed", {
        container: container.id,
        reason: messageOf(error),
      }),
    );
  }
}

/** Starts it again by its policy after a pause. The state is "restarting" until then. */
export function planStart(context: ContainerContext, container: Container, delayMs: number): void {
  container.lastDelayMs = delayMs;
  container.restartTimer = context.clock.setTimer(delayMs, () => {
    container.restartTimer = undefined;
    void context.locks
      .run(container.id, () => restartNow(context, container))
      .catch((error: unknown) =>
        context.log.error("a container's restart was not seen through", {
          container: container.id,
          reason: messageOf(error),
        }),
      );
  });
}

async function restartNow(context: ContainerContext, container: Container): Promise<void> {
  if (container.state.phase !== "restarting" || context.closing) return;
  try {
    await startRun(context, container);
  } catch (error) {
    context.log.warn("a container cannot be restarted", {
      container: container.id,
      reason: messageOf(error),
    });
    // A start that fails is an end like any other: the policy says whether to try again.
    const delayMs = planRestart(container.record.hostConfig.RestartPolicy, {
      exitCode: container.state.exitCode,
      restartCount: container.state.restartCount,
      stoppedByUser: container.state.stoppedByUser || container.endWanted,
      ranForMs: 0,
      lastDelayMs: container.lastDelayMs,
    });
    if (delayMs !== undefined) {
      container.state = nextState(container.state, { kind: "restart-planned" });
      await context.store.keepState(container.id, container.state, context.log);
    }
    const { exitCode } = container.state;
    container.announceExit({ exitCode, final: delayMs === undefined });
    await afterEnd(context, container, delayMs);
  }
}

async function drainOutput(context: ContainerContext, container: Container): Promise<void> {
  if (container.io !== undefined) await within(context.clock, container.io.ended, DRAIN_TIMEOUT_MS);
  await container.log?.endRun();
}

/** How many processes of the container the kernel killed for memory; the cgroup still stands. */
async function countOomKills(context: ContainerContext, container: Container): Promise<number> {
  const path = cgroupPath(container.record);
  const file =
    context.host.cgroupVersion === 2
      ? `/sys/fs/cgroup${path}/memory.events`
      : `/sys/fs/cgroup/memory${path}/memory.oom_control`;
  const text = await readFile(file, "utf8").catch(() => "");
  return Number(/^oom_kill (\d+)$/m.exec(text)?.[1] ?? 0);
}
