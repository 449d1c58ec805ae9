/** What a node is told over its session: the managers, its own record, keys and the root. Pure. */

import { create, equals } from "@bufbuild/protobuf";
import type { ReadView } from "#store/types.ts";
import { type SessionMessage, SessionMessageSchema } from "#wire/gen/swarmkit/dispatcher_pb.js";
import { type Cluster, type Node, NodeSchema } from "#wire/gen/swarmkit/objects_pb.js";
import { PeerSchema, WeightedPeerSchema } from "#wire/gen/swarmkit/types_pb.js";

export interface ManagerPeer {
  readonly nodeId: string;
  /** "host:port". */
  readonly addr: string;
}

/** All managers weigh the same; nodes learn by themselves which of them answer. */
const MANAGER_WEIGHT = 10n;

/** The cluster of the view; there is one, but for the first moments of a swarm. */
export function clusterOf(view: ReadView): Cluster | undefined {
  for (const cluster of view.all("cluster")) return cluster;
  return undefined;
}

/** Managers as their own node objects tell, in order of their ids. */
export function managersOf(view: ReadView): readonly ManagerPeer[] {
  const managers: ManagerPeer[] = [];
  for (const node of view.all("node")) {
    const addr = node.managerStatus?.addr ?? "";
    if (addr !== "") managers.push({ nodeId: node.id, addr });
  }
  return managers;
}

export function sessionMessage(
  view: ReadView,
  nodeId: string,
  sessionId: string,
  managers: readonly ManagerPeer[],
): SessionMessage {
  const cluster = clusterOf(view);
  return create(SessionMessageSchema, {
    sessionId,
    node: view.get("node", nodeId),
    managers: managers.map((peer) =>
      create(WeightedPeerSchema, { peer: create(PeerSchema, peer), weight: MANAGER_WEIGHT }),
    ),
    networkBootstrapKeys: cluster?.networkBootstrapKeys ?? [],
    RootCA: cluster?.rootCa?.caCert ?? new Uint8Array(),
  });
}

/** True when the node learns nothing from `next` that it was not told by `last`. */
export function tellsTheSame(last: SessionMessage, next: SessionMessage): boolean {
  if (!equals(SessionMessageSchema, withoutNode(last), withoutNode(next))) return false;
  if (last.node === undefined || next.node === undefined) return last.node === next.node;
  return equals(NodeSchema, actedOn(last.node), actedOn(next.node));
}

function withoutNode(message: SessionMessage): SessionMessage {
  return { ...message, node: undefined };
}

/** What the node itself has reported, and what is kept about it, is no news to it. */
function actedOn(node: Node): Node {
  return {
    ...node,
    meta: undefined,
    status: undefined,
    description: undefined,
    managerStatus: undefined,
  };
}
