/**
 * Tasks and their templates in the Engine API. Types only. Durations are nanoseconds; what is absent
 * has its default.
 */

import type {
  Annotations,
  Driver,
  GenericResource,
  ObjectMeta,
  ObjectVersion,
  Platform,
  Resources,
  StringMap,
} from "./common.ts";
import type { HealthConfig } from "./containers.ts";

export interface FileTarget {
  readonly Name: string;
  readonly UID: string;
  readonly GID: string;
  /** Permission bits. */
  readonly Mode: number;
}

export interface SecretReference {
  readonly File?: FileTarget;
  readonly SecretID: string;
  readonly SecretName: string;
}

/** `Runtime` marks a config that the runtime reads (a credential spec), not the container. */
export interface ConfigReference {
  readonly File?: FileTarget;
  readonly Runtime?: Readonly<Record<string, never>>;
  readonly ConfigID: string;
  readonly ConfigName: string;
}

export interface Privileges {
  readonly CredentialSpec: {
    readonly Config: string;
    readonly File: string;
    readonly Registry: string;
  } | null;
  readonly SELinuxContext: {
    readonly Disable: boolean;
    readonly User: string;
    readonly Role: string;
    readonly Type: string;
    readonly Level: string;
  } | null;
  readonly Seccomp?: {
    readonly Mode: "default" | "unconfined" | "custom";
    /** Base64 of the profile's JSON. */
    readonly Profile?: string;
  };
  readonly AppArmor?: { readonly Mode: "default" | "disabled" };
  readonly NoNewPrivileges: boolean;
}

export interface ServiceMount {
  readonly Type: "bind" | "volume" | "tmpfs" | "npipe" | "cluster";
  readonly Source?: string;
  readonly Target?: string;
  readonly ReadOnly?: boolean;
  readonly Consistency?: "consistent" | "cached" | "delegated";
  readonly BindOptions?: {
    readonly Propagation?: string;
    readonly NonRecursive?: boolean;
    readonly CreateMountpoint?: boolean;
    readonly ReadOnlyNonRecursive?: boolean;
    readonly ReadOnlyForceRecursive?: boolean;
  };
  readonly VolumeOptions?: {
    readonly NoCopy?: boolean;
    readonly Labels?: StringMap;
    readonly Subpath?: string;
    readonly DriverConfig?: Driver;
  };
  readonly TmpfsOptions?: {
    readonly SizeBytes?: number;
    readonly Mode?: number;
    /** Flags as one word, settings as two. */
    readonly Options?: readonly (readonly string[])[];
  };
  readonly ClusterOptions?: Readonly<Record<string, never>>;
}

export interface ServiceUlimit {
  readonly Name: string;
  readonly Soft: number;
  readonly Hard: number;
}

export interface ContainerSpec {
  readonly Image?: string;
  readonly Labels?: StringMap;
  /** Replaces the image's entrypoint. */
  readonly Command?: readonly string[];
  /** Replaces the image's command. */
  readonly Args?: readonly string[];
  readonly Hostname?: string;
  readonly Env?: readonly string[];
  readonly Dir?: string;
  readonly User?: string;
  readonly Groups?: readonly string[];
  readonly Privileges?: Privileges;
  readonly Init?: boolean;
  readonly StopSignal?: string;
  readonly TTY?: boolean;
  readonly OpenStdin?: boolean;
  readonly ReadOnly?: boolean;
  readonly Mounts?: readonly ServiceMount[];
  readonly StopGracePeriod?: number;
  readonly Healthcheck?: HealthConfig;
  /** "address name alias…". */
  readonly Hosts?: readonly string[];
  readonly DNSConfig?: {
    readonly Nameservers?: readonly string[];
    readonly Search?: readonly string[];
    readonly Options?: readonly string[];
  };
  readonly Secrets?: readonly SecretReference[];
  readonly Configs?: readonly ConfigReference[];
  readonly Isolation?: "default" | "process" | "hyperv";
  readonly Sysctls?: StringMap;
  readonly CapabilityAdd?: readonly string[];
  readonly CapabilityDrop?: readonly string[];
  readonly Ulimits?: readonly ServiceUlimit[];
  readonly OomScoreAdj?: number;
}

