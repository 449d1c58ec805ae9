/**
 * The swarm itself in the Engine API: its settings, tokens, and the requests that make a node part
 * of one. Types only. Durations are nanoseconds.
 */

import type { Annotations, Driver, ObjectMeta, StringMap, TlsInfo } from "./common.ts";

export interface ExternalCa {
  readonly Protocol: "cfssl";
  readonly URL: string;
  readonly Options?: StringMap;
  /** PEM of the root that it signs for; empty means the current one. */
  readonly CACert: string;
}

/** Whether nodes of a role come in at once or wait for `node accept`; ours alone. */
export interface AcceptancePolicy {
  readonly Role: "worker" | "manager";
  readonly Autoaccept: boolean;
}

export interface SwarmSpec extends Annotations {
  readonly Orchestration: {
    /** Finished tasks kept per slot; negative keeps all. */
    readonly TaskHistoryRetentionLimit?: number;
  };
  readonly Raft: {
    readonly SnapshotInterval?: number;
    readonly KeepOldSnapshots?: number;
    readonly LogEntriesForSlowFollowers?: number;
    readonly ElectionTick: number;
    readonly HeartbeatTick: number;
  };
  readonly Dispatcher: { readonly HeartbeatPeriod?: number };
  readonly CAConfig: {
    readonly NodeCertExpiry?: number;
    readonly ExternalCAs?: readonly ExternalCa[];
    /** PEM; only ever sent by clients. */
    readonly SigningCACert?: string;
    readonly SigningCAKey?: string;
    readonly ForceRotate?: number;
  };
  readonly TaskDefaults: { readonly LogDriver?: Driver };
  readonly EncryptionConfig: { readonly AutoLockManagers: boolean };
  readonly AcceptancePolicy?: { readonly Policies: readonly AcceptancePolicy[] };
}

/** The part of the swarm that `GET /info` shows too. */
export interface ClusterInfo extends ObjectMeta {
  readonly Spec: SwarmSpec;
  readonly TLSInfo: TlsInfo;
  readonly RootRotationInProgress: boolean;
  readonly DefaultAddrPool: readonly string[];
  readonly SubnetSize: number;
  readonly DataPathPort: number;
}

export interface Swarm extends ClusterInfo {
  readonly JoinTokens: { readonly Worker: string; readonly Manager: string };
}

/** A join token with bounds; ours alone. */
export interface JoinToken {
  readonly Name: string;
  readonly Token: string;
  readonly Role: "worker" | "manager";
  /** What nodes are labelled with that come with it. */
  readonly Labels: StringMap;
  /** What they are identified by, for constraints on `node.identity.…`. */
  readonly IdentityLabels?: StringMap;
  /** 0 means any number. */
  readonly MaxUses: number;
  readonly Uses: number;
  readonly CreatedAt: string;
  /** Absent when it does not expire. */
  readonly ExpiresAt?: string;
}
