/**
 * Starts a container: specification, task, networks, first instruction, in this order, under the
 * container's lock. A failure anywhere takes all of it back, and is remembered in the state with the
 * exit code that docker gives it. Nothing here is shared between containers, so that any number of
 * them start side by side.
 */

import { type EngineError, isErrorCode, messageOf } from "#base/error.ts";
import { sleep } from "#platform/async.ts";
import { formatNs } from "../logs/timestamps.ts";
import type { Container } from "./container.ts";
import { type ContainerContext, publishEvent, publishVolumeEvents } from "./context.ts";
import { startHealthChecks } from "./health.ts";
import { attachNetworks } from "./networks.ts";
import type { OciSpec } from "./oci-spec.ts";
import { tee } from "./output-hub.ts";
import { prepareSpec } from "./prepare-spec.ts";
import { ProcessIo, type ProcessIoOptions } from "./process-io.ts";
import { clearTask, releaseRun } from "./release.ts";
import { describeStartError } from "./start-error.ts";
import { nextState } from "./state.ts";
import { releaseSubpaths } from "./subpath.ts";
import type { ProcessPaths } from "./task-runtime.ts";

/** The caller holds the container's lock, and has checked that it may start. */
export async function startRun(context: ContainerContext, container: Container): Promise<void> {
  const { runtime } = context;
  const { id } = container;
  try {
    container.rootfs ??= await runtime.snapshotMounts(container.record.snapshotter, id);
    const options = ioOptions(context, container);
    const [spec, io] = await Promise.all([
      prepareSpec(context, container, container.rootfs),
      ProcessIo.create(options),
    ]);
    container.io = io;
    await container.log?.connect();
    container.log?.beginRun();
    const pid = await makeTask(context, container, { spec, paths: io.paths });
    io.connected();
    await releaseSubpaths(context, container.record);
    const network = await attachNetworks(context, container, pid);
    watchTask(context, container);
    // Not after it: clients ask for the log since the start, and what is written at once is part of it.
    const at = formatNs(context.nowNs());
    await runtime.start(id);
    container.state = nextState(container.state, { kind: "started", pid, at, network });
    container.startedMonotonicMs = context.clock.monotonicMs();
  } catch (error) {
    throw await rollBack(context, container, error);
  }
  await context.store.keepState(id, container.state, context.log);
  container.endWanted = false;
  container.announceStarted();
  publishVolumeEvents(context, container, "mount");
  publishEvent(context, container, "start");
  startHealthChecks(context, container);
}

/** How long a start waits for the end of one that an earlier engine did not live to see through. */
const UNFINISHED_PATIENCE_MS = 5_000;
const UNFINISHED_RETRY_MS = 200;

/**
 * The container and its task in containerd. containerd goes on with a start whose engine has died,
 * and refuses a second one of the same name: what it makes is ended, then it is our turn.
 */
async function makeTask(
  context: ContainerContext,
  container: Container,
  { spec, paths }: { readonly spec: OciSpec; readonly paths: ProcessPaths },
): Promise<number> {
  const { runtime, clock, log } = context;
  const { id, record, rootfs = [] } = container;
  const { snapshotter, imageId: image } = record;
  const deadlineMs = clock.monotonicMs() + UNFINISHED_PATIENCE_MS;
  for (;;) {
    try {
      await runtime.createContainer(id, spec, { snapshotter, image });
      return await runtime.createTask(id, rootfs, paths);
    } catch (error) {
      const nowMs = clock.monotonicMs();
      if (nowMs >= deadlineMs || nowMs >= container.inheritedUntilMs) throw error;
      log.debug("a start is tried again", { container: id, reason: messageOf(error) });
      await clearTask(context, id).catch(() => undefined);
      await sleep(clock, UNFINISHED_RETRY_MS);
    }
  }
}

export function ioOptions(context: ContainerContext, container: Container): ProcessIoOptions {
  const { id, record, hub, log } = container;
  return {
    folder: `${context.ioRoot}/${id}`,
    prefix: "",
    stdin: record.config.OpenStdin ?? false,
    stdout: true,
    stderr: true,
    terminal: record.config.Tty ?? false,
    sink: log === undefined ? hub : tee(log, hub),
    closeStdin: () => context.runtime.closeStdin(id, ""),
  };
}

const RECONNECT_DELAY_MS = 200;

/** Waits for the end of the task, however often containerd is restarted meanwhile. */
export function watchTask(context: ContainerContext, container: Container): void {
  const watch = new AbortController();
  container.watch = watch;
  const { id } = container;
  const ended = async () => {
    for (;;) {
      try {
        return await context.runtime.wait(id, "", watch.signal);
      } catch (error) {
        if (watch.signal.aborted) return undefined;
        // Gone without a trace: the shim was killed, and its task with it.
        if (isErrorCode(error, "not-found")) return { exitCode: 255, at: undefined };
        context.log.debug("waiting for a container again", { id, reason: messageOf(error) });
        await sleep(context.clock, RECONNECT_DELAY_MS);
      }
    }
  };
  void (async () => {
    const exit = await ended();
    if (exit === undefined || watch.signal.aborted) return;
    await context.locks.run(id, () => context.runEnded(container, exit, watch));
  })();
}

/** What a failed start leaves is taken away; returns the error in docker's words. */
async function rollBack(
  context: ContainerContext,
  container: Container,
  thrown: unknown,
): Promise<EngineError> {
  const error = describeStartError(thrown, container.record.path);
  container.watch?.abort();
  container.watch = undefined;
  await context.runtime.signal(container.id, 9).catch(() => undefined);
  await releaseRun(context, container).catch((failure: unknown) =>
    context.log.warn("a failed start leaves something behind", {
      container: container.id,
      reason: messageOf(failure),
    }),
  );
  const at = formatNs(context.nowNs());
  const { exitCode, message } = { exitCode: error.exitCode, message: error.error.message };
  container.state = nextState(container.state, {
    kind: "start-failed",
    exitCode,
    error: message,
    at,
  });
  await context.store.keepState(container.id, container.state, context.log);
  container.hub.end();
  container.announceStopped();
  return error.error;
}
