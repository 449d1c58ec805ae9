/**
 * Identities of workloads: short-lived certificates by which the tasks of services know each other
 * (SPIFFE). They name the service and nothing of a node, so that they open no door of the swarm.
 */

import { create } from "@bufbuild/protobuf";
import { msOfTimestamp, timestampOf } from "#model/time.ts";
import type { Task } from "#wire/gen/swarmkit/objects_pb.js";
import {
  type FormerRoot,
  FormerRootSchema,
  type RootCA,
  type RootRotation,
} from "#wire/gen/swarmkit/types_pb.js";
import { BACKDATE_MS, type Validity } from "./profile.ts";

/** Label of services whose tasks get an identity. */
export const IDENTITY_LABEL = "skep.identity";
const X509 = "x509";

export const WORKLOAD_LIFETIME_MS = 60 * 60_000;
/** So many roots of before are remembered, should somebody rotate more often than workloads live. */
const FORMER_ROOTS_MAX = 3;

export interface WorkloadProfile extends Validity {
  /** `spiffe://CLUSTER/service/NAME`. */
  readonly uri: string;
}

/** The service whose identity the task gets; undefined where none is asked for. */
export function identifiedService(task: Task): string | undefined {
  const { labels = {}, name = "" } = task.serviceAnnotations ?? {};
  return labels[IDENTITY_LABEL] === X509 && name !== "" ? name : undefined;
}

/**
 * The roots of before once `next` has taken the place of `root`. Workloads read their files again when
 * they like, but within the life of a certificate: until then some have one of the old root, and believe
 * no other.
 */
export function formerRootsAfter(
  root: RootCA,
  next: RootRotation,
  nowMs: number,
): readonly FormerRoot[] {
  const former = create(FormerRootSchema, {
    caCert: root.caCert,
    crossSignedCaCert: next.crossSignedCaCert,
    until: timestampOf(nowMs + WORKLOAD_LIFETIME_MS),
  });
  return [former, ...formerRoots(root, nowMs)].slice(0, FORMER_ROOTS_MAX);
}

/** The roots of before that some workload may still have its certificate of, the newest first. */
export function formerRoots(root: RootCA, nowMs: number): readonly FormerRoot[] {
  return root.formerRoots.filter(({ until }) => (msOfTimestamp(until) ?? 0) > nowMs);
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
