/**
 * The start of an engine over what an earlier one left, however that ended: containers that run are
 * taken up without touching them, ends that nobody saw are dealt with as if they had just happened,
 * and what belongs to no container is removed from containerd. Then the restart policies speak.
 */

import { readdir, rm } from "node:fs/promises";
import { messageOf } from "#base/error.ts";
import { formatNs } from "../logs/timestamps.ts";
import type { NetworkSandbox } from "../ports.ts";
import { Container } from "./container.ts";
import type { ContainerContext } from "./context.ts";
import { createLog } from "./create.ts";
import { planStart } from "./finish.ts";
import { startHealthChecks } from "./health.ts";
import { sandboxOf } from "./networks.ts";
import { ProcessIo } from "./process-io.ts";
import { ownerOfSnapshot, type RunState, ZERO_TIME } from "./record.ts";
import { clearTask, releaseRun } from "./release.ts";
import { removeLocked } from "./remove.ts";
import { startsWithEngine } from "./restart-policy.ts";
import { ioOptions, watchTask } from "./start.ts";
import { isAlive } from "./state.ts";
import type { StoredContainer } from "./store.ts";
import { sweepMounts, sweepProcesses } from "./sweep.ts";
import type { TaskInfo } from "./task-runtime.ts";

/** No start takes longer than this inside containerd. */
const INHERITED_MS = 15_000;

/** Loads every container, and finds out which of them run. Ends that were missed are finished. */
export async function adoptAll(context: ContainerContext): Promise<void> {
  await sweepMounts(context);
  const { containers, abandonedVolumes, damaged } = await context.store.load(context.log);
  for (const id of damaged) context.registry.damaged.add(id);
  const loaded = containers.map((entry) => register(context, entry));
  await Promise.all(
    loaded.map((container) =>
      context.locks
        .run(container.id, () => adopt(context, container))
        .catch((error: unknown) =>
          context.log.error("a container cannot be taken up", {
            container: container.id,
            reason: messageOf(error),
          }),
        ),
    ),
  );
  await removeOrphans(context);
  await removeVolumes(context, abandonedVolumes);
}

/** Sandboxes of the containers that run, for the networks to reconcile with. */
export function runningSandboxes(context: ContainerContext): Map<string, NetworkSandbox> {
  const sandboxes = new Map<string, NetworkSandbox>();
  for (const { record, state } of context.registry.all()) {
    if (isAlive(state.phase)) sandboxes.set(record.id, sandboxOf(record, state.pid));
  }
  return sandboxes;
}

/** Starts what its restart policy wants running; call when networks and volumes are there. */
export function startByPolicy(context: ContainerContext): void {
  for (const container of context.registry.all()) {
    const { state, record } = container;
    if (state.phase === "restarting") {
      planStart(context, container, container.lastDelayMs || 100);
      continue;
    }
    if (state.phase !== "exited") continue;
    const wanted = startsWithEngine(record.hostConfig.RestartPolicy, {
      exitCode: state.exitCode,
      stoppedByUser: state.stoppedByUser,
      everRan: state.startedAt !== ZERO_TIME,
    });
    if (!wanted) continue;
    container.state = { ...state, phase: "restarting" };
    planStart(context, container, 0);
  }
}

function register(context: ContainerContext, { record, state }: StoredContainer): Container {
  const container = new Container(record, state, createLog(context, record));
  container.inheritedUntilMs = context.clock.monotonicMs() + INHERITED_MS;
  context.registry.add(container);
  try {
    context.registry.reserveName(record.name, record.id);
  } catch {
    // Two folders with one name cannot be: a rename was cut off. The id still finds it.
    context.log.warn("a container's name is taken; it keeps its id only", { id: record.id });
  }
  return container;
}

async function adopt(context: ContainerContext, container: Container): Promise<void> {
  const { record, state } = container;
  const task = await context.runtime.task(record.id);
  for (const { type, source } of record.mounts) {
    if (type !== "volume") continue;
    await context.volumes.hold(source, record.id);
    // Also for one that has ended meanwhile: what it had mounted is to be unmounted.
    if (task !== undefined || isAlive(state.phase)) {
      await context.volumes.resume(source, record.id);
    }
  }
  if (state.phase === "removing" || state.phase === "dead") {
    const volumes = (state.removeVolumes ?? false) || (record.hostConfig.AutoRemove ?? false);
    await removeLocked(context, container, { volumes });
    return;
  }
  if (task === undefined) await adoptGone(context, container);
  else if (task.status === "created") await adoptHalfStarted(context, container);
  else await adoptTask(context, container, task);
}

/** It runs, or has ended behind our back with containerd still knowing how. */
async function adoptTask(
  context: ContainerContext,
  container: Container,
  task: TaskInfo,
): Promise<void> {
  const { clock } = context;
  const phase = task.status === "paused" ? "paused" : "running";
  const known = isAlive(container.state.phase);
  const startedAt = known ? container.state.startedAt : formatNs(context.nowNs());
  container.state = { ...container.state, phase, pid: task.pid, startedAt };
  // How long it has run, for the restart policy, from the wall clock: the monotonic one is new.
  const ranForMs = Math.max(0, clock.nowMs() - Date.parse(startedAt));
  container.startedMonotonicMs = clock.monotonicMs() - ranForMs;
  await container.log?.connect().catch((error: unknown) =>
    context.log.warn("a running container's lines are not handed on", {
      container: container.id,
      reason: messageOf(error),
    }),
  );
  container.log?.beginRun();
  container.io = await ProcessIo.adopt(ioOptions(context, container));
  container.announceStarted();
  await context.store.keepState(container.id, container.state, context.log);
  context.log.info("container taken up", { container: container.id, status: task.status });
  // Its end, also one that was long ago, comes by the same way as any other.
  watchTask(context, container);
  if (task.status !== "stopped") startHealthChecks(context, container);
}

