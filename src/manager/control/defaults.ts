/** A service's spec with everything filled in that was left out (`insertDefaults`). */

import { create } from "@bufbuild/protobuf";
import { type Duration, DurationSchema } from "@bufbuild/protobuf/wkt";
import {
  ContainerSpec_DNSConfigSchema,
  ContainerSpec_PullOptionsSchema,
  type ServiceSpec,
  type TaskSpec,
  TaskSpecSchema,
} from "#wire/gen/swarmkit/specs_pb.js";
import {
  PlacementSchema,
  ResourceRequirementsSchema,
  RestartPolicy_RestartCondition,
  RestartPolicySchema,
  type UpdateConfig,
  UpdateConfigSchema,
} from "#wire/gen/swarmkit/types_pb.js";

const STOP_GRACE_S = 10;
const RESTART_DELAY_S = 5;
const UPDATE_MONITOR_S = 5;

export function withDefaults(spec: ServiceSpec): ServiceSpec {
  return {
    ...spec,
    task: taskWithDefaults(spec.task ?? create(TaskSpecSchema)),
    update: updateWithDefaults(spec.update),
    rollback: updateWithDefaults(spec.rollback),
  };
}

function taskWithDefaults(spec: TaskSpec): TaskSpec {
  const restart =
    spec.restart ?? create(RestartPolicySchema, { condition: RestartPolicy_RestartCondition.ANY });
  return {
    ...spec,
    runtime: runtimeWithDefaults(spec.runtime),
    resources: spec.resources ?? create(ResourceRequirementsSchema),
    restart: { ...restart, delay: restart.delay ?? seconds(RESTART_DELAY_S) },
    placement: spec.placement ?? create(PlacementSchema),
  };
}

function runtimeWithDefaults(runtime: TaskSpec["runtime"]): TaskSpec["runtime"] {
  if (runtime.case !== "container") return runtime;
  const container = runtime.value;
  return {
    case: "container",
    value: {
      ...container,
      stopGracePeriod: container.stopGracePeriod ?? seconds(STOP_GRACE_S),
      pullOptions: container.pullOptions ?? create(ContainerSpec_PullOptionsSchema),
      dnsConfig: container.dnsConfig ?? create(ContainerSpec_DNSConfigSchema),
    },
  };
}

function updateWithDefaults(config: UpdateConfig | undefined): UpdateConfig {
  // Everything else defaults to zero: pause on failure, stop first, no failures tolerated.
  const filled = config ?? create(UpdateConfigSchema, { parallelism: 1n });
  return { ...filled, monitor: filled.monitor ?? seconds(UPDATE_MONITOR_S) };
}

function seconds(count: number): Duration {
  return create(DurationSchema, { seconds: BigInt(count) });
}
