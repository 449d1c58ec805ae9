/** The swarm's settings in the API, and the requests that found or join one. */

import { create } from "@bufbuild/protobuf";
import { readCertificate } from "#platform/x509/certificate.ts";
import type { TlsInfo } from "#wire/docker/common.ts";
import type {
  ClusterInfo,
  ExternalCa as ExternalCaJson,
  Swarm,
  SwarmSpec,
} from "#wire/docker/swarm.ts";
import type { Cluster } from "#wire/gen/swarmkit/objects_pb.js";
import { type ClusterSpec, ClusterSpecSchema } from "#wire/gen/swarmkit/specs_pb.js";
import {
  type AcceptancePolicy,
  AcceptancePolicySchema,
  type CAConfig,
  CAConfigSchema,
  ExternalCA_CAProtocol as CaProtocol,
  type ExternalCA,
  ExternalCASchema,
  NodeRole,
  type RootCA,
} from "#wire/gen/swarmkit/types_pb.js";
import type { InitRequest, JoinRequest } from "../cluster-port.ts";
import {
  annotationsFromJson,
  annotationsToJson,
  driverFromJson,
  driverToJson,
  durationOf,
  metaToJson,
} from "./common.ts";
import { availabilityOf, ROLES } from "./nodes.ts";
import type { JsonObject } from "./read-json.ts";
import { invalid, named, nameOf } from "./refusal.ts";
import {
  base64OrNone,
  compact,
  listOrNone,
  mapOrNone,
  nanosecondsOf,
  numberOrNone,
  textOrNone,
  uint64Number,
} from "./write-json.ts";

const SWARM_NAME = "default";
const PROTOCOLS = { cfssl: CaProtocol.CFSSL } as const;

export function swarmToJson(cluster: Cluster): Swarm {
  const { worker = "", manager = "" } = cluster.rootCa?.joinTokens ?? {};
  return { ...clusterInfoToJson(cluster), JoinTokens: { Worker: worker, Manager: manager } };
}

/** The swarm without its tokens, for `/info`. */
export function clusterInfoToJson(cluster: Cluster): ClusterInfo {
  return {
    ...metaToJson(cluster),
    Spec: swarmSpecToJson(cluster.spec ?? create(ClusterSpecSchema)),
    TLSInfo: tlsInfoOf(cluster.rootCa),
    RootRotationInProgress: cluster.rootCa?.rootRotation !== undefined,
    DefaultAddrPool: cluster.defaultAddressPool,
    SubnetSize: cluster.subnetSize,
    DataPathPort: cluster.VXLANUDPPort,
  };
}

export function swarmSpecToJson(spec: ClusterSpec): SwarmSpec {
  const { raft, dispatcher, caConfig, taskDefaults, acceptancePolicy } = spec;
  const period = dispatcher?.heartbeatPeriod;
  const logDriver = taskDefaults?.logDriver;
  const policies = acceptancePolicy?.policies ?? [];
  return compact({
    ...annotationsToJson(spec.annotations),
    Orchestration: {
      TaskHistoryRetentionLimit: Number(spec.orchestration?.taskHistoryRetentionLimit ?? 0n),
    },
    Raft: compact({
      SnapshotInterval: numberOrNone(raft?.snapshotInterval ?? 0n),
      KeepOldSnapshots: uint64Number(raft?.keepOldSnapshots ?? 0n),
      LogEntriesForSlowFollowers: numberOrNone(raft?.logEntriesForSlowFollowers ?? 0n),
      ElectionTick: raft?.electionTick ?? 0,
      HeartbeatTick: raft?.heartbeatTick ?? 0,
    }),
    Dispatcher: compact({ HeartbeatPeriod: numberOrNone(period ? nanosecondsOf(period) : 0) }),
    CAConfig: caConfigToJson(caConfig),
    TaskDefaults: compact({ LogDriver: logDriver && driverToJson(logDriver) }),
    EncryptionConfig: { AutoLockManagers: spec.encryptionConfig?.autoLockManagers ?? false },
    AcceptancePolicy:
      policies.length === 0
        ? undefined
        : {
            Policies: policies.map(({ role, autoaccept }) => ({
              Role: nameOf(ROLES, role, "worker"),
              Autoaccept: autoaccept,
            })),
          },
  });
}

