/**
 * The first entry of a new swarm: the cluster object with its root and join tokens, the first
 * manager's own node, and the networks that exist without having been asked for. One transaction,
 * so that there is no moment at which half of it can be seen.
 */

import { create } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { newId, toHex } from "#base/ids.ts";
import type { Random } from "#base/ports.ts";
import { FEATURE_LEVEL } from "#model/feature-level.ts";
import { generateJoinToken } from "#pki/join-token.ts";
import { DEFAULT_NODE_LIFETIME_MS, MANAGER_OU } from "#pki/profile.ts";
import { digestOfPem } from "#platform/x509/certificate.ts";
import type { Authority } from "#platform/x509/issue.ts";
import type { Tx } from "#store/types.ts";
import { ClusterSchema, type Node, NodeSchema } from "#wire/gen/swarmkit/objects_pb.js";
import type { StoreSnapshot } from "#wire/gen/swarmkit/snapshot_pb.js";
import {
  type ClusterSpec,
  type NodeSpec_Availability,
  NodeSpec_Membership,
} from "#wire/gen/swarmkit/specs_pb.js";
import {
  AnnotationsSchema,
  CAConfigSchema,
  DispatcherConfigSchema,
  EncryptionConfigSchema,
  IssuanceStatus_State,
  NodeRole,
  OrchestrationConfigSchema,
  RaftConfigSchema,
} from "#wire/gen/swarmkit/types_pb.js";
import { DEFAULT_CLUSTER_NAME } from "./ca/cluster.ts";
import { ensureNetworks } from "./leader/bootstrap.ts";

export interface NewCluster {
  /** The root of the swarm; without a key when an external CA holds it. */
  readonly authority: Authority;
  /** What the operator set; the rest gets the defaults. */
  readonly spec: ClusterSpec;
  readonly defaultAddressPool: readonly string[];
  readonly subnetSize: number;
  readonly vxlanPort: number;
  readonly availability: NodeSpec_Availability;
  /** Set when managers are to lock. */
  readonly unlockKey?: Uint8Array | undefined;
  /** The swarm is not new: it comes out of a backup, and the rest of this is as it says. */
  readonly restored?: StoreSnapshot | undefined;
}

export interface FirstManager {
  readonly nodeId: string;
  readonly clusterId: string;
  /** PEM; kept in the store, so that the node is known by its key. */
  readonly certificate: string;
}

const TASK_HISTORY = 5n;
const HEARTBEAT_MS = 5_000;
const RAFT = {
  snapshotInterval: 10_000n,
  keepOldSnapshots: 0n,
  logEntriesForSlowFollowers: 500n,
  heartbeatTick: 1,
  electionTick: 10,
};

export function writeNewCluster(
  tx: Tx,
  cluster: NewCluster,
  first: FirstManager,
  random: Random,
): void {
  tx.create("cluster", clusterObject(cluster, first.clusterId, random));
  tx.create("node", managerNode(first, cluster));
  ensureNetworks(tx, () => newId(random));
}

function clusterObject(cluster: NewCluster, id: string, random: Random) {
  const { authority, unlockKey } = cluster;
  const digest = digestOfPem(authority.cert);
  return create(ClusterSchema, {
    id,
    spec: completeSpec(cluster.spec, unlockKey !== undefined),
    rootCa: {
      caCert: Buffer.from(authority.cert),
      caKey: Buffer.from(authority.key),
      caCertHash: `sha256:${toHex(digest)}`,
      joinTokens: {
        worker: generateJoinToken(digest, random),
        manager: generateJoinToken(digest, random),
      },
    },
    unlockKeys: unlockKey === undefined ? [] : [{ subsystem: MANAGER_OU, key: unlockKey }],
    defaultAddressPool: [...cluster.defaultAddressPool],
    subnetSize: cluster.subnetSize,
    VXLANUDPPort: cluster.vxlanPort,
    featureLevel: FEATURE_LEVEL,
  });
}

/** Zero and absent fields mean: the default. */
function completeSpec(spec: ClusterSpec, autoLockManagers: boolean): ClusterSpec {
  const { raft } = spec;
  const caConfig = spec.caConfig ?? create(CAConfigSchema);
  const history = { taskHistoryRetentionLimit: TASK_HISTORY };
  return {
    ...spec,
    annotations: create(AnnotationsSchema, {
      name: DEFAULT_CLUSTER_NAME,
      labels: spec.annotations?.labels ?? {},
    }),
    orchestration: spec.orchestration ?? create(OrchestrationConfigSchema, history),
    raft: create(RaftConfigSchema, {
      snapshotInterval: raft?.snapshotInterval || RAFT.snapshotInterval,
      keepOldSnapshots: raft?.keepOldSnapshots ?? RAFT.keepOldSnapshots,
      logEntriesForSlowFollowers:
        raft?.logEntriesForSlowFollowers || RAFT.logEntriesForSlowFollowers,
      heartbeatTick: raft?.heartbeatTick || RAFT.heartbeatTick,
      electionTick: raft?.electionTick || RAFT.electionTick,
    }),
    dispatcher: create(DispatcherConfigSchema, {
      heartbeatPeriod: spec.dispatcher?.heartbeatPeriod ?? durationFromMs(HEARTBEAT_MS),
    }),
    caConfig: {
      ...caConfig,
      nodeCertExpiry: caConfig.nodeCertExpiry ?? durationFromMs(DEFAULT_NODE_LIFETIME_MS),
    },
    encryptionConfig: create(EncryptionConfigSchema, { autoLockManagers }),
  };
}

export function managerNode(first: FirstManager, cluster: NewCluster): Node {
  return create(NodeSchema, {
    id: first.nodeId,
    role: NodeRole.MANAGER,
    spec: {
      desiredRole: NodeRole.MANAGER,
      membership: NodeSpec_Membership.ACCEPTED,
      availability: cluster.availability,
    },
    certificate: {
      cn: first.nodeId,
      role: NodeRole.MANAGER,
      status: { state: IssuanceStatus_State.ISSUED },
      certificate: Buffer.from(first.certificate),
    },
    VXLANUDPPort: cluster.vxlanPort,
  });
}
