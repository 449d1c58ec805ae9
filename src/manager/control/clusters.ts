/**
 * The cluster object: settings, join tokens, the root, the keys of locked managers. There is one,
 * named "default". Private keys and unlock keys never leave here.
 */

import { create } from "@bufbuild/protobuf";
import { DurationSchema } from "@bufbuild/protobuf/wkt";
import { EngineError } from "#base/error.ts";
import { msOfTimestamp } from "#model/time.ts";
import { generateJoinToken } from "#pki/join-token.ts";
import {
  BLACKLIST_GRACE_MS,
  DEFAULT_NODE_LIFETIME_MS,
  MANAGER_OU,
  MIN_NODE_LIFETIME_MS,
} from "#pki/profile.ts";
import { UNLOCK_KEY_BYTES } from "#pki/unlock-key.ts";
import { digestOfPem } from "#platform/x509/certificate.ts";
import {
  type GetClusterRequest,
  type GetClusterResponse,
  GetClusterResponseSchema,
  type KeyRotation,
  KeyRotationSchema,
  type ListClustersRequest,
  type ListClustersResponse,
  ListClustersResponseSchema,
  type UpdateClusterRequest,
  type UpdateClusterResponse,
  UpdateClusterResponseSchema,
} from "#wire/gen/swarmkit/control_pb.js";
import { type Cluster, ClusterSchema, MetaSchema } from "#wire/gen/swarmkit/objects_pb.js";
import type { ClusterSpec } from "#wire/gen/swarmkit/specs_pb.js";
import {
  CAConfigSchema,
  DispatcherConfigSchema,
  type EncryptionKey,
  EncryptionKeySchema,
  JoinTokensSchema,
  OrchestrationConfigSchema,
  RaftConfigSchema,
  type RootCA,
  RootCASchema,
} from "#wire/gen/swarmkit/types_pb.js";
import { type ControlContext, read, write } from "./context.ts";
import { hasLabels, hasOnePrefix, oneOf } from "./filters.ts";
import { invalid, notFound, required, requiredId } from "./refusal.ts";
import { nextRootCa } from "./root-ca.ts";
import { isNegative, nanoseconds } from "./task-spec.ts";

const CLUSTER_NAME = "default";
const DEFAULT_POOL = "10.0.0.0/8";
const DEFAULT_SUBNET_SIZE = 24;
const DEFAULT_VXLAN_PORT = 4789;
const DEFAULT_TASK_HISTORY = 5n;
const DEFAULT_HEARTBEAT_S = 5;
const RAFT_DEFAULTS = {
  snapshotInterval: 10_000n,
  logEntriesForSlowFollowers: 500n,
  heartbeatTick: 1,
  electionTick: 10,
};

export async function getCluster(
  context: ControlContext,
  request: GetClusterRequest,
): Promise<GetClusterResponse> {
  const id = requiredId(request.clusterId);
  const cluster = (await read(context)).get("cluster", id);
  if (cluster === undefined) throw notFound(`cluster ${id} not found`);
  return create(GetClusterResponseSchema, { cluster: redacted(cluster) });
}

export async function listClusters(
  context: ControlContext,
  request: ListClustersRequest,
): Promise<ListClustersResponse> {
  const view = await read(context);
  const { filters } = request;
  const clusters: Cluster[] = [];
  for (const cluster of view.all("cluster")) {
    const { name = "", labels } = cluster.spec?.annotations ?? {};
    const keep =
      filters === undefined ||
      (oneOf(name, filters.names) &&
        hasOnePrefix(name, filters.namePrefixes) &&
        hasOnePrefix(cluster.id, filters.idPrefixes) &&
        hasLabels(labels, filters.labels));
    if (keep) clusters.push(redacted(cluster));
  }
  return create(ListClustersResponseSchema, { clusters });
}

/**
 * The root is decided before the transaction, because signing takes time. The version that the
 * caller names makes that safe: if the cluster changed meanwhile, the transaction is refused.
 */
export async function updateCluster(
  context: ControlContext,
  request: UpdateClusterRequest,
): Promise<UpdateClusterResponse> {
  const id = requiredId(request.clusterId);
  const version = required(request.clusterVersion);
  const before = (await read(context)).get("cluster", id);
  checkClusterSpec(request.spec, before?.spec);
  if (before === undefined) throw notFound(`cluster ${id} not found`);
  const spec = completed(request.spec, before.spec);
  const rotation = request.rotation ?? create(KeyRotationSchema);
  const known = before.rootCa ?? create(RootCASchema);
  const current = before.meta?.version?.index === version.index;
  // Of a stale request only the refusal is wanted, which is the store's to give.
  const decided = current
    ? await nextRootCa(context.authority, known, spec.caConfig ?? create(CAConfigSchema))
    : known;
  const rootCa = withNewTokens(context, decided, known, rotation);
  return write(context, (tx) => {
    const cluster = tx.get("cluster", id);
    if (cluster === undefined) throw notFound(`cluster ${id} not found`);
    tx.update("cluster", {
      ...withoutExpired(cluster, context.clock.nowMs()),
      meta: { ...(cluster.meta ?? create(MetaSchema)), version },
      spec,
      rootCa,
      unlockKeys: nextUnlockKeys(context, cluster, spec, rotation),
    });
    const updated = tx.get("cluster", id);
    return create(UpdateClusterResponseSchema, updated && { cluster: redacted(updated) });
  });
}

/** Forgets removed nodes whose certificates ended long ago by themselves. */
export function withoutExpired(cluster: Cluster, nowMs: number): Cluster {
  const kept = Object.entries(cluster.blacklistedCertificates).filter(
    ([, { expiry }]) => (msOfTimestamp(expiry) ?? nowMs) >= nowMs - BLACKLIST_GRACE_MS,
  );
  return { ...cluster, blacklistedCertificates: Object.fromEntries(kept) };
}

