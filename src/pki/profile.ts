/**
 * What the cluster's certificates say. A root is ECDSA P-256, CN "swarm-ca", and lives 20 years. A
 * node's certificate names the node (CN), its role (OU) and its cluster (O); nothing in it comes
 * from the node's own request but the public key. Peers are addressed by role, not by host name:
 * the role is among the names of the certificate, so a manager may change its address.
 */

import { NodeRole } from "#wire/gen/swarmkit/types_pb.js";

export const MANAGER_OU = "swarm-manager";
export const WORKER_OU = "swarm-worker";
/** Name under which a joining node, which has no certificate yet, addresses a manager. */
export const CA_NAME = "swarm-ca";
export const ROOT_NAME = "swarm-ca";

const SECOND_MS = 1_000;
const HOUR_MS = 3_600 * SECOND_MS;

/** How long a new root lives. */
export const ROOT_LIFETIME_MS = 630_720_000 * SECOND_MS;
/** Certificates start this long before they are made, because clocks differ; short ones less. */
export const BACKDATE_MS = HOUR_MS;
export const DEFAULT_NODE_LIFETIME_MS = 2_160 * HOUR_MS;
/** The shortest lifetime that operators may set. */
export const MIN_NODE_LIFETIME_MS = HOUR_MS;
/** How long the certificate of a removed node stays on the list after it expired. */
export const BLACKLIST_GRACE_MS = 7 * 24 * HOUR_MS;
/** A root that an operator brings must live at least this long. */
export const MIN_ROOT_LIFETIME_MS = 365 * 24 * HOUR_MS;

export interface Validity {
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

export interface LeafProfile extends Validity {
  /** Node id. */
  readonly commonName: string;
  readonly organizationalUnit: typeof MANAGER_OU | typeof WORKER_OU;
  /** Cluster id. */
  readonly organization: string;
  readonly dnsNames: readonly string[];
}

export function rootValidity(nowMs: number): Validity {
  const whole = toSecond(nowMs);
  return { notBeforeMs: whole - BACKDATE_MS, notAfterMs: whole + ROOT_LIFETIME_MS };
}

export interface LeafSubject {
  readonly nodeId: string;
  readonly role: NodeRole;
  readonly clusterId: string;
}

/** Without a lifetime the default; that it is long enough is checked where it is set. */
export function leafProfile(subject: LeafSubject, nowMs: number, lifetimeMs: number): LeafProfile {
  const manager = subject.role === NodeRole.MANAGER;
  const organizationalUnit = manager ? MANAGER_OU : WORKER_OU;
  const lifetime = lifetimeMs <= 0 ? DEFAULT_NODE_LIFETIME_MS : lifetimeMs;
  const start = toSecond(nowMs);
  return {
    commonName: subject.nodeId,
    organizationalUnit,
    organization: subject.clusterId,
    dnsNames: [organizationalUnit, subject.nodeId, ...(manager ? [CA_NAME] : [])],
    notBeforeMs: start - Math.min(BACKDATE_MS, lifetime),
    notAfterMs: start + lifetime,
  };
}

/** The role that a certificate's OU grants; undefined for anything else. */
export function roleOfUnit(unit: string): NodeRole | undefined {
  if (unit === MANAGER_OU) return NodeRole.MANAGER;
  return unit === WORKER_OU ? NodeRole.WORKER : undefined;
}

function toSecond(ms: number): number {
  return Math.floor(ms / SECOND_MS) * SECOND_MS;
}
