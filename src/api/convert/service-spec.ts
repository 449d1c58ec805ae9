/** Services' specs: the template, how many, how they are updated, how they are reached. */

import { create } from "@bufbuild/protobuf";
import type {
  EndpointSpec as EndpointJson,
  ServiceMode as ModeJson,
  ServiceSpec as ServiceSpecJson,
  UpdateConfig as UpdateJson,
} from "#wire/docker/services.ts";
import type { PortConfig as PortJson } from "#wire/docker/tasks.ts";
import {
  type EndpointSpec,
  EndpointSpecSchema,
  GlobalJobSchema,
  GlobalServiceSchema,
  ReplicatedJobSchema,
  ReplicatedServiceSchema,
  EndpointSpec_ResolutionMode as ResolutionMode,
  type ServiceSpec,
  ServiceSpecSchema,
  TaskSpecSchema,
} from "#wire/gen/swarmkit/specs_pb.js";
import {
  UpdateConfig_FailureAction as FailureAction,
  type PortConfig,
  PortConfigSchema,
  PortConfig_Protocol as Protocol,
  PortConfig_PublishMode as PublishMode,
  type UpdateConfig,
  UpdateConfigSchema,
  UpdateConfig_UpdateOrder as UpdateOrder,
} from "#wire/gen/swarmkit/types_pb.js";
import { annotationsFromJson, annotationsToJson, durationOf } from "./common.ts";
import type { JsonObject } from "./read-json.ts";
import { invalid, named, nameOf } from "./refusal.ts";
import { networkFromJson, networkToJson, taskSpecFromJson, taskSpecToJson } from "./task-spec.ts";
import {
  compact,
  listOrNone,
  nanosecondsOf,
  numberOrNone,
  shortFloat32,
  textOrNone,
  uint64Number,
} from "./write-json.ts";

const RESOLUTIONS = { vip: ResolutionMode.VIP, dnsrr: ResolutionMode.DNSRR } as const;
const PROTOCOLS = { tcp: Protocol.TCP, udp: Protocol.UDP, sctp: Protocol.SCTP } as const;
const PUBLISH_MODES = { ingress: PublishMode.INGRESS, host: PublishMode.HOST } as const;
const FAILURE_ACTIONS = {
  pause: FailureAction.PAUSE,
  continue: FailureAction.CONTINUE,
  rollback: FailureAction.ROLLBACK,
} as const;
const ORDERS = {
  "stop-first": UpdateOrder.STOP_FIRST,
  "start-first": UpdateOrder.START_FIRST,
} as const;

export function serviceSpecFromJson(json: JsonObject): ServiceSpec {
  return create(ServiceSpecSchema, {
    annotations: annotationsFromJson(json),
    task: taskSpecFromJson(json.part("TaskTemplate")),
    mode: modeFromJson(json.part("Mode")),
    update: updateFromJson(json.object("UpdateConfig")),
    rollback: updateFromJson(json.object("RollbackConfig")),
    networks: json.objects("Networks").map(networkFromJson),
    endpoint: endpointFromJson(json.object("EndpointSpec")),
  });
}

export function serviceSpecToJson(spec: ServiceSpec): ServiceSpecJson {
  const { update, rollback, endpoint } = spec;
  const task = spec.task ?? create(TaskSpecSchema);
  const runtime = RUNTIME_NAMES[task.runtime.case ?? "container"];
  return compact({
    ...annotationsToJson(spec.annotations),
    TaskTemplate: { ...taskSpecToJson(task), Runtime: runtime },
    Mode: modeToJson(spec.mode),
    UpdateConfig: update && updateToJson(update),
    RollbackConfig: rollback && updateToJson(rollback),
    Networks: listOrNone(spec.networks.map(networkToJson)),
    EndpointSpec: endpoint && endpointToJson(endpoint),
  });
}

const RUNTIME_NAMES = {
  container: "container",
  generic: "plugin",
  attachment: "attachment",
} as const;

export function portToJson(port: PortConfig): PortJson {
  return compact({
    Name: textOrNone(port.name),
    Protocol: nameOf(PROTOCOLS, port.protocol, "tcp"),
    TargetPort: numberOrNone(port.targetPort),
    PublishedPort: numberOrNone(port.publishedPort),
    PublishMode: nameOf(PUBLISH_MODES, port.publishMode, "ingress"),
  });
}