function checkClusterSpec(
  spec: ClusterSpec | undefined,
  before: ClusterSpec | undefined,
): asserts spec is ClusterSpec {
  if (spec === undefined) throw invalid();
  const expiry = spec.caConfig?.nodeCertExpiry;
  const known = before?.caConfig?.nodeCertExpiry;
  const kept = expiry && known && nanoseconds(expiry) === nanoseconds(known);
  const tooShort =
    expiry !== undefined && nanoseconds(expiry) < BigInt(MIN_NODE_LIFETIME_MS) * 1_000_000n;
  // What is so already does not keep the operator from changing something else.
  if (tooShort && !kept) {
    throw invalid("minimum certificate expiry time is: 1h0m0s");
  }
  for (const { secret } of spec.acceptancePolicy?.policies ?? []) {
    if (secret !== undefined && secret.alg.toLowerCase() !== "bcrypt") {
      throw invalid(`hashing algorithm is not supported: ${secret.alg}`);
    }
  }
  if (isNegative(spec.dispatcher?.heartbeatPeriod)) {
    throw invalid("heartbeat time period cannot be a negative duration");
  }
  if (spec.annotations?.name !== CLUSTER_NAME) {
    throw invalid("modification of cluster name is not allowed");
  }
}

/**
 * The new spec replaces the old one; what it leaves out gets its default. The acceptance policy is
 * kept instead: docker's clients do not know of it, and would open the swarm without a word.
 */
function completed(spec: ClusterSpec, before: ClusterSpec | undefined): ClusterSpec {
  const raft = spec.raft ?? create(RaftConfigSchema);
  const dispatcher = spec.dispatcher ?? create(DispatcherConfigSchema);
  const caConfig = spec.caConfig ?? create(CAConfigSchema);
  const seconds = (count: number) => create(DurationSchema, { seconds: BigInt(count) });
  return {
    ...spec,
    acceptancePolicy: spec.acceptancePolicy ?? before?.acceptancePolicy,
    orchestration:
      spec.orchestration ??
      create(OrchestrationConfigSchema, { taskHistoryRetentionLimit: DEFAULT_TASK_HISTORY }),
    raft: {
      ...raft,
      snapshotInterval: raft.snapshotInterval || RAFT_DEFAULTS.snapshotInterval,
      logEntriesForSlowFollowers:
        raft.logEntriesForSlowFollowers || RAFT_DEFAULTS.logEntriesForSlowFollowers,
      heartbeatTick: raft.heartbeatTick || RAFT_DEFAULTS.heartbeatTick,
      electionTick: raft.electionTick || RAFT_DEFAULTS.electionTick,
    },
    dispatcher: {
      ...dispatcher,
      heartbeatPeriod: dispatcher.heartbeatPeriod ?? seconds(DEFAULT_HEARTBEAT_S),
    },
    caConfig: {
      ...caConfig,
      nodeCertExpiry: caConfig.nodeCertExpiry ?? seconds(DEFAULT_NODE_LIFETIME_MS / 1_000),
    },
  };
}

/** Tokens name the root that joiners find, which during a rotation is still the old one. */
function withNewTokens(
  context: ControlContext,
  next: RootCA,
  current: RootCA,
  rotation: KeyRotation,
): RootCA {
  const tokens = next.joinTokens ?? create(JoinTokensSchema);
  const fresh = () => generateJoinToken(digestOfPem(current.caCert), context.random);
  return {
    ...next,
    joinTokens: {
      ...tokens,
      worker: rotation.workerJoinToken ? fresh() : tokens.worker,
      manager: rotation.managerJoinToken ? fresh() : tokens.manager,
    },
  };
}

function nextUnlockKeys(
  context: ControlContext,
  cluster: Cluster,
  spec: ClusterSpec,
  rotation: KeyRotation,
): EncryptionKey[] {
  const others = cluster.unlockKeys.filter(({ subsystem }) => subsystem !== MANAGER_OU);
  if (!spec.encryptionConfig?.autoLockManagers) return others;
  const known = cluster.unlockKeys.find(({ subsystem }) => subsystem === MANAGER_OU);
  if (known !== undefined && !rotation.managerUnlockKey) return [...others, known];
  const key = new Uint8Array(context.random.bytes(UNLOCK_KEY_BYTES));
  return [...others, { ...(known ?? create(EncryptionKeySchema)), subsystem: MANAGER_OU, key }];
}

/** Only what may be shown: fields are named one by one, so that a new secret stays hidden. */
function redacted(cluster: Cluster): Cluster {
  const none = new Uint8Array();
  const { spec, rootCa } = cluster;
  if (spec === undefined || rootCa === undefined) {
    throw new EngineError("internal", "the cluster object is incomplete");
  }
  const { caConfig } = spec;
  const { rootRotation } = rootCa;
  const pooled = cluster.defaultAddressPool.length > 0;
  return create(ClusterSchema, {
    id: cluster.id,
    meta: cluster.meta,
    spec: {
      ...spec,
      // Without its key the certificate would mean something else when it is sent back.
      caConfig: caConfig && { ...caConfig, signingCaKey: none, signingCaCert: none },
    },
    rootCa: {
      ...rootCa,
      caKey: none,
      rootRotation: rootRotation && { ...rootRotation, caKey: none },
    },
    blacklistedCertificates: cluster.blacklistedCertificates,
    defaultAddressPool: pooled ? cluster.defaultAddressPool : [DEFAULT_POOL],
    subnetSize: pooled ? cluster.subnetSize : DEFAULT_SUBNET_SIZE,
    VXLANUDPPort: cluster.VXLANUDPPort || DEFAULT_VXLAN_PORT,
  });
}
