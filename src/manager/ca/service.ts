/**
 * The CA and NodeCA services: the gate into the swarm. They write certificate requests into the
 * store; the leader's signer (`signer.ts`) answers them there.
 *
 * A caller with a certificate of this cluster renews its own and nothing else. A stranger needs a
 * token, which makes a new node of the role that the token grants. A node whose certificate expired
 * is a stranger who can prove that it holds the key of a known node: it renews as that node.
 */

import { create } from "@bufbuild/protobuf";
import { EngineError } from "#base/error.ts";
import { newId } from "#base/ids.ts";
import type { Clock, Log, Random } from "#base/ports.ts";
import { msOfTimestamp, timestampOf } from "#model/time.ts";
import { type Admission, admit, isFinal, withUse } from "#pki/issuance.ts";
import { MANAGER_OU, WORKER_OU } from "#pki/profile.ts";
import type { RpcContext, RpcHandlers } from "#platform/grpc/server.ts";
import { readRequest } from "#platform/x509/issue.ts";
import type { ReadView, Tx } from "#store/types.ts";
import type {
  CA,
  IssueNodeCertificateRequest,
  IssueNodeCertificateResponse,
  NodeCA,
  NodeCertificateStatusRequest,
  NodeCertificateStatusResponse,
} from "#wire/gen/swarmkit/ca_pb.js";
import {
  IssueNodeCertificateResponseSchema,
  NodeCertificateStatusResponseSchema,
} from "#wire/gen/swarmkit/ca_pb.js";
import { type Cluster, type Node, NodeSchema } from "#wire/gen/swarmkit/objects_pb.js";
import { NodeSpec_Membership } from "#wire/gen/swarmkit/specs_pb.js";
import {
  AnnotationsSchema,
  CertificateSchema,
  IssuanceStatus_State,
} from "#wire/gen/swarmkit/types_pb.js";
import { assertMember, type ClusterIdentity } from "../authz/caller.ts";
import type { ClusterState } from "../state.ts";
import { clusterOf, findCluster } from "./cluster.ts";
import { Guesses, hostOf } from "./guesses.ts";
import { isAnswered, knownHolder } from "./key-holder.ts";

/** Nodes that may wait to be accepted, and how long they surely may. */
const PENDING_MAX = 100;
/** Of these, nodes that came without a token. */
const UNINVITED_MAX = 50;
const PENDING_MS = 24 * 60 * 60 * 1000;

