/** The first certificates of a new swarm, made by the node that founds it. */

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { durationMs } from "@bufbuild/protobuf/wkt";
import { newId } from "#base/ids.ts";
import type { Clock, Random } from "#base/ports.ts";
import { FEATURE_LEVEL, levelRefusal } from "#model/feature-level.ts";
import { leafProfile, MANAGER_OU, MIN_NODE_LIFETIME_MS, rootValidity } from "#pki/profile.ts";
import { signerOf } from "#pki/rotation.ts";
import { isMissing } from "#platform/missing.ts";
import { keyFits, normalizePem } from "#platform/x509/certificate.ts";
import {
  type Authority,
  createRequest,
  createRoot,
  generateKey,
  issueCertificate,
  readPrivateKey,
  readRequest,
} from "#platform/x509/issue.ts";
import type { StoreSnapshot } from "#wire/gen/swarmkit/snapshot_pb.js";
import type { ClusterSpec, NodeSpec_Availability } from "#wire/gen/swarmkit/specs_pb.js";
import { NodeRole } from "#wire/gen/swarmkit/types_pb.js";
import type { Backup } from "./backup.ts";
import { badRequest } from "./errors.ts";
import type { Credentials } from "./identity.ts";
import { newRaftKey } from "./key-file.ts";
import type { SwarmPaths } from "./paths.ts";

/** What `swarm init` settles before there is a store to write it to. */
export interface NewSwarm {
  readonly authority: Authority;
  readonly clusterId: string;
  readonly nodeId: string;
  readonly spec: ClusterSpec;
  readonly defaultAddressPool: readonly string[];
  readonly subnetSize: number;
  readonly vxlanPort: number;
  readonly availability: NodeSpec_Availability;
  readonly unlockKey: Uint8Array | undefined;
  /** Set when the swarm comes out of a backup. */
  readonly restored?: StoreSnapshot;
  /** PEM that goes behind the founder's certificate: in the middle of a root rotation. */
  readonly intermediate?: string;
  /** PEM of the root that nodes trust, where the authority is not that itself. */
  readonly trusted?: string;
}

export async function newSwarm(
  paths: SwarmPaths,
  settings: Omit<NewSwarm, "authority" | "clusterId" | "nodeId">,
  clock: Clock,
  random: Random,
): Promise<NewSwarm> {
  const authority =
    (await broughtRoot(paths)) ?? (await createRoot(rootValidity(clock.nowMs()), random));
  return { ...settings, authority, clusterId: newId(random), nodeId: newId(random) };
}

/** A swarm that was, with this node as its one manager. */
export function swarmOfBackup(
  { store }: Backup,
  availability: NodeSpec_Availability,
  random: Random,
): NewSwarm {
  const [cluster] = store.clusters;
  if (cluster?.rootCa === undefined || cluster.spec === undefined) {
    throw badRequest("the backup holds no swarm");
  }
  const tooNew = levelRefusal(cluster.featureLevel, FEATURE_LEVEL);
  if (tooNew !== undefined) throw badRequest(`the backup cannot be restored here: ${tooNew}`);
  const signer = signerOf(cluster.rootCa);
  if (signer === undefined) {
    throw badRequest(
      "the root's key of this swarm is with an external CA: a manager cannot be made without it",
    );
  }
  const lock = cluster.unlockKeys.find(({ subsystem }) => subsystem === MANAGER_OU)?.key;
  const locks = cluster.spec.encryptionConfig?.autoLockManagers === true;
  return {
    authority: { cert: textOf(signer.cert), key: textOf(signer.key) },
    trusted: textOf(cluster.rootCa.caCert),
    intermediate: textOf(signer.intermediate),
    clusterId: cluster.id,
    nodeId: newId(random),
    spec: cluster.spec,
    defaultAddressPool: cluster.defaultAddressPool,
    subnetSize: cluster.subnetSize,
    vxlanPort: cluster.VXLANUDPPort,
    availability,
    unlockKey: locks ? lock : undefined,
    restored: store,
  };
}

function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("utf8");
}

/** Refuses, in docker's words, what the cluster object must not hold. */
export function checkSpec(spec: ClusterSpec): void {
  const name = spec.annotations?.name ?? "";
  if (name !== "" && name !== "default") throw badRequest('swarm spec must be named "default"');
  const expiry = spec.caConfig?.nodeCertExpiry;
  if (expiry !== undefined && durationMs(expiry) < MIN_NODE_LIFETIME_MS) {
    throw badRequest("minimum certificate expiry time is: 1h0m0s");
  }
  const period = spec.dispatcher?.heartbeatPeriod;
  if (period !== undefined && durationMs(period) < 0) {
    throw badRequest("heartbeat time period cannot be a negative duration");
  }
}

/** An operator may put a root of his own where the node's will be, before the swarm is founded. */
async function broughtRoot(paths: SwarmPaths): Promise<Authority | undefined> {
  try {
    const [cert, key] = await Promise.all([
      readFile(paths.rootCert, "utf8"),
      readFile(join(paths.certificates, "swarm-root-ca.key"), "utf8"),
    ]);
    if (!keyFits(cert, readPrivateKey(key))) throw badRequest("certificate key mismatch");
    return { cert: normalizePem(cert), key };
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

/** The founder signs its own certificate. */
export async function createNewSwarm(
  swarm: NewSwarm,
  clock: Clock,
  random: Random,
): Promise<Credentials> {
  const { authority, nodeId, clusterId, spec } = swarm;
  const key = generateKey();
  const request = await readRequest(await createRequest(key, nodeId));
  const expiry = spec.caConfig?.nodeCertExpiry;
  const lifetimeMs = expiry === undefined ? 0 : durationMs(expiry);
  const subject = { nodeId, role: NodeRole.MANAGER, clusterId };
  const profile = leafProfile(subject, clock.nowMs(), lifetimeMs);
  const nodeCert = await issueCertificate(authority, request, profile, random);
  const privateKey = key.export({ type: "pkcs8", format: "pem" }) as string;
  return {
    rootCert: swarm.trusted ?? authority.cert,
    nodeCert: nodeCert + (swarm.intermediate ?? ""),
    key: { privateKey, raftKey: newRaftKey(), lockVersion: 0n },
  };
}
