/** Changes that a container takes without being made anew: its name, its limits, its policy. */

import { EngineError, messageOf } from "#base/error.ts";
import type { ContainerUpdateBody, HostConfig } from "#wire/docker/containers.ts";
import type { Container } from "./container.ts";
import { type ContainerContext, publishEvent } from "./context.ts";
import { checkHostConfig, checkName } from "./create-request.ts";
import { sandboxOf } from "./networks.ts";
import { planResources } from "./spec-resources.ts";
import { isAlive } from "./state.ts";

export async function renameContainer(
  context: ContainerContext,
  container: Container,
  newName: string,
): Promise<void> {
  if (newName === "") {
    throw new EngineError("invalid-argument", "Neither old nor new names may be empty");
  }
  const name = allocatable(() => checkName(newName.startsWith("/") ? newName : `/${newName}`));
  await context.locks.run(container.id, async () => {
    const oldName = container.name;
    if (name === oldName) {
      throw new EngineError(
        "invalid-argument",
        "Renaming a container with the same name as its current name",
      );
    }
    allocatable(() => context.registry.reserveName(name, container.id));
    try {
      const record = { ...container.record, name };
      await context.store.saveRecord(record);
      container.record = record;
    } catch (error) {
      context.registry.releaseName(name, container.id);
      throw error;
    }
    context.registry.releaseName(oldName, container.id);
    if (isAlive(container.state.phase)) {
      await context.networks.rename(sandboxOf(container.record, container.state.pid));
    }
    publishEvent(context, container, "rename", { oldName: `/${oldName}` });
  });
}

/** What is wrong with the new name is said as docker says it. */
function allocatable<T>(check: () => T): T {
  try {
    return check();
  } catch (thrown) {
    const error = EngineError.from(thrown);
    throw new EngineError(error.code, `Error when allocating new name: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

/** The fields of an update that stand for limits; what is 0 or absent stays as it is. */
const LIMITS = [
  "BlkioWeight",
  "CpuPeriod",
  "CpuQuota",
  "CpuRealtimePeriod",
  "CpuRealtimeRuntime",
  "CpuShares",
  "CpusetCpus",
  "CpusetMems",
  "Memory",
  "MemoryReservation",
  "MemorySwap",
  "NanoCpus",
  "PidsLimit",
] as const satisfies readonly (keyof HostConfig)[];

export async function updateContainer(
  context: ContainerContext,
  container: Container,
  body: ContainerUpdateBody,
): Promise<string[]> {
  return await context.locks.run(container.id, async () => {
    const { phase } = container.state;
    if (phase === "removing" || phase === "dead") {
      throw new EngineError(
        "conflict",
        `Cannot update container ${container.id}: container is marked for removal and cannot be "update".`,
      );
    }
    const changed = Object.fromEntries(
      LIMITS.filter((name) => body[name]).map((name) => [name, body[name]]),
    );
    const policy = body.RestartPolicy?.Name ? { RestartPolicy: body.RestartPolicy } : {};
    const hostConfig: HostConfig = { ...container.record.hostConfig, ...changed, ...policy };
    const warnings = checkHostConfig(hostConfig, context.host);
    const record = { ...container.record, hostConfig };
    if (isAlive(phase) && Object.keys(changed).length > 0) {
      const resources = planResources(hostConfig, new Map());
      await context.runtime.updateResources(container.id, resources);
    }
    await context.store.saveRecord(record);
    container.record = record;
    publishEvent(context, container, "update");
    return warnings;
  });
}
