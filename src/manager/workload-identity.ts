/**
 * The WorkloadIdentities service: gives the tasks of a node certificates that name their services. A
 * node gets them for tasks that it runs, and only where the service asks for them.
 */

import { EngineError } from "#base/error.ts";
import type { Clock, Random } from "#base/ports.ts";
import { signerOf } from "#pki/rotation.ts";
import { formerRoots, identifiedService, workloadProfile } from "#pki/workload.ts";
import type { RpcContext } from "#platform/grpc/server.ts";
import { issueWorkload, readRequest } from "#platform/x509/issue.ts";
import { WorkloadIdentities } from "#wire/gen/skep/identity_pb.js";
import { TaskState } from "#wire/gen/swarmkit/types_pb.js";
import { callingNode } from "./authz/caller.ts";
import { clusterOf } from "./ca/cluster.ts";
import type { ManagerPart } from "./manager-ports.ts";
import type { ClusterState } from "./state.ts";

export interface WorkloadIdentityOptions {
  readonly state: ClusterState;
  /** This manager's node id: who calls over the local socket. */
  readonly nodeId: string;
  readonly clock: Clock;
  readonly random: Random;
}

export function workloadIdentityPart(options: WorkloadIdentityOptions): ManagerPart {
  return {
    name: "workload identities",
    register: (services) =>
      services.add(WorkloadIdentities, {
        issue: ({ taskId, csr }, context) => issue(options, taskId, csr, context),
      }),
  };
}

async function issue(
  { state, nodeId, clock, random }: WorkloadIdentityOptions,
  taskId: string,
  csr: Uint8Array,
  context: RpcContext,
) {
  const caller = callingNode(context, nodeId);
  const request = await readRequest(textOf(csr));
  const view = state.view();
  const task = view.get("task", taskId);
  // What runs elsewhere is not told from what does not exist.
  if (task === undefined || task.nodeId !== caller) {
    throw new EngineError("permission-denied", `task ${taskId} is not assigned to this node`);
  }
  if ((task.status?.state ?? TaskState.NEW) > TaskState.RUNNING) {
    throw new EngineError("failed-precondition", `task ${taskId} is over`);
  }
  const service = identifiedService(task);
  if (service === undefined) {
    throw new EngineError("failed-precondition", `task ${taskId} asks for no identity`);
  }
  const cluster = clusterOf(view);
  const signer = cluster.rootCa && signerOf(cluster.rootCa);
  if (cluster.rootCa === undefined || signer === undefined) {
    throw new EngineError(
      "failed-precondition",
      "the root's key is with an external CA: workloads get no identity",
    );
  }
  const authority = { cert: textOf(signer.cert), key: textOf(signer.key) };
  const profile = workloadProfile(cluster.id, service, clock.nowMs());
  const leaf = await issueWorkload(authority, request, profile, random);
  const next = cluster.rootCa.rootRotation?.caCert ?? new Uint8Array();
  // Those who have not read their files since a rotation believe, and show, the root of before.
  const former = formerRoots(cluster.rootCa, clock.nowMs());
  const crossed = former.map(({ crossSignedCaCert }) => textOf(crossSignedCaCert)).join("");
  const believed = former.map(({ caCert }) => textOf(caCert)).join("");
  return {
    certificate: Buffer.from(leaf + textOf(signer.intermediate) + crossed),
    // In a rotation both: what is signed then, and what will be.
    bundle: Buffer.from(textOf(cluster.rootCa.caCert) + textOf(next) + believed),
  };
}

function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("utf8");
}