export interface CaServiceOptions {
  readonly state: ClusterState;
  readonly cluster: ClusterIdentity;
  /** PEM of the root that this manager trusts, for the time before the store has one. */
  readonly trustedRoot: () => string;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

export interface CaServices {
  readonly ca: RpcHandlers<typeof CA>;
  readonly nodeCa: RpcHandlers<typeof NodeCA>;
}

export function createCaServices(options: CaServiceOptions): CaServices {
  const guesses = new Guesses(options.clock);
  return {
    ca: {
      getRootCACertificate: () => {
        const stored = findCluster(options.state.view())?.rootCa?.caCert;
        const certificate = stored?.length ? stored : Buffer.from(options.trustedRoot());
        return { certificate };
      },
      getUnlockKey: async () => unlockKeyOf(await options.state.linearizable()),
    },
    nodeCa: {
      issueNodeCertificate: (request, context) => issue(options, guesses, request, context),
      nodeCertificateStatus: (request, context) => status(options, request, context),
    },
  };
}

function unlockKeyOf(view: ReadView) {
  const cluster = clusterOf(view);
  const locks = cluster.spec?.encryptionConfig?.autoLockManagers === true;
  const key = cluster.unlockKeys.find((candidate) => candidate.subsystem === MANAGER_OU);
  const version = cluster.meta?.version;
  return {
    unlockKey: locks && key !== undefined ? key.key : new Uint8Array(),
    ...(version === undefined ? {} : { version }),
  };
}

async function issue(
  options: CaServiceOptions,
  guesses: Guesses,
  request: IssueNodeCertificateRequest,
  context: RpcContext,
): Promise<IssueNodeCertificateResponse> {
  if (request.csr.length === 0) throw new EngineError("invalid-argument", "InvalidArgument");
  const cluster = clusterOf(options.state.view());
  const member = memberOf(context, options.cluster);
  if (member !== undefined) {
    await readRequest(textOf(request.csr));
    return renew(options, member, request.csr);
  }
  const waitMs = guesses.waitMs(context.peerAddress);
  if (waitMs > 0) {
    throw new EngineError(
      "resource-exhausted",
      `too many failed attempts to join from this address: try again in ${Math.ceil(waitMs / 1000)} s`,
    );
  }
  // Known before new: where one may come without a token, an expired node is still itself.
  const known = request.token === "" ? await knownHolder(options, request.csr) : undefined;
  if (known !== undefined) {
    const { id, spec } = known.node;
    if (!(await isAnswered(known, options.clock))) return renew(options, id, request.csr);
    return answer(options, id, spec?.membership ?? NodeSpec_Membership.PENDING);
  }
  const admission = admit(cluster, request.token, options.state.nowMs());
  if (admission.ok) {
    await readRequest(textOf(request.csr));
    // Without a token anybody may ask, but not as often as he likes.
    if (request.token === "") guesses.failed(context.peerAddress);
    return enrol(options, request, context.peerAddress);
  }
  guesses.failed(context.peerAddress);
  options.log.warn("join refused", { peer: context.peerAddress, reason: admission.error });
  throw new EngineError("invalid-argument", admission.error);
}

/** The node that calls with its own, valid certificate. */
function memberOf(context: RpcContext, cluster: ClusterIdentity): string | undefined {
  if (context.peer === undefined) return undefined;
  if (context.local) return context.peer.nodeId;
  try {
    assertMember(context.peer, [WORKER_OU, MANAGER_OU], cluster);
    return context.peer.nodeId;
  } catch {
    // A node of another cluster, or one that was removed, may join anew with a token.
    return undefined;
  }
}

/** Decides anew inside the transaction: two may come with the last use of a token. */
async function enrol(
  options: CaServiceOptions,
  request: IssueNodeCertificateRequest,
  peerAddress: string,
): Promise<IssueNodeCertificateResponse> {
  const nodeId = newId(options.random);
  const nowMs = options.state.nowMs();
  const { role, membership } = await options.state.update("ca", (tx) => {
    const cluster = clusterOf(tx);
    const admission = admit(cluster, request.token, nowMs);
    if (!admission.ok) throw new EngineError("invalid-argument", admission.error);
    const { named } = admission.value;
    if (admission.value.membership === NodeSpec_Membership.PENDING) {
      makeRoom(tx, nowMs, request.token === "");
    }
    if (named !== undefined) {
      tx.update("cluster", { ...cluster, namedJoinTokens: withUse(cluster, named) });
    }
    tx.create("node", newcomer(nodeId, request, admission.value, { cluster, peerAddress }));
    return admission.value;
  });
  options.log.info("node admitted", { node: nodeId, role, membership });
  return answer(options, nodeId, membership);
}

function newcomer(
  nodeId: string,
  request: IssueNodeCertificateRequest,
  { role, membership, labels, identityLabels }: Admission,
  more: {
    readonly cluster: Cluster;
    readonly peerAddress: string;
  },
): Node {
  return create(NodeSchema, {
    id: nodeId,
    role,
    certificate: {
      csr: request.csr,
      cn: nodeId,
      role,
      status: { state: IssuanceStatus_State.PENDING },
    },
    spec: {
      annotations: create(AnnotationsSchema, { labels: { ...labels } }),
      desiredRole: role,
      membership,
      availability: request.availability,
    },
    // Until its agent says more, this is all that an operator can tell it by, besides its key.
    status: { addr: hostOf(more.peerAddress) },
    VXLANUDPPort: more.cluster.VXLANUDPPort,
    identityLabels: { ...identityLabels },
    uninvited: request.token === "",
  });
}

/**
 * Those who wait are bounded: the oldest go when they have waited for a day. Anybody can ask without a
 * token, so those may not take all places, and give theirs up to who has one.
 */
function makeRoom(tx: Tx, nowMs: number, uninvited: boolean): void {
  const waiting = Array.from(tx.all("node")).filter(
    ({ spec }) => spec?.membership === NodeSpec_Membership.PENDING,
  );
  const rivals = uninvited ? waiting.filter((node) => node.uninvited) : waiting;
  if (rivals.length < (uninvited ? UNINVITED_MAX : PENDING_MAX)) return;
  const sinceMs = ({ meta }: Node) => msOfTimestamp(meta?.createdAt) ?? nowMs;
  const stale = rivals.filter((node) => sinceMs(node) + PENDING_MS <= nowMs);
  for (const { id } of stale) tx.delete("node", id);
  if (stale.length > 0) return;
  const [oldest] = waiting
    .filter((node) => node.uninvited)
    .toSorted((a, b) => sinceMs(a) - sinceMs(b));
  if (uninvited || oldest === undefined) {
    throw new EngineError(
      "resource-exhausted",
      `${rivals.length} nodes wait to be accepted into the cluster already: accept or reject some of them`,
    );
  }
  tx.delete("node", oldest.id);
}

async function renew(
  options: CaServiceOptions,
  nodeId: string,
  csr: Uint8Array,
): Promise<IssueNodeCertificateResponse> {
  const membership = await options.state.update("ca", (tx) => {
    const node = tx.get("node", nodeId);
    if (node === undefined) {
      throw new EngineError(
        "not-found",
        `node ${nodeId} not found when attempting to renew certificate`,
      );
    }
    const certificate = create(CertificateSchema, {
      csr,
      cn: node.id,
      role: node.role,
      status: { state: IssuanceStatus_State.RENEW },
      // Kept until the next one is there: an expired node is known by it.
      certificate: node.certificate?.certificate ?? new Uint8Array(),
    });
    tx.update("node", { ...node, certificate });
    return node.spec?.membership ?? NodeSpec_Membership.PENDING;
  });
  return answer(options, nodeId, membership);
}

function answer(
  { clock }: CaServiceOptions,
  nodeId: string,
  nodeMembership: NodeSpec_Membership,
): IssueNodeCertificateResponse {
  const leaderTime = timestampOf(clock.nowMs());
  return create(IssueNodeCertificateResponseSchema, { nodeId, nodeMembership, leaderTime });
}

/** Answers once the certificate is issued or refused; the caller's deadline bounds the wait. */
async function status(
  options: CaServiceOptions,
  request: NodeCertificateStatusRequest,
  context: RpcContext,
): Promise<NodeCertificateStatusResponse> {
  if (request.nodeId === "") throw new EngineError("invalid-argument", "InvalidArgument");
  const watch = options.state.viewAndWatch({ signal: context.signal });
  const node = watch.view.get("node", request.nodeId) ?? (await surely(options, request.nodeId));
  const now = finalStatus(node);
  if (now !== undefined) return now;
  for await (const batch of watch.batches) {
    for (const change of batch.changes) {
      if (change.kind !== "node" || change.object.id !== request.nodeId) continue;
      if (change.action === "delete") throw new EngineError("not-found", "NotFound");
      const changed = finalStatus(change.object);
      if (changed !== undefined) return changed;
    }
  }
  throw new EngineError("cancelled", "the caller went away");
}

/**
 * The node, as a majority knows it. A node that hears that there is none gives up its tasks: a leader
 * that was replaced and does not know it yet must not tell it so.
 */
async function surely({ state }: CaServiceOptions, nodeId: string): Promise<Node> {
  const view = await state.linearizable();
  clusterOf(view);
  const node = view.get("node", nodeId);
  if (node === undefined) throw new EngineError("not-found", "NotFound");
  return node;
}

function finalStatus(node: Node): NodeCertificateStatusResponse | undefined {
  const certificate = node.certificate;
  if (certificate?.status === undefined || !isFinal(certificate.status.state)) return undefined;
  return create(NodeCertificateStatusResponseSchema, { status: certificate.status, certificate });
}

function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("utf8");
}
