/** What a task template must fulfil before a service may have it, and what each refusal says. */

import type { Duration } from "@bufbuild/protobuf/wkt";
import { parseConstraints } from "#model/constraint.ts";
import { readHostAccess } from "#model/host-access.ts";
import type { ContainerSpec, GenericRuntimeSpec, TaskSpec } from "#wire/gen/swarmkit/specs_pb.js";
import type {
  HealthConfig,
  Mount,
  Placement,
  Resources,
  RestartPolicy,
} from "#wire/gen/swarmkit/types_pb.js";
import { parseReference } from "#wire/reference.ts";
import { checkConfigReferences, checkSecretReferences } from "./references.ts";
import { invalid, unimplemented } from "./refusal.ts";

const MIN_NANO_CPUS = 1_000_000n;
const MIN_MEMORY_BYTES = 4n * 1024n * 1024n;
const MIN_HEALTH_DURATION_NS = 1_000_000n;
const RESERVED_RUNTIMES = ["container", "attachment"];
const MIN_RUNTIME_NAME = 3;

export function checkTaskSpec(spec: TaskSpec | undefined): void {
  if (spec === undefined) throw invalid("TaskSpec: missing runtime");
  checkResources(spec.resources?.limits);
  checkResources(spec.resources?.reservations);
  checkRestart(spec.restart);
  checkPlacement(spec.placement);
  const { runtime } = spec;
  if (runtime.case === "container") {
    checkSecretReferences(runtime.value);
    checkConfigReferences(runtime.value);
  }
  switch (runtime.case) {
    case undefined:
      throw invalid("TaskSpec: missing runtime");
    case "container":
      return checkContainer(runtime.value);
    case "generic":
      return checkGeneric(runtime.value);
    case "attachment":
      throw unimplemented("RuntimeSpec: unimplemented runtime in service spec");
  }
}

export function nanoseconds(duration: Duration): bigint {
  return duration.seconds * 1_000_000_000n + BigInt(duration.nanos);
}

export function isNegative(duration: Duration | undefined): boolean {
  return duration !== undefined && nanoseconds(duration) < 0n;
}

function checkResources(resources: Resources | undefined): void {
  if (resources === undefined) return;
  const { nanoCpus, memoryBytes } = resources;
  if (nanoCpus !== 0n && nanoCpus < MIN_NANO_CPUS) {
    const cpus = shortFloat(Number(nanoCpus) / 1e9);
    throw invalid(`invalid cpu value ${cpus}: Must be at least 0.001`);
  }
  if (memoryBytes !== 0n && memoryBytes < MIN_MEMORY_BYTES) {
    throw invalid(`invalid memory value ${memoryBytes}: Must be at least 4MiB`);
  }
}

/** A float as C's %g prints it in this range: below 0.0001 as `1e-05`. */
function shortFloat(value: number): string {
  if (value === 0 || Math.abs(value) >= 1e-4) return String(value);
  return value.toExponential().replace(/e-(\d)$/, "e-0$1");
}

function checkRestart(policy: RestartPolicy | undefined): void {
  if (isNegative(policy?.delay)) throw invalid("TaskSpec: restart-delay cannot be negative");
  if (isNegative(policy?.window)) throw invalid("TaskSpec: restart-window cannot be negative");
}

function checkPlacement(placement: Placement | undefined): void {
  const parsed = parseConstraints(placement?.constraints ?? []);
  if (!parsed.ok) throw invalid(parsed.error);
}

function checkContainer(spec: ContainerSpec): void {
  if (spec.image === "") throw invalid("ContainerSpec: image reference must be provided");
  // A templated image is only known on the node.
  if (!spec.image.includes("{{") && !parseReference(spec.image).ok) {
    throw invalid(`ContainerSpec: ${JSON.stringify(spec.image)} is not a valid repository/tag`);
  }
  checkMounts(spec.mounts);
  const access = readHostAccess(spec.labels);
  if (!access.ok) throw invalid(`ContainerSpec: ${access.error}`);
  checkHealth(spec.healthcheck);
}

function checkMounts(mounts: readonly Mount[]): void {
  const targets = new Set<string>();
  for (const { target } of mounts) {
    if (targets.has(target)) throw invalid(`ContainerSpec: duplicate mount point: ${target}`);
    targets.add(target);
  }
}

function checkHealth(health: HealthConfig | undefined): void {
  if (health === undefined) return;
  const durations = [
    ["Interval", health.interval],
    ["Timeout", health.timeout],
    ["StartPeriod", health.startPeriod],
    ["StartInterval", health.startInterval],
  ] as const;
  for (const [name, duration] of durations) {
    const ns = duration === undefined ? 0n : nanoseconds(duration);
    if (ns !== 0n && ns < MIN_HEALTH_DURATION_NS) {
      throw invalid(`ContainerSpec: ${name} in HealthConfig cannot be less than 1ms`);
    }
  }
  if (health.retries < 0) {
    throw invalid("ContainerSpec: Retries in HealthConfig cannot be negative");
  }
}

function checkGeneric(spec: GenericRuntimeSpec): void {
  const kind = JSON.stringify(spec.kind);
  if (spec.kind.length < MIN_RUNTIME_NAME) throw invalid(`Generic runtime: Invalid name ${kind}`);
  if (RESERVED_RUNTIMES.includes(spec.kind.toLowerCase())) {
    throw invalid(`Generic runtime: ${kind} is a reserved name`);
  }
  if (spec.payload === undefined) throw invalid("Generic runtime is missing payload");
  if (spec.payload.typeUrl === "") throw invalid("Generic runtime is missing payload type");
  if (spec.payload.value.length === 0) throw invalid("Generic runtime has an empty payload");
}
