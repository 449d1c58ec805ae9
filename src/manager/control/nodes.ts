/**
 * Nodes. Removing one is final: its certificate is barred in the same transaction, and tasks that it
 * can no longer report on are given up. A manager must be demoted first, and the last one cannot be.
 */

import { X509Certificate } from "node:crypto";
import { create } from "@bufbuild/protobuf";
import { EngineError } from "#base/error.ts";
import { levelRefusal } from "#model/feature-level.ts";
import { timestampOf } from "#model/time.ts";
import type { Tx } from "#store/types.ts";
import {
  type GetNodeRequest,
  type GetNodeResponse,
  GetNodeResponseSchema,
  type ListNodesRequest,
  type ListNodesRequest_Filters,
  type ListNodesResponse,
  ListNodesResponseSchema,
  type RemoveNodeRequest,
  type RemoveNodeResponse,
  RemoveNodeResponseSchema,
  type UpdateNodeRequest,
  type UpdateNodeResponse,
  UpdateNodeResponseSchema,
} from "#wire/gen/swarmkit/control_pb.js";
import { MetaSchema, type Node } from "#wire/gen/swarmkit/objects_pb.js";
import { NodeSpec_Membership } from "#wire/gen/swarmkit/specs_pb.js";
import {
  type BlacklistedCertificate,
  BlacklistedCertificateSchema,
  ManagerStatusSchema,
  NodeRole,
  NodeStatus_State,
  TaskState,
  TaskStatusSchema,
} from "#wire/gen/swarmkit/types_pb.js";
import { withoutExpired } from "./clusters.ts";
import { type ControlContext, read, write } from "./context.ts";
import { hasLabels, hasOnePrefix, oneOf } from "./filters.ts";
import { notFound, precondition, required, requiredId } from "./refusal.ts";

export async function getNode(
  context: ControlContext,
  request: GetNodeRequest,
): Promise<GetNodeResponse> {
  const id = requiredId(request.nodeId);
  const node = (await read(context)).get("node", id);
  if (node === undefined) throw notFound(`node ${id} not found`);
  return create(GetNodeResponseSchema, { node: withManagerStatus(context, node) });
}

export async function listNodes(
  context: ControlContext,
  request: ListNodesRequest,
): Promise<ListNodesResponse> {
  const view = await read(context);
  const { filters } = request;
  const nodes: Node[] = [];
  for (const node of view.all("node")) {
    if (filters === undefined || matches(node, filters)) {
      nodes.push(withManagerStatus(context, node));
    }
  }
  return create(ListNodesResponseSchema, { nodes });
}

export async function updateNode(
  context: ControlContext,
  request: UpdateNodeRequest,
): Promise<UpdateNodeResponse> {
  const id = requiredId(request.nodeId);
  const version = required(request.nodeVersion);
  const spec = required(request.spec);
  return write(context, (tx) => {
    const node = tx.get("node", id);
    if (node === undefined) throw notFound(`node ${id} not found`);
    const wasManager = node.spec?.desiredRole === NodeRole.MANAGER;
    if (wasManager && spec.desiredRole === NodeRole.WORKER) refuseDemotion(context, tx, node);
    if (!wasManager && spec.desiredRole === NodeRole.MANAGER) refuseOutdated(tx, node);
    const meta = { ...(node.meta ?? create(MetaSchema)), version };
    tx.update("node", { ...node, meta, spec });
    return create(UpdateNodeResponseSchema, { node: tx.get("node", id) });
  });
}

export async function removeNode(
  context: ControlContext,
  request: RemoveNodeRequest,
): Promise<RemoveNodeResponse> {
  const id = requiredId(request.nodeId);
  const nowMs = context.clock.nowMs();
  return write(context, (tx) => {
    const node = tx.get("node", id);
    if (node === undefined) throw notFound(`node ${id} not found`);
    const member = context.members.list().some(({ nodeId }) => nodeId === id);
    if (node.spec?.desiredRole === NodeRole.MANAGER && member) {
      throw precondition(
        `node ${id} is a cluster manager and is a member of the raft cluster. It must be demoted to worker before removal`,
      );
    }
    if (!request.force && node.status?.state === NodeStatus_State.READY) {
      throw precondition(`node ${id} is not down and can't be removed`);
    }
    // One that was never let in has nothing to bar.
    if (node.spec?.membership !== NodeSpec_Membership.PENDING) barCertificate(tx, node, nowMs);
    orphanTasks(tx, id, nowMs);
    tx.delete("node", id);
    return create(RemoveNodeResponseSchema);
  });
}

