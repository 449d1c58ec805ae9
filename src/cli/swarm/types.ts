/** What the command line reads of the swarm's objects; the engine sends more. */

export interface Versioned {
  readonly ID: string;
  readonly Version: { readonly Index: number };
  readonly CreatedAt: string;
  readonly UpdatedAt: string;
}

export interface SwarmObject extends Versioned {
  readonly Spec: Readonly<Record<string, unknown>>;
  readonly JoinTokens: { readonly Worker: string; readonly Manager: string };
}

export interface TlsInfo {
  readonly TrustRoot?: string;
  readonly CertIssuerSubject?: string;
  readonly CertIssuerPublicKey?: string;
}

export interface NodeObject extends Versioned {
  readonly Spec: {
    readonly Role: string;
    readonly Availability: string;
    readonly Name?: string;
    readonly Labels?: Readonly<Record<string, string>> | null;
    readonly Membership?: string;
  };
  readonly KeyFingerprint?: string;
  readonly Description: {
    /** Absent until the node's agent has said more of it. */
    readonly Hostname?: string;
    readonly TLSInfo?: TlsInfo;
    readonly Engine: {
      readonly EngineVersion?: string;
      readonly Labels?: Readonly<Record<string, string>> | null;
    };
  };
  readonly Status: { readonly State: string; readonly Addr?: string; readonly Message?: string };
  readonly ManagerStatus?: {
    readonly Leader?: boolean;
    readonly Reachability: string;
    readonly Addr: string;
  };
}

export interface PortConfig {
  readonly Protocol?: string;
  readonly TargetPort: number;
  readonly PublishedPort?: number;
  readonly PublishMode?: string;
}

export interface ServiceObject extends Versioned {
  readonly Spec: ServiceSpecJson;
  readonly Endpoint?: { readonly Ports?: readonly PortConfig[] };
  readonly ServiceStatus?: {
    readonly RunningTasks: number;
    readonly DesiredTasks: number;
    readonly CompletedTasks?: number;
  };
  readonly UpdateStatus?: {
    readonly State: string;
    readonly Message: string;
    readonly StartedAt?: string;
  };
  readonly Rollout?: { readonly Strategy: string; readonly Phase: string };
  /** What the newest version waits for. */
  readonly StartAfter?: readonly string[];
  /** Jobs only. */
  readonly JobStatus?: { readonly JobIteration: { readonly Index?: number } };
}

type Json = Readonly<Record<string, unknown>>;

export interface ServiceSpecJson {
  readonly Name: string;
  readonly Labels?: Readonly<Record<string, string>> | null;
  readonly Mode: {
    readonly Replicated?: { readonly Replicas?: number };
    readonly Global?: Json;
    readonly ReplicatedJob?: Json & {
      readonly TotalCompletions?: number;
      readonly MaxConcurrent?: number;
    };
    readonly GlobalJob?: Json;
  };
  readonly TaskTemplate: {
    readonly ContainerSpec: Json & { readonly Image: string; readonly TTY?: boolean };
    readonly ForceUpdate?: number;
    readonly Placement?: Json & {
      readonly MaxReplicas?: number;
      readonly Platforms?: readonly { readonly Architecture?: string; readonly OS?: string }[];
    };
    readonly [field: string]: unknown;
  };
  readonly UpdateConfig?: Json & { readonly Monitor?: number };
  readonly RollbackConfig?: Json;
  readonly EndpointSpec?: { readonly Mode?: string; readonly Ports?: readonly PortConfig[] | null };
}

export interface TaskObject extends Versioned {
  readonly ServiceID: string;
  readonly NodeID?: string;
  readonly Slot?: number;
  readonly Spec: { readonly ContainerSpec?: { readonly Image: string; readonly TTY?: boolean } };
  readonly Status: {
    readonly Timestamp: string;
    readonly State: string;
    readonly Message?: string;
    readonly Err?: string;
    readonly PortStatus?: { readonly Ports?: readonly PortConfig[] };
  };
  readonly DesiredState: string;
  readonly JobIteration?: { readonly Index?: number };
}
