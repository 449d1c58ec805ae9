/** Services as the API shows them. */

import { create } from "@bufbuild/protobuf";
import type { Timestamp } from "@bufbuild/protobuf/wkt";
import { conditionText } from "#model/start-order.ts";
import type {
  Service as ServiceJson,
  ServiceStatus as StatusJson,
  UpdateStatus as UpdateStatusJson,
} from "#wire/docker/services.ts";
import type { ListServiceStatusesResponse_ServiceStatus as ServiceStatus } from "#wire/gen/swarmkit/control_pb.js";
import {
  type Endpoint,
  Rollout_Phase as Phase,
  type Rollout,
  type Service,
  Rollout_Strategy as Strategy,
} from "#wire/gen/swarmkit/objects_pb.js";
import { ServiceSpecSchema } from "#wire/gen/swarmkit/specs_pb.js";
import {
  type JobStatus,
  UpdateStatus_UpdateState as UpdateState,
  type UpdateStatus,
} from "#wire/gen/swarmkit/types_pb.js";
import { metaToJson } from "./common.ts";
import { endpointToJson, portToJson, serviceSpecToJson } from "./service-spec.ts";
import {
  compact,
  listOrNone,
  numberOrNone,
  textOrNone,
  timeText,
  uint64Number,
} from "./write-json.ts";

const UPDATE_STATES = {
  [UpdateState.UNKNOWN]: undefined,
  [UpdateState.UPDATING]: "updating",
  [UpdateState.PAUSED]: "paused",
  [UpdateState.COMPLETED]: "completed",
  [UpdateState.ROLLBACK_STARTED]: "rollback_started",
  [UpdateState.ROLLBACK_PAUSED]: "rollback_paused",
  [UpdateState.ROLLBACK_COMPLETED]: "rollback_completed",
} as const;

export function serviceToJson(service: Service, status?: ServiceStatus): ServiceJson {
  const { previousSpec, updateStatus, jobStatus } = service;
  return compact({
    ...metaToJson(service),
    Spec: serviceSpecToJson(service.spec ?? create(ServiceSpecSchema)),
    PreviousSpec: previousSpec && serviceSpecToJson(previousSpec),
    Endpoint: endpointOfServiceToJson(service.endpoint),
    UpdateStatus: updateStatus && updateStatusToJson(updateStatus),
    Rollout: service.rollout && rolloutToJson(service.rollout),
    ServiceStatus: status && statusToJson(status),
    JobStatus: jobStatus && jobStatusToJson(jobStatus),
    StartAfter: listOrNone(service.startAfter.map(conditionText)),
    AllocationError: textOrNone(service.allocationError),
  });
}

function endpointOfServiceToJson(endpoint: Endpoint | undefined): ServiceJson["Endpoint"] {
  const vips = (endpoint?.virtualIps ?? []).map(({ networkId, addr }) =>
    compact({ NetworkID: textOrNone(networkId), Addr: textOrNone(addr) }),
  );
  return compact({
    Spec: endpoint?.spec === undefined ? {} : endpointToJson(endpoint.spec),
    Ports: listOrNone((endpoint?.ports ?? []).map(portToJson)),
    VirtualIPs: listOrNone(vips),
  });
}

function updateStatusToJson(status: UpdateStatus): UpdateStatusJson {
  return compact({
    State: UPDATE_STATES[status.state],
    StartedAt: timeOrNone(status.startedAt),
    CompletedAt: timeOrNone(status.completedAt),
    Message: textOrNone(status.message),
  });
}

const STRATEGIES = {
  [Strategy.ROLLING]: "rolling",
  [Strategy.CANARY]: "canary",
  [Strategy.BLUE_GREEN]: "blue-green",
} as const;
const PHASES = { [Phase.TRIAL]: "trial", [Phase.SPREAD]: "spread", [Phase.KEPT]: "kept" } as const;

function rolloutToJson(rollout: Rollout): ServiceJson["Rollout"] {
  return {
    Strategy: STRATEGIES[rollout.strategy],
    Phase: PHASES[rollout.phase],
    Since: timeText(rollout.since),
    Promoted: rollout.promoted,
    SetAside: rollout.setAside.map(uint64Number),
  };
}

function timeOrNone(time: Timestamp | undefined): string | undefined {
  return time === undefined || time.seconds === 0n ? undefined : timeText(time);
}

function statusToJson(status: ServiceStatus): StatusJson {
  return {
    RunningTasks: uint64Number(status.runningTasks),
    DesiredTasks: uint64Number(status.desiredTasks),
    CompletedTasks: uint64Number(status.completedTasks),
  };
}

function jobStatusToJson(status: JobStatus) {
  return {
    JobIteration: compact({ Index: numberOrNone(status.jobIteration?.index ?? 0n) }),
    LastExecution: timeText(status.lastExecution),
  };
}
