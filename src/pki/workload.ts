/**
 * Identities of workloads: short-lived certificates by which the tasks of services know each other
 * (SPIFFE). They name the service and nothing of a node, so that they open no door of the swarm.
 */

import type { Task } from "#wire/gen/swarmkit/objects_pb.js";
import { BACKDATE_MS, type Validity } from "./profile.ts";

/** Label of services whose tasks get an identity. */
export const IDENTITY_LABEL = "skep.identity";
const X509 = "x509";

export const WORKLOAD_LIFETIME_MS = 60 * 60_000;

export interface WorkloadProfile extends Validity {
  /** `spiffe://CLUSTER/service/NAME`. */
  readonly uri: string;
}

/** The service whose identity the task gets; undefined where none is asked for. */
export function identifiedService(task: Task): string | undefined {
  const { labels = {}, name = "" } = task.serviceAnnotations ?? {};
  return labels[IDENTITY_LABEL] === X509 && name !== "" ? name : undefined;
}

export function workloadProfile(
  clusterId: string,
  service: string,
  nowMs: number,
): WorkloadProfile {
  const start = Math.floor(nowMs / 1_000) * 1_000;
  return {
    uri: `spiffe://${clusterId}/service/${encodeURIComponent(service)}`,
    notBeforeMs: start - Math.min(BACKDATE_MS, WORKLOAD_LIFETIME_MS),
    notAfterMs: start + WORKLOAD_LIFETIME_MS,
  };
}