/** A start that was cut off between making the task and running it. */
async function adoptHalfStarted(context: ContainerContext, container: Container): Promise<void> {
  await clearTask(context, container.id);
  await releaseRun(context, container);
  const { state } = container;
  if (isAlive(state.phase)) container.state = ended(state, formatNs(context.nowNs()));
  await context.store.keepState(container.id, container.state, context.log);
}

/** No task: it did not run, or the machine was restarted, or the shim was killed. */
async function adoptGone(context: ContainerContext, container: Container): Promise<void> {
  const { state, record } = container;
  const wasAlive = isAlive(state.phase);
  if (wasAlive) {
    container.state = ended(state, formatNs(context.nowNs()));
    await context.store.keepState(container.id, container.state, context.log);
  }
  if (wasAlive || state.phase === "restarting") await releaseRun(context, container);
  const ranOnce = container.state.startedAt !== ZERO_TIME;
  if (record.hostConfig.AutoRemove && ranOnce) {
    await removeLocked(context, container, { volumes: true });
  }
}

/** 255 is docker's code for an end that nobody saw. */
function ended(state: RunState, at: string): RunState {
  return {
    ...state,
    phase: "exited",
    pid: 0,
    exitCode: 255,
    finishedAt: at,
    network: { networks: [], ports: {} },
  };
}

/**
 * Compares containerd with what should run: a start that was cut off may leave its task only after
 * the next engine has looked. What has no run is ended; with `full`, also what containerd does not
 * know of. A removal that nobody would ask for again (--rm) is tried again.
 */
export async function auditTasks(context: ContainerContext, full: boolean): Promise<void> {
  const { runtime, registry, locks, log } = context;
  const mayRun = (id: string) =>
    registry.damaged.has(id) || isAlive(registry.get(id)?.state.phase ?? "removing");
  // Tasks too: a container may be removed before the start that was cut off has made its task.
  const ids = [...(await runtime.ownedContainers()), ...(await runtime.ownedTasks())];
  for (const id of new Set(ids)) {
    if (mayRun(id)) continue;
    await locks.run(id, async () => {
      // A start or an end that was under way is over now, and may have changed it.
      if (mayRun(id) || context.closing) return;
      log.warn("ending a task without a run", { container: id });
      await clearTask(context, id);
      const container = registry.get(id);
      if (container !== undefined) await releaseRun(context, container);
    });
  }
  if (full) await sweepProcesses(context);
  await removeDead(context);
}

async function removeDead(context: ContainerContext): Promise<void> {
  const { registry, locks, log } = context;
  const isDue = ({ state, record }: Container) =>
    state.phase === "dead" && record.hostConfig.AutoRemove === true;
  for (const container of registry.all().filter(isDue)) {
    await locks
      .run(container.id, async () => {
        if (isDue(container) && registry.get(container.id) === container && !context.closing) {
          await removeLocked(context, container, { volumes: true });
        }
      })
      .catch((error: unknown) =>
        log.warn("an ended container still cannot be removed", {
          container: container.id,
          reason: messageOf(error),
        }),
      );
  }
}

/** Anonymous volumes of creates that were cut off: no container knows of them. */
async function removeVolumes(context: ContainerContext, names: readonly string[]): Promise<void> {
  for (const name of names) {
    await context.volumes.remove(name, { force: true }).catch((error: unknown) =>
      context.log.warn("a volume of a create that was cut off stays", {
        volume: name,
        reason: messageOf(error),
      }),
    );
  }
}

/** What a create or remove that was cut off left in containerd and in the run root. */
async function removeOrphans(context: ContainerContext): Promise<void> {
  const { runtime, registry, log } = context;
  const orphans = async (ids: readonly string[], remove: (id: string) => Promise<void>) => {
    for (const id of ids) {
      const owner = ownerOfSnapshot(id);
      if (registry.get(owner) !== undefined || registry.damaged.has(owner)) continue;
      log.warn("removing what belongs to no container", { id });
      await remove(id).catch((error: unknown) =>
        log.warn("it cannot be removed", { id, reason: messageOf(error) }),
      );
    }
  };
  await orphans(await runtime.ownedContainers(), (id) => clearTask(context, id));
  await orphans(await runtime.ownedSnapshots(), (id) =>
    runtime.removeSnapshot(runtime.snapshotter, id),
  );
  // FIFOs also of containers that stay, but do not run: a start of theirs was cut off.
  for (const id of await readdir(context.ioRoot).catch(() => [])) {
    const container = registry.get(id);
    if (registry.damaged.has(id)) continue;
    if (container !== undefined && isAlive(container.state.phase)) continue;
    await rm(`${context.ioRoot}/${id}`, { recursive: true, force: true });
  }
}
