/** Task templates: what runs, with which resources, where, and what happens when it ends. */

import { create } from "@bufbuild/protobuf";
import type {
  NetworkAttachmentConfig as NetworkJson,
  Placement as PlacementJson,
  ResourceRequirements as ResourcesJson,
  TaskRestartPolicy as RestartJson,
  TaskSpec as TaskSpecJson,
} from "#wire/docker/tasks.ts";
import { type TaskSpec, TaskSpecSchema } from "#wire/gen/swarmkit/specs_pb.js";
import {
  type NetworkAttachmentConfig,
  NetworkAttachmentConfigSchema,
  type Placement,
  PlacementSchema,
  type ResourceRequirements,
  ResourceRequirementsSchema,
  ResourcesSchema,
  RestartPolicy_RestartCondition as RestartCondition,
  type RestartPolicy,
  RestartPolicySchema,
} from "#wire/gen/swarmkit/types_pb.js";
import {
  driverFromJson,
  driverToJson,
  durationFromJson,
  genericResourcesFromJson,
  genericResourcesToJson,
  platformToJson,
} from "./common.ts";
import { containerSpecFromJson, containerSpecToJson } from "./container-spec.ts";
import type { JsonObject } from "./read-json.ts";
import { invalid, named, nameOf } from "./refusal.ts";
import {
  compact,
  listOrNone,
  mapOrNone,
  nanosecondsOf,
  numberOrNone,
  textOrNone,
  uint64Number,
} from "./write-json.ts";

const CONDITIONS = {
  none: RestartCondition.NONE,
  "on-failure": RestartCondition.ON_FAILURE,
  any: RestartCondition.ANY,
} as const;

export function taskSpecFromJson(json: JsonObject): TaskSpec {
  return create(TaskSpecSchema, {
    runtime: runtimeFromJson(json),
    resources: resourcesFromJson(json.object("Resources")),
    restart: restartFromJson(json.object("RestartPolicy")),
    placement: placementFromJson(json.object("Placement")),
    networks: json.objects("Networks").map(networkFromJson),
    logDriver: driverFromJson(json.object("LogDriver")),
    forceUpdate: json.uint64("ForceUpdate"),
  });
}

export function taskSpecToJson(spec: TaskSpec): TaskSpecJson {
  const { runtime, restart, placement, logDriver } = spec;
  return compact({
    ContainerSpec: runtime.case === "container" ? containerSpecToJson(runtime.value) : undefined,
    NetworkAttachmentSpec:
      runtime.case === "attachment" ? { ContainerID: runtime.value.containerId } : undefined,
    Resources: resourcesToJson(spec),
    RestartPolicy: restart && restartToJson(restart),
    Placement: placement && placementToJson(placement),
    Networks: listOrNone(spec.networks.map(networkToJson)),
    LogDriver: logDriver && driverToJson(logDriver),
    ForceUpdate: uint64Number(spec.forceUpdate),
    // Docker names the runtime of a container in a service, and leaves it out in a task.
    Runtime: runtime.case === "attachment" ? ("attachment" as const) : undefined,
  });
}

export function networkFromJson(json: JsonObject): NetworkAttachmentConfig {
  return create(NetworkAttachmentConfigSchema, {
    target: json.text("Target"),
    aliases: json.texts("Aliases"),
    driverAttachmentOpts: json.map("DriverOpts"),
  });
}

export function networkToJson(config: NetworkAttachmentConfig): NetworkJson {
  return compact({
    Target: textOrNone(config.target),
    Aliases: listOrNone(config.aliases),
    DriverOpts: mapOrNone(config.driverAttachmentOpts),
  });
}

function runtimeFromJson(json: JsonObject): TaskSpec["runtime"] {
  const runtime = json.text("Runtime");
  switch (runtime) {
    case "":
    case "container": {
      const spec = json.object("ContainerSpec");
      if (spec === undefined) throw invalid("mismatched Runtime and *Spec fields");
      const pids = json.part("Resources").part("Limits").since(41).int64("Pids");
      return { case: "container", value: containerSpecFromJson(spec, pids) };
    }
    case "plugin":
      throw invalid('runtime type "plugin" only supported in experimental');
    case "attachment":
      throw invalid('invalid task spec: spec type "attachment" not supported');
    default:
      throw invalid("unsupported runtime");
  }
}