export interface ResourceRequirements {
  readonly Limits?: {
    readonly NanoCPUs?: number;
    readonly MemoryBytes?: number;
    readonly Pids?: number;
  };
  readonly Reservations?: Resources;
  readonly SwapBytes?: number;
  readonly MemorySwappiness?: number;
}

export interface TaskRestartPolicy {
  readonly Condition: "none" | "on-failure" | "any";
  readonly Delay?: number;
  readonly MaxAttempts: number;
  readonly Window?: number;
}

export interface Placement {
  readonly Constraints?: readonly string[];
  readonly Preferences?: readonly { readonly Spread: { readonly SpreadDescriptor: string } }[];
  readonly MaxReplicas?: number;
  readonly Platforms?: readonly Platform[];
}

export interface NetworkAttachmentConfig {
  /** Id of the network; clients may send its name. */
  readonly Target?: string;
  readonly Aliases?: readonly string[];
  readonly DriverOpts?: StringMap;
}

export interface TaskSpec {
  readonly ContainerSpec?: ContainerSpec;
  readonly NetworkAttachmentSpec?: { readonly ContainerID: string };
  readonly Resources?: ResourceRequirements;
  readonly RestartPolicy?: TaskRestartPolicy;
  readonly Placement?: Placement;
  readonly Networks?: readonly NetworkAttachmentConfig[];
  readonly LogDriver?: Driver;
  readonly ForceUpdate: number;
  readonly Runtime?: "container" | "plugin" | "attachment";
}

export interface PortConfig {
  readonly Name?: string;
  readonly Protocol: "tcp" | "udp" | "sctp";
  readonly TargetPort?: number;
  readonly PublishedPort?: number;
  readonly PublishMode: "ingress" | "host";
}

/** A network as tasks carry it; ours is always of the swarm. */
export interface AttachedNetwork extends ObjectMeta {
  readonly Spec: Annotations & {
    readonly DriverConfiguration?: Driver;
    readonly IPv6Enabled?: boolean;
    readonly Internal?: boolean;
    readonly Attachable?: boolean;
    readonly Ingress?: boolean;
    readonly IPAMOptions?: IpamOptions;
    readonly ConfigFrom?: { readonly Network: string };
    readonly Scope: "swarm";
  };
  readonly DriverState: Driver;
  readonly IPAMOptions?: IpamOptions;
}

export interface IpamOptions {
  readonly Driver: Driver;
  readonly Configs?: readonly {
    readonly Subnet?: string;
    readonly Range?: string;
    readonly Gateway?: string;
  }[];
}

export interface TaskStatus {
  readonly Timestamp: string;
  readonly State: string;
  readonly Message?: string;
  readonly Err?: string;
  readonly ContainerStatus?: {
    readonly ContainerID: string;
    readonly PID: number;
    readonly ExitCode: number;
  };
  /** Host ports that were given out on the node. */
  readonly PortStatus: { readonly Ports?: readonly PortConfig[] };
}

export interface Task extends ObjectMeta, Annotations {
  readonly Spec: TaskSpec;
  readonly ServiceID?: string;
  readonly Slot?: number;
  readonly NodeID?: string;
  readonly AssignedGenericResources?: readonly GenericResource[];
  readonly Status: TaskStatus;
  readonly DesiredState: string;
  readonly NetworksAttachments?: readonly {
    readonly Network: AttachedNetwork;
    readonly Addresses?: readonly string[];
  }[];
  readonly JobIteration?: ObjectVersion;
  readonly Volumes:
    | readonly { readonly ID?: string; readonly Source?: string; readonly Target?: string }[]
    | null;
}
