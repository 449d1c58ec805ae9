/** What a service's spec must fulfil on its own, without looking at anything else. */

import { meshLabelProblem } from "#model/mesh-addresses.ts";
import { readRolloutRules } from "#model/rollout.ts";
import { ROLLOUT_LABELS } from "#model/service-labels.ts";
import { readStartRules } from "#model/start-order.ts";
import { readImageRules } from "#plan/image-watch.ts";
import { Rollout_Strategy as Strategy } from "#wire/gen/swarmkit/objects_pb.js";
import type { EndpointSpec, ServiceSpec } from "#wire/gen/swarmkit/specs_pb.js";
import { EndpointSpec_ResolutionMode } from "#wire/gen/swarmkit/specs_pb.js";
import { PortConfig_PublishMode, type UpdateConfig } from "#wire/gen/swarmkit/types_pb.js";
import { checkDnsName } from "./names.ts";
import { invalid } from "./refusal.ts";
import { checkTaskSpec, isNegative } from "./task-spec.ts";

/** Counts travel as uint64, and clients cast negative numbers into them. */
const COUNT_MAX = 2n ** 63n - 1n;

export function checkServiceSpec(spec: ServiceSpec | undefined): asserts spec is ServiceSpec {
  if (spec === undefined) throw invalid();
  checkDnsName(spec.annotations);
  const label = meshLabelProblem(spec.annotations?.labels ?? {});
  if (label !== undefined) throw invalid(label);
  checkTaskSpec(spec.task);
  checkMode(spec);
  if (isJob(spec)) {
    if (spec.update !== undefined) throw invalid("Jobs may not have an update config");
  } else {
    checkUpdate(spec.update);
  }
  checkEndpoint(spec.endpoint);
  const rollout = readRolloutRules(spec);
  if (!rollout.ok) throw invalid(rollout.error);
  const order = readStartRules(spec);
  if (!order.ok) throw invalid(order.error);
  const image = readImageRules(spec);
  if (!image.ok) throw invalid(image.error);
  if (isJob(spec) && rollout.value.strategy !== Strategy.ROLLING) {
    throw invalid(`Jobs may not have the label ${ROLLOUT_LABELS.strategy}`);
  }
}

export function isJob(spec: ServiceSpec): boolean {
  return spec.mode.case === "replicatedJob" || spec.mode.case === "globalJob";
}

function checkMode(spec: ServiceSpec): void {
  const { mode } = spec;
  switch (mode.case) {
    case "replicated":
      if (mode.value.replicas > COUNT_MAX) {
        throw invalid("Number of replicas must be non-negative");
      }
      return;
    case "replicatedJob":
      if (mode.value.maxConcurrent > COUNT_MAX) {
        throw invalid("Maximum concurrent jobs must not be negative");
      }
      if (mode.value.totalCompletions > COUNT_MAX) {
        throw invalid("Total completed jobs must not be negative");
      }
      return;
    case "global":
    case "globalJob":
      return;
    case undefined:
      throw invalid("Unrecognized service mode");
  }
}

function checkUpdate(config: UpdateConfig | undefined): void {
  if (config === undefined) return;
  if (isNegative(config.delay)) throw invalid("TaskSpec: update-delay cannot be negative");
  if (isNegative(config.monitor)) throw invalid("TaskSpec: update-monitor cannot be negative");
  const ratio = config.maxFailureRatio;
  if (!(ratio >= 0 && ratio <= 1)) {
    throw invalid("TaskSpec: update-maxfailureratio cannot be less than 0 or bigger than 1");
  }
}

function checkEndpoint(spec: EndpointSpec | undefined): void {
  if (spec === undefined) return;
  const published = new Set<string>();
  for (const port of spec.ports) {
    // The mesh balances over one virtual address, which a service in dnsrr mode does not have.
    const mesh = port.publishMode === PortConfig_PublishMode.INGRESS;
    if (mesh && spec.mode === EndpointSpec_ResolutionMode.DNSRR) {
      throw invalid("EndpointSpec: port published with ingress mode can't be used with dnsrr mode");
    }
    if (port.publishedPort === 0) continue;
    const key = `${port.protocol}/${port.publishedPort}`;
    if (published.has(key)) throw invalid("EndpointSpec: duplicate published ports provided");
    published.add(key);
  }
}