export function endpointToJson(spec: EndpointSpec): EndpointJson {
  return compact({
    Mode: nameOf(RESOLUTIONS, spec.mode, "vip"),
    Ports: listOrNone(spec.ports.map(portToJson)),
  });
}

function endpointFromJson(json: JsonObject | undefined): EndpointSpec | undefined {
  if (json === undefined) return undefined;
  return create(EndpointSpecSchema, {
    mode: named(
      RESOLUTIONS,
      json.text("Mode"),
      ResolutionMode.VIP,
      (value) => `invalid resolution mode: ${value}`,
    ),
    ports: json.objects("Ports").map(portFromJson),
  });
}

function portFromJson(json: JsonObject): PortConfig {
  return create(PortConfigSchema, {
    name: json.text("Name"),
    protocol: named(
      PROTOCOLS,
      json.text("Protocol"),
      Protocol.TCP,
      (value) => `invalid protocol: ${value}`,
    ),
    targetPort: json.uint32("TargetPort"),
    publishedPort: json.uint32("PublishedPort"),
    publishMode: named(
      PUBLISH_MODES,
      json.text("PublishMode"),
      PublishMode.INGRESS,
      (value) => `invalid publish mode: ${value}`,
    ),
  });
}

function updateFromJson(json: JsonObject | undefined): UpdateConfig | undefined {
  if (json === undefined) return undefined;
  const monitor = json.int64("Monitor");
  const action = json.text("FailureAction");
  const order = json.text("Order");
  return create(UpdateConfigSchema, {
    parallelism: json.uint64("Parallelism"),
    delay: durationOf(json.int64("Delay")),
    failureAction: named(
      FAILURE_ACTIONS,
      action,
      FailureAction.PAUSE,
      () => `unrecognized update failure action ${action}`,
    ),
    monitor: monitor === 0n ? undefined : durationOf(monitor),
    maxFailureRatio: json.float("MaxFailureRatio"),
    order: named(ORDERS, order, UpdateOrder.STOP_FIRST, () => `unrecognized update order ${order}`),
  });
}

function updateToJson(config: UpdateConfig): UpdateJson {
  const { delay, monitor } = config;
  return compact({
    Parallelism: uint64Number(config.parallelism),
    Delay: numberOrNone(delay === undefined ? 0 : nanosecondsOf(delay)),
    FailureAction: nameOf(FAILURE_ACTIONS, config.failureAction, "pause"),
    Monitor: numberOrNone(monitor === undefined ? 0 : nanosecondsOf(monitor)),
    MaxFailureRatio: shortFloat32(config.maxFailureRatio),
    Order: nameOf(ORDERS, config.order, "stop-first"),
  });
}

/** Without a mode a service has one replica. */
function modeFromJson(json: JsonObject): ServiceSpec["mode"] {
  const since41 = json.since(41);
  const global = json.object("Global");
  const globalJob = since41.object("GlobalJob");
  const replicated = json.object("Replicated");
  const replicatedJob = since41.object("ReplicatedJob");
  const given = [global, globalJob, replicated, replicatedJob].filter((mode) => mode !== undefined);
  if (given.length > 1) throw invalid("must specify only one service mode");
  if (global !== undefined) return { case: "global", value: create(GlobalServiceSchema) };
  if (globalJob !== undefined) return { case: "globalJob", value: create(GlobalJobSchema) };
  if (replicatedJob !== undefined) {
    const maxConcurrent = replicatedJob.optionalUint64("MaxConcurrent") ?? 1n;
    const totalCompletions = replicatedJob.optionalUint64("TotalCompletions") ?? maxConcurrent;
    const value = create(ReplicatedJobSchema, { maxConcurrent, totalCompletions });
    return { case: "replicatedJob", value };
  }
  const replicas = replicated?.optionalUint64("Replicas") ?? 1n;
  return { case: "replicated", value: create(ReplicatedServiceSchema, { replicas }) };
}

function modeToJson(mode: ServiceSpec["mode"]): ModeJson {
  switch (mode.case) {
    case "replicated":
      return { Replicated: { Replicas: uint64Number(mode.value.replicas) } };
    case "global":
      return { Global: {} };
    case "replicatedJob": {
      const { maxConcurrent, totalCompletions } = mode.value;
      return {
        ReplicatedJob: {
          MaxConcurrent: uint64Number(maxConcurrent),
          TotalCompletions: uint64Number(totalCompletions),
        },
      };
    }
    case "globalJob":
      return { GlobalJob: {} };
    case undefined:
      return {};
  }
}
