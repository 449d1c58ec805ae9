/**
 * The Engine API's JSON types of images, exactly as they travel: field names in Docker's case,
 * absent where Docker leaves a field out, null where it writes null. Types only.
 */

/** X-Registry-Auth, decoded: either a password, or a token of an earlier login. */
export interface AuthConfig {
  readonly username?: string;
  readonly password?: string;
  readonly email?: string;
  readonly serveraddress?: string;
  /** An OAuth2 refresh token that the token server of the registry handed out. */
  readonly identitytoken?: string;
  /** Sent as it is in place of a token of our own. */
  readonly registrytoken?: string;
  /** base64("user:password"); read where username is absent. */
  readonly auth?: string;
}

/** How a container tells that it is well; durations in nanoseconds, 0 = inherit. */
export interface HealthConfig {
  /** [] = inherit, ["NONE"], ["CMD", args…] or ["CMD-SHELL", command]. */
  readonly Test?: readonly string[];
  readonly Interval?: number;
  readonly Timeout?: number;
  readonly Retries?: number;
  readonly StartPeriod?: number;
  readonly StartInterval?: number;
}

/** The `config` of an image: what a container of it starts with when nothing else is said. */
export interface ImageConfig {
  readonly Hostname?: string;
  readonly Domainname?: string;
  readonly User?: string;
  readonly AttachStdin?: boolean;
  readonly AttachStdout?: boolean;
  readonly AttachStderr?: boolean;
  readonly ExposedPorts?: Readonly<Record<string, Record<string, never>>> | null;
  readonly Tty?: boolean;
  readonly OpenStdin?: boolean;
  readonly StdinOnce?: boolean;
  readonly Env?: readonly string[] | null;
  readonly Cmd?: readonly string[] | null;
  readonly Healthcheck?: HealthConfig | null;
  /** Cmd is already escaped (Windows); kept so that a saved image is the one that was loaded. */
  readonly ArgsEscaped?: boolean;
  readonly Image?: string;
  readonly Volumes?: Readonly<Record<string, Record<string, never>>> | null;
  readonly WorkingDir?: string;
  readonly Entrypoint?: readonly string[] | null;
  readonly NetworkDisabled?: boolean;
  readonly MacAddress?: string;
  readonly OnBuild?: readonly string[] | null;
  readonly Labels?: Readonly<Record<string, string>> | null;
  readonly StopSignal?: string;
  /** Seconds. */
  readonly StopTimeout?: number;
  readonly Shell?: readonly string[] | null;
}

/** GET /images/{name}/json. */
export interface ImageInspect {
  readonly Id: string;
  readonly RepoTags: readonly string[];
  readonly RepoDigests: readonly string[];
  readonly Parent: string;
  readonly Comment: string;
  /** RFC 3339; left out when the image does not say (API 1.44). */
  readonly Created?: string;
  readonly Container?: string;
  readonly ContainerConfig?: ImageConfig;
  readonly DockerVersion: string;
  readonly Author: string;
  readonly Config: ImageConfig | null;
  readonly Architecture: string;
  readonly Variant?: string;
  readonly Os: string;
  readonly OsVersion?: string;
  /** Bytes of all layers, unpacked. */
  readonly Size: number;
  /** Equal to Size; gone from the answer since API 1.44. */
  readonly VirtualSize?: number;
  readonly GraphDriver: { readonly Name: string; readonly Data: Record<string, string> | null };
  readonly RootFS: { readonly Type: string; readonly Layers?: readonly string[] };
  readonly Metadata: { readonly LastTagTime: string };
}

/** One row of GET /images/json. */
export interface ImageSummary {
  readonly Id: string;
  readonly ParentId: string;
  readonly RepoTags: readonly string[];
  readonly RepoDigests: readonly string[];
  /** Seconds since the epoch. */
  readonly Created: number;
  readonly Size: number;
  /** Bytes shared with other images; -1 = not computed. */
  readonly SharedSize: number;
  readonly VirtualSize?: number;
  readonly Labels: Readonly<Record<string, string>> | null;
  /** Containers that use the image; -1 = not computed. */
  readonly Containers: number;
}

/** One row of GET /images/{name}/history, newest first. */
export interface HistoryItem {
  readonly Id: string;
  readonly Created: number;
  readonly CreatedBy: string;
  readonly Tags: readonly string[] | null;
  readonly Size: number;
  readonly Comment: string;
}

/** One row of the answer of DELETE /images/{name}. */
export type ImageDeleteItem = { readonly Untagged: string } | { readonly Deleted: string };

/** Answer of POST /images/prune. */
export interface ImagesPruneReport {
  readonly ImagesDeleted: readonly ImageDeleteItem[] | null;
  readonly SpaceReclaimed: number;
}

/** GET /distribution/{name}/json. */
export interface DistributionInspect {
  readonly Descriptor: {
    readonly mediaType: string;
    readonly digest: string;
    readonly size: number;
  };
  readonly Platforms: readonly {
    readonly architecture: string;
    readonly os: string;
    readonly "os.version"?: string;
    readonly "os.features"?: readonly string[];
    readonly variant?: string;
  }[];
}
