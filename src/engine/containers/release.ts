/** Gives back what a run of a container holds: its task, networks, FIFOs, volumes, shared memory. */

import { rm } from "node:fs/promises";
import { unmountSync } from "#platform/libc.ts";
import type { Container } from "./container.ts";
import type { ContainerContext } from "./context.ts";
import { shmFolder } from "./prepare-spec.ts";
import type { ProcessIo } from "./process-io.ts";
import { SIGKILL } from "./signals.ts";
import { releaseSubpaths } from "./subpath.ts";

/** Whether the run got far or not; the parts are independent. */
export async function releaseRun(context: ContainerContext, container: Container): Promise<void> {
  const { id, io } = container;
  container.io = undefined;
  const results = await Promise.allSettled([
    context.runtime.deleteTask(id).then(() => context.runtime.deleteContainer(id)),
    context.networks.detach(id),
    removeStreams(context, id, io),
    container.log?.runs ? container.log.endRun() : undefined,
  ]);
  await releaseSubpaths(context, container.record);
  await unmountVolumes(context, container);
  if (container.record.hostConfig.IpcMode === "shareable") unmountSync(shmFolder(context, id));
  for (const result of results) {
    if (result.status === "rejected") throw result.reason;
  }
}

/** Of a container that does not run; it goes on holding them. */
export async function unmountVolumes(
  { volumes }: ContainerContext,
  { id, record }: Container,
): Promise<void> {
  for (const { type, source } of record.mounts) {
    if (type === "volume") await volumes.unmount(source, id);
  }
}

/** The FIFOs of the run, and of execs in it. */
async function removeStreams(
  context: ContainerContext,
  id: string,
  io: ProcessIo | undefined,
): Promise<void> {
  await io?.remove();
  await rm(`${context.ioRoot}/${id}`, { recursive: true, force: true });
}

const CLEAR_TIMEOUT_MS = 5_000;

/** Ends a task that no run owns, whatever state it is in, and forgets it. */
export async function clearTask(context: ContainerContext, id: string): Promise<void> {
  const { runtime } = context;
  await runtime.signal(id, SIGKILL, { all: true }).catch(() => undefined);
  await runtime.wait(id, "", AbortSignal.timeout(CLEAR_TIMEOUT_MS)).catch(() => undefined);
  await runtime.deleteTask(id);
  await runtime.deleteContainer(id);
}
