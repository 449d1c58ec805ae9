/** Changes that a container takes without being made anew: its name, its limits, its policy. */

import { EngineError, messageOf } from "#base/error.ts";
import type { ContainerUpdateBody, HostConfig } from "#wire/docker/containers.ts";
import type { Container } from "./container.ts";
import { type ContainerContext, publishEvent } from "./context.ts";
import { checkHostConfig, checkName } from "./create-request.ts";
import { checkLimits, type HostLimits } from "./limits.ts";
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
    checkChange(container, body, context.host);
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

/** What the new values are by themselves, and then beside those that stand, as docker has it. */
function checkChange(container: Container, body: ContainerUpdateBody, host: HostLimits): void {
  checkLimits(
    { NanoCpus: body.NanoCpus ?? 0, CpuPeriod: body.CpuPeriod ?? 0, CpuQuota: body.CpuQuota ?? 0 },
    host,
  );
  const { hostConfig } = container.record;
  const refusal = conflictOf(hostConfig, body);
  if (refusal === undefined) return;
  throw new EngineError("conflict", `Cannot update container ${container.id}: ${refusal}`);
}

function conflictOf(stands: HostConfig, body: ContainerUpdateBody): string | undefined {
  const is = (value: number | undefined) => (value ?? 0) > 0;
  const set = (what: string, by: string) =>
    `Conflicting options: ${what} cannot be updated as ${by} has already been set`;
  if (is(body.NanoCpus) && is(stands.CpuPeriod)) return set("Nano CPUs", "CPU Period");
  if (is(body.NanoCpus) && is(stands.CpuQuota)) return set("Nano CPUs", "CPU Quota");
  if (is(body.CpuPeriod) && is(stands.NanoCpus)) return set("CPU Period", "NanoCPUs");
  if (is(body.CpuQuota) && is(stands.NanoCpus)) return set("CPU Quota", "NanoCPUs");
  const swap = stands.MemorySwap ?? 0;
  if (swap > 0 && (body.Memory ?? 0) > swap && !body.MemorySwap) {
    return "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time";
  }
  const policy = body.RestartPolicy?.Name ?? "";
  if (stands.AutoRemove === true && policy !== "" && policy !== "no") {
    return "Restart policy cannot be updated because AutoRemove is enabled for the container";
  }
  return undefined;
}