function resourcesFromJson(json: JsonObject | undefined): ResourceRequirements | undefined {
  if (json === undefined) return undefined;
  const limits = json.object("Limits");
  const reservations = json.object("Reservations");
  const since52 = json.since(52);
  return create(ResourceRequirementsSchema, {
    limits: limits && create(ResourcesSchema, amountsFromJson(limits)),
    reservations:
      reservations &&
      create(ResourcesSchema, {
        ...amountsFromJson(reservations),
        generic: genericResourcesFromJson(reservations.objects("GenericResources")),
      }),
    swapBytes: since52.optionalInt64("SwapBytes"),
    memorySwappiness: since52.optionalInt64("MemorySwappiness"),
  });
}

function amountsFromJson(json: JsonObject) {
  return { nanoCpus: json.int64("NanoCPUs"), memoryBytes: json.int64("MemoryBytes") };
}

/** The limit on processes is stored with the container and shown with the limits. */
function resourcesToJson(spec: TaskSpec): ResourcesJson | undefined {
  const { resources, runtime } = spec;
  const pids = runtime.case === "container" ? runtime.value.pidsLimit : 0n;
  if (resources === undefined && pids === 0n) return undefined;
  const limits = resources?.limits;
  const reservations = resources?.reservations;
  const amounts = (of: { nanoCpus: bigint; memoryBytes: bigint } | undefined) => ({
    NanoCPUs: numberOrNone(of?.nanoCpus ?? 0n),
    MemoryBytes: numberOrNone(of?.memoryBytes ?? 0n),
  });
  return compact({
    Limits:
      limits === undefined && pids === 0n
        ? undefined
        : compact({ ...amounts(limits), Pids: numberOrNone(pids) }),
    Reservations:
      reservations &&
      compact({
        ...amounts(reservations),
        GenericResources: genericResourcesToJson(reservations.generic),
      }),
    SwapBytes: resources?.swapBytes === undefined ? undefined : Number(resources.swapBytes),
    MemorySwappiness:
      resources?.memorySwappiness === undefined ? undefined : Number(resources.memorySwappiness),
  });
}

function restartFromJson(json: JsonObject | undefined): RestartPolicy | undefined {
  if (json === undefined) return undefined;
  return create(RestartPolicySchema, {
    condition: named(
      CONDITIONS,
      json.text("Condition"),
      RestartCondition.ANY,
      (value) => `invalid RestartCondition: ${value}`,
    ),
    delay: durationFromJson(json, "Delay"),
    maxAttempts: json.uint64("MaxAttempts"),
    window: durationFromJson(json, "Window"),
  });
}

function restartToJson(policy: RestartPolicy): RestartJson {
  const { delay, window } = policy;
  return compact({
    Condition: nameOf(CONDITIONS, policy.condition, "any"),
    Delay: delay && nanosecondsOf(delay),
    MaxAttempts: uint64Number(policy.maxAttempts),
    Window: window && nanosecondsOf(window),
  });
}

function placementFromJson(json: JsonObject | undefined): Placement | undefined {
  if (json === undefined) return undefined;
  return create(PlacementSchema, {
    constraints: json.texts("Constraints"),
    preferences: json.objects("Preferences").flatMap((preference) => {
      const spread = preference.object("Spread");
      if (spread === undefined) return [];
      const value = { spreadDescriptor: spread.text("SpreadDescriptor") };
      return [{ Preference: { case: "spread" as const, value } }];
    }),
    maxReplicas: json.since(40).uint64("MaxReplicas"),
    platforms: json.objects("Platforms").map((platform) => ({
      architecture: platform.text("Architecture"),
      os: platform.text("OS"),
    })),
  });
}

function placementToJson(placement: Placement): PlacementJson {
  return compact({
    Constraints: listOrNone(placement.constraints),
    Preferences: listOrNone(
      placement.preferences.flatMap(({ Preference: preference }) =>
        preference.case === "spread"
          ? [{ Spread: { SpreadDescriptor: preference.value.spreadDescriptor } }]
          : [],
      ),
    ),
    MaxReplicas: numberOrNone(placement.maxReplicas),
    Platforms: listOrNone(placement.platforms.map(platformToJson)),
  });
}
