/** Services in the Engine API. Types only. Durations are nanoseconds. */

import type { Annotations, ObjectMeta, ObjectVersion } from "./common.ts";
import type { NetworkAttachmentConfig, PortConfig, TaskSpec } from "./tasks.ts";

/** Exactly one is there. */
export interface ServiceMode {
  readonly Replicated?: { readonly Replicas?: number };
  readonly Global?: Readonly<Record<string, never>>;
  readonly ReplicatedJob?: { readonly MaxConcurrent?: number; readonly TotalCompletions?: number };
  readonly GlobalJob?: Readonly<Record<string, never>>;
}

export interface UpdateConfig {
  /** Tasks at once; 0 means all. */
  readonly Parallelism: number;
  readonly Delay?: number;
  readonly FailureAction: "pause" | "continue" | "rollback";
  readonly Monitor?: number;
  readonly MaxFailureRatio: number;
  readonly Order: "stop-first" | "start-first";
}

export interface EndpointSpec {
  readonly Mode?: "vip" | "dnsrr";
  readonly Ports?: readonly PortConfig[];
}

export interface ServiceSpec extends Annotations {
  readonly TaskTemplate: TaskSpec;
  readonly Mode: ServiceMode;
  readonly UpdateConfig?: UpdateConfig;
  readonly RollbackConfig?: UpdateConfig;
  /** The place of before API 1.25; `TaskTemplate.Networks` is preferred. */
  readonly Networks?: readonly NetworkAttachmentConfig[];
  readonly EndpointSpec?: EndpointSpec;
}

export interface ServiceStatus {
  readonly RunningTasks: number;
  readonly DesiredTasks: number;
  readonly CompletedTasks: number;
}

export interface UpdateStatus {
  readonly State?:
    | "updating"
    | "paused"
    | "completed"
    | "rollback_started"
    | "rollback_paused"
    | "rollback_completed";
  readonly StartedAt?: string;
  readonly CompletedAt?: string;
  readonly Message?: string;
}

export interface Service extends ObjectMeta {
  readonly Spec: ServiceSpec;
  readonly PreviousSpec?: ServiceSpec;
  readonly Endpoint: {
    readonly Spec: EndpointSpec;
    readonly Ports?: readonly PortConfig[];
    /** Addresses in CIDR form. */
    readonly VirtualIPs?: readonly { readonly NetworkID?: string; readonly Addr?: string }[];
  };
  readonly UpdateStatus?: UpdateStatus;
  /** Ours alone: an update by canary or blue/green. */
  readonly Rollout?: {
    readonly Strategy: "rolling" | "canary" | "blue-green";
    readonly Phase: "trial" | "spread" | "kept";
    readonly Since: string;
    readonly Promoted: boolean;
    /** Versions of the spec whose tasks take no part in the balance. */
    readonly SetAside: readonly number[];
  };
  /** Ours alone: what the newest version waits for before it is started: "db to be healthy". */
  readonly StartAfter?: readonly string[];
  /** `GET /services?status=true` only. */
  readonly ServiceStatus?: ServiceStatus;
  /** Jobs only. */
  readonly JobStatus?: {
    readonly JobIteration: ObjectVersion;
    readonly LastExecution: string;
  };
  /** Ours alone: why the service has not all of the addresses and ports that it asks for. */
  readonly AllocationError?: string;
}