function refuseDemotion(context: ControlContext, tx: Tx, node: Node): void {
  const managers = [...tx.find("node", "role", "manager")];
  if (managers.length === 1 && managers[0]?.id === node.id) {
    throw precondition("attempting to demote the last manager of the swarm");
  }
  if (!context.members.list().some(({ nodeId }) => nodeId === node.id)) {
    throw notFound("can't find manager in raft memberlist");
  }
  if (!context.members.canRemove(node.id)) {
    throw precondition("can't remove member from the raft: this would result in a loss of quorum");
  }
}

/** Its program would not be let in by the managers there are; one that was never here says nothing. */
function refuseOutdated(tx: Tx, { id, description }: Node): void {
  if (description === undefined) return;
  const [cluster] = tx.all("cluster");
  const refusal = levelRefusal(cluster?.featureLevel ?? 0, description.featureLevel);
  if (refusal !== undefined) throw precondition(`node ${id} can't become a manager: ${refusal}`);
}

/** Who is gone must not come back with the certificate that it still has. */
function barCertificate(tx: Tx, node: Node, nowMs: number): void {
  const [cluster] = tx.all("cluster");
  if (cluster === undefined) throw new EngineError("internal", "could not fetch cluster object");
  tx.update("cluster", {
    ...cluster,
    blacklistedCertificates: {
      ...withoutExpired(cluster, nowMs).blacklistedCertificates,
      [node.id]: barredCertificate(node),
    },
  });
}

/** Without a readable certificate there is no end to the ban. */
function barredCertificate(node: Node): BlacklistedCertificate {
  const pem = node.certificate?.certificate ?? new Uint8Array();
  if (pem.length === 0) return create(BlacklistedCertificateSchema);
  try {
    const endMs = Date.parse(new X509Certificate(pem).validTo);
    return create(BlacklistedCertificateSchema, { expiry: timestampOf(endMs) });
  } catch {
    return create(BlacklistedCertificateSchema);
  }
}

/** In the same transaction: afterwards nobody would be left to do it. */
function orphanTasks(tx: Tx, nodeId: string, nowMs: number): void {
  for (const task of tx.find("task", "node", nodeId)) {
    if ((task.status?.state ?? TaskState.NEW) >= TaskState.COMPLETE) continue;
    const status = create(TaskStatusSchema, {
      timestamp: timestampOf(nowMs),
      state: TaskState.ORPHANED,
      message: "Task belonged to a node that has been deleted",
    });
    tx.update("task", { ...task, status });
  }
}

/** Raft knows who is a member and who leads; the stored object would lag behind. */
function withManagerStatus(context: ControlContext, node: Node): Node {
  const member = context.members.list().find(({ nodeId }) => nodeId === node.id);
  if (member === undefined) return node;
  const { raftId, addr, leader, reachability } = member;
  const status = node.managerStatus ?? create(ManagerStatusSchema);
  return { ...node, managerStatus: { ...status, raftId, addr, leader, reachability } };
}

function matches(node: Node, filters: ListNodesRequest_Filters): boolean {
  const hostname = node.description?.hostname ?? "";
  const membership = node.spec?.membership ?? NodeSpec_Membership.PENDING;
  return (
    oneOf(hostname, filters.names) &&
    hasOnePrefix(hostname, filters.namePrefixes) &&
    hasOnePrefix(node.id, filters.idPrefixes) &&
    hasLabels(node.description?.engine?.labels, filters.labels) &&
    hasLabels(node.spec?.annotations?.labels, filters.nodeLabels) &&
    oneOf(node.role, filters.roles) &&
    oneOf(membership, filters.memberships)
  );
}