/** Parts that the client leaves out stay out: the swarm has defaults for them. */
export function swarmSpecFromJson(json: JsonObject): ClusterSpec {
  const name = json.text("Name");
  if (name !== "" && name !== SWARM_NAME) throw invalid('swarm spec must be named "default"');
  const limit = json.part("Orchestration").optionalInt64("TaskHistoryRetentionLimit");
  const raft = json.part("Raft");
  const period = json.part("Dispatcher").int64("HeartbeatPeriod");
  const autoLock = json.since(25).part("EncryptionConfig").flag("AutoLockManagers");
  return create(ClusterSpecSchema, {
    annotations: { ...annotationsFromJson(json), name: SWARM_NAME },
    acceptancePolicy: policyFromJson(json.object("AcceptancePolicy")),
    orchestration: limit === undefined ? undefined : { taskHistoryRetentionLimit: limit },
    raft: {
      snapshotInterval: raft.uint64("SnapshotInterval"),
      keepOldSnapshots: raft.uint64("KeepOldSnapshots"),
      logEntriesForSlowFollowers: raft.uint64("LogEntriesForSlowFollowers"),
      heartbeatTick: raft.uint32("HeartbeatTick"),
      electionTick: raft.uint32("ElectionTick"),
    },
    dispatcher: { heartbeatPeriod: period === 0n ? undefined : durationOf(period) },
    caConfig: caConfigFromJson(json.part("CAConfig")),
    taskDefaults: { logDriver: driverFromJson(json.part("TaskDefaults").object("LogDriver")) },
    encryptionConfig: { autoLockManagers: autoLock },
  });
}

export function initRequestFromJson(json: JsonObject): InitRequest {
  const since39 = json.since(39);
  return {
    listenAddr: json.text("ListenAddr"),
    advertiseAddr: json.text("AdvertiseAddr"),
    dataPathAddr: json.text("DataPathAddr"),
    dataPathPort: json.since(40).uint32("DataPathPort"),
    defaultAddrPool: since39.texts("DefaultAddrPool"),
    subnetSize: since39.uint32("SubnetSize"),
    forceNewCluster: json.flag("ForceNewCluster"),
    spec: swarmSpecFromJson(json.part("Spec")),
    autoLockManagers: json.flag("AutoLockManagers"),
    availability: availabilityOf(json.text("Availability")),
  };
}

export function joinRequestFromJson(json: JsonObject): JoinRequest {
  return {
    listenAddr: json.text("ListenAddr"),
    advertiseAddr: json.text("AdvertiseAddr"),
    dataPathAddr: json.text("DataPathAddr"),
    remoteAddrs: json.texts("RemoteAddrs"),
    joinToken: json.text("JoinToken"),
    availability: availabilityOf(json.text("Availability")),
  };
}

function policyFromJson(json: JsonObject | undefined): AcceptancePolicy | undefined {
  if (json === undefined) return undefined;
  return create(AcceptancePolicySchema, {
    policies: json.objects("Policies").map((policy) => ({
      role: named(ROLES, policy.text("Role"), NodeRole.WORKER, (value) => `invalid Role: ${value}`),
      autoaccept: policy.flag("Autoaccept"),
    })),
  });
}

function caConfigToJson(config: CAConfig | undefined): SwarmSpec["CAConfig"] {
  const expiry = config?.nodeCertExpiry;
  return compact({
    NodeCertExpiry: numberOrNone(expiry ? nanosecondsOf(expiry) : 0),
    ExternalCAs: listOrNone((config?.externalCas ?? []).map(externalCaToJson)),
    ForceRotate: numberOrNone(config?.forceRotate ?? 0n),
  });
}

function caConfigFromJson(json: JsonObject): CAConfig {
  const expiry = json.int64("NodeCertExpiry");
  const since30 = json.since(30);
  const pem = (name: string) => new TextEncoder().encode(since30.text(name));
  return create(CAConfigSchema, {
    nodeCertExpiry: expiry === 0n ? undefined : durationOf(expiry),
    externalCas: json.objects("ExternalCAs").map(externalCaFromJson),
    signingCaCert: pem("SigningCACert"),
    signingCaKey: pem("SigningCAKey"),
    forceRotate: since30.uint64("ForceRotate"),
  });
}

function externalCaToJson(external: ExternalCA): ExternalCaJson {
  return compact({
    Protocol: nameOf(PROTOCOLS, external.protocol, "cfssl"),
    URL: external.url,
    Options: mapOrNone(external.options),
    CACert: new TextDecoder().decode(external.caCert),
  });
}

function externalCaFromJson(json: JsonObject): ExternalCA {
  const protocol = json.text("Protocol");
  if (protocol === "") throw invalid('invalid protocol: ""');
  return create(ExternalCASchema, {
    protocol: named(PROTOCOLS, protocol, CaProtocol.CFSSL, (value) => `invalid protocol: ${value}`),
    url: json.text("URL"),
    options: json.map("Options"),
    caCert: new TextEncoder().encode(json.since(30).text("CACert")),
  });
}

/** Trust is in the old root until a rotation is over; new certificates are the new one's. */
function tlsInfoOf(root: RootCA | undefined): TlsInfo {
  if (root === undefined) return {};
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  const trusted = text(root.caCert);
  const signer = text(root.rootRotation?.caCert ?? root.caCert);
  const issuer = signer === "" ? undefined : readCertificate(signer).asIssuer;
  return compact({
    TrustRoot: textOrNone(trusted),
    CertIssuerSubject: issuer && base64OrNone(issuer.subject),
    CertIssuerPublicKey: issuer && base64OrNone(issuer.publicKey),
  });
}
