/**
 * What a task asks of its node, taken apart once per spec: tasks of a service share their spec, so
 * that it is looked up by identity for all but the first.
 */

import { type Constraint, parseConstraints } from "#model/constraint.ts";
import { type Grant, readHostAccess } from "#model/host-access.ts";
import type { Task } from "#wire/gen/swarmkit/objects_pb.js";
import type { TaskSpec } from "#wire/gen/swarmkit/specs_pb.js";
import {
  Mount_Type as MountType,
  type Platform,
  PortConfig_PublishMode as PublishMode,
} from "#wire/gen/swarmkit/types_pb.js";

export interface Needs {
  readonly nanoCpus: number;
  readonly memoryBytes: number;
  /** Kind and count of each generic resource. */
  readonly generic: readonly (readonly [string, number])[];
  readonly constraints: readonly Constraint[];
  readonly platforms: readonly Platform[];
  /** 0 means any number. */
  readonly maxReplicas: number;
  /** Label paths over which to spread first, outermost first: "node.labels.rack". */
  readonly spreadOver: readonly string[];
  readonly volumeDrivers: readonly string[];
  readonly logDriver: string;
  /** What its node must allow (`model/host-access.ts`). */
  readonly hostAccess: readonly Grant[];
}

const NONE: Needs = {
  nanoCpus: 0,
  memoryBytes: 0,
  generic: [],
  constraints: [],
  platforms: [],
  maxReplicas: 0,
  spreadOver: [],
  volumeDrivers: [],
  logDriver: "",
  hostAccess: [],
};

const CACHE = new WeakMap<TaskSpec, Needs>();

export function needsOf(spec: TaskSpec | undefined): Needs {
  if (spec === undefined) return NONE;
  let needs = CACHE.get(spec);
  if (needs === undefined) {
    needs = read(spec);
    CACHE.set(spec, needs);
  }
  return needs;
}

/** Ports that the task opens on its node itself, "protocol/port"; those it leaves open are none. */
export function hostPortsOf(task: Task): readonly string[] {
  const ports = task.endpoint?.ports;
  const listed = ports !== undefined && ports.length > 0 ? ports : task.endpoint?.spec?.ports;
  if (listed === undefined || listed.length === 0) return [];
  return listed
    .filter((port) => port.publishMode === PublishMode.HOST && port.publishedPort !== 0)
    .map((port) => `${port.protocol}/${port.publishedPort}`);
}

/** Drivers of the networks that the task is attached to. */
export function networkDriversOf(task: Task): readonly string[] {
  return task.networks
    .map(({ network }) => network?.driverState?.name ?? "")
    .filter((name) => name !== "");
}

function read(spec: TaskSpec): Needs {
  const reserved = spec.resources?.reservations;
  const placement = spec.placement;
  // Constraints were checked with the spec; should a bad one come in, it forbids nothing.
  const constraints = parseConstraints(placement?.constraints ?? []);
  return {
    nanoCpus: Number(reserved?.nanoCpus ?? 0n),
    memoryBytes: Number(reserved?.memoryBytes ?? 0n),
    generic: (reserved?.generic ?? []).flatMap(({ resource }) =>
      resource.case === "discreteResourceSpec"
        ? [[resource.value.kind, Number(resource.value.value)] as const]
        : [],
    ),
    constraints: constraints.ok ? constraints.value : [],
    platforms: placement?.platforms ?? [],
    maxReplicas: Number(placement?.maxReplicas ?? 0n),
    spreadOver: (placement?.preferences ?? []).flatMap(({ Preference }) =>
      Preference.case === "spread" ? [Preference.value.spreadDescriptor] : [],
    ),
    volumeDrivers: volumeDriversOf(spec),
    logDriver: spec.logDriver?.name ?? "",
    hostAccess: hostAccessOf(spec),
  };
}

/** Labels were checked with the spec; those that mean nothing ask for nothing. */
function hostAccessOf({ runtime }: TaskSpec): readonly Grant[] {
  if (runtime.case !== "container") return [];
  const access = readHostAccess(runtime.value.labels);
  return access.ok ? access.value.needs : [];
}

function volumeDriversOf(spec: TaskSpec): string[] {
  if (spec.runtime.case !== "container") return [];
  return spec.runtime.value.mounts
    .filter(({ type }) => type === MountType.VOLUME)
    .map((mount) => mount.volumeOptions?.driverConfig?.name ?? "")
    .filter((name) => name !== "" && name !== "local");
}
