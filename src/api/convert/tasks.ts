/** Tasks as the API shows them, and the networks that they carry. */

import { create } from "@bufbuild/protobuf";
import { isIngress } from "#model/network.ts";
import type {
  AttachedNetwork,
  IpamOptions as IpamJson,
  Task as TaskJson,
  TaskStatus as TaskStatusJson,
} from "#wire/docker/tasks.ts";
import type { Network, Task } from "#wire/gen/swarmkit/objects_pb.js";
import { TaskSpecSchema } from "#wire/gen/swarmkit/specs_pb.js";
import { type IPAMOptions, TaskState, type TaskStatus } from "#wire/gen/swarmkit/types_pb.js";
import { annotationsToJson, driverToJson, genericResourcesToJson, metaToJson } from "./common.ts";
import { nameOf } from "./refusal.ts";
import { portToJson } from "./service-spec.ts";
import { taskSpecToJson } from "./task-spec.ts";
import {
  compact,
  listOrNone,
  numberOrNone,
  textOrNone,
  timeText,
  trueOrNone,
} from "./write-json.ts";

const STATES: Readonly<Record<string, TaskState>> = {
  new: TaskState.NEW,
  pending: TaskState.PENDING,
  assigned: TaskState.ASSIGNED,
  accepted: TaskState.ACCEPTED,
  preparing: TaskState.PREPARING,
  ready: TaskState.READY,
  starting: TaskState.STARTING,
  running: TaskState.RUNNING,
  complete: TaskState.COMPLETE,
  shutdown: TaskState.SHUTDOWN,
  failed: TaskState.FAILED,
  rejected: TaskState.REJECTED,
  remove: TaskState.REMOVE,
  orphaned: TaskState.ORPHANED,
};

export function taskStateName(state: TaskState): string {
  return nameOf(STATES, state, "new");
}

/** Undefined for a name that is none; case does not matter. */
export function taskStateOf(name: string): TaskState | undefined {
  const lower = name.toLowerCase();
  return Object.hasOwn(STATES, lower) ? STATES[lower] : undefined;
}

export function taskToJson(task: Task): TaskJson {
  return compact({
    ...metaToJson(task),
    ...annotationsToJson(task.annotations),
    Spec: taskSpecToJson(task.spec ?? create(TaskSpecSchema)),
    ServiceID: textOrNone(task.serviceId),
    Slot: numberOrNone(task.slot),
    NodeID: textOrNone(task.nodeId),
    AssignedGenericResources: genericResourcesToJson(task.assignedGenericResources),
    Status: statusToJson(task.status),
    DesiredState: taskStateName(task.desiredState),
    NetworksAttachments: listOrNone(
      task.networks.map(({ network, addresses }) =>
        compact({
          Network: attachedNetworkToJson(network),
          Addresses: listOrNone(addresses),
        }),
      ),
    ),
    JobIteration: task.jobIteration && compact({ Index: numberOrNone(task.jobIteration.index) }),
    Volumes:
      listOrNone(
        task.volumes.map(({ id, source, target }) =>
          compact({ ID: textOrNone(id), Source: textOrNone(source), Target: textOrNone(target) }),
        ),
      ) ?? null,
  });
}

function statusToJson(status: TaskStatus | undefined): TaskStatusJson {
  const runtime = status?.runtimeStatus;
  const container = runtime?.case === "container" ? runtime.value : undefined;
  return compact({
    Timestamp: timeText(status?.timestamp),
    State: taskStateName(status?.state ?? TaskState.NEW),
    Message: textOrNone(status?.message ?? ""),
    Err: textOrNone(status?.err ?? ""),
    ContainerStatus: container && {
      ContainerID: container.containerId,
      PID: container.pid,
      ExitCode: container.exitCode,
    },
    PortStatus: compact({ Ports: listOrNone((status?.portStatus?.ports ?? []).map(portToJson)) }),
  });
}

function attachedNetworkToJson(network: Network | undefined): AttachedNetwork {
  const spec = network?.spec;
  const from = spec?.configFrom.case === "network" ? spec.configFrom.value : "";
  const driver = spec?.driverConfig;
  return compact({
    ...metaToJson(network ?? { id: "" }),
    Spec: compact({
      ...annotationsToJson(spec?.annotations),
      DriverConfiguration: driver && driverToJson(driver),
      IPv6Enabled: trueOrNone(spec?.ipv6Enabled ?? false),
      Internal: trueOrNone(spec?.internal ?? false),
      Attachable: trueOrNone(spec?.attachable ?? false),
      Ingress: trueOrNone(network !== undefined && isIngress(network)),
      IPAMOptions: spec?.ipam && ipamToJson(spec.ipam),
      ConfigFrom: from === "" ? undefined : { Network: from },
      Scope: "swarm" as const,
    }),
    DriverState: network?.driverState === undefined ? {} : driverToJson(network.driverState),
    IPAMOptions: network?.ipam && ipamToJson(network.ipam),
  });
}

function ipamToJson(ipam: IPAMOptions): IpamJson {
  return compact({
    Driver: ipam.driver === undefined ? {} : driverToJson(ipam.driver),
    Configs: listOrNone(
      ipam.configs.map(({ subnet, range, gateway }) =>
        compact({
          Subnet: textOrNone(subnet),
          Range: textOrNone(range),
          Gateway: textOrNone(gateway),
        }),
      ),
    ),
  });
}
