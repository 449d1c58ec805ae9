/**
 * What is durable of a container. `ContainerRecord` (config.json) is what was asked for: written at
 * create, and when the user renames or updates. `RunState` (state.json) is what happened to it:
 * written at every transition, and checked against containerd when the engine starts.
 */

import type {
  ContainerConfig,
  HostConfig,
  MountPoint,
  PortBinding,
} from "#wire/docker/containers.ts";
import type { EndpointSettings } from "#wire/docker/networks.ts";
import type { AttachedNetwork } from "../ports.ts";

export const RECORD_VERSION = 1;

/** One mount besides the runtime's own: decided at create, resolved to a host path at start. */
export interface MountSpec {
  readonly type: "bind" | "volume" | "tmpfs" | "image";
  /** Host path of a bind, name of a volume, id of an image, "" for tmpfs. */
  readonly source: string;
  readonly destination: string;
  readonly readOnly: boolean;
  /** Driver of a volume. */
  readonly driver: string;
  /** As the user wrote it: "ro,z", "". */
  readonly mode: string;
  /** "rprivate", "rslave"…; "" = the default of the type. */
  readonly propagation: string;
  readonly nonRecursive: boolean;
  /**
   * How far a read-only mount reaches: "below" to all that is mounted below it, or not at all;
   * "possible" as far as kernel and runc can. Absent = "top".
   */
  readonly readOnlyReach?: "top" | "below" | "possible";
  /** What the image has at the destination is not copied into a fresh volume. */
  readonly noCopy: boolean;
  /** A folder inside the volume or image. */
  readonly subpath: string;
  /** The host folder is made when it is missing (`-v`, not `--mount`). */
  readonly createSource: boolean;
  /** Mount options of tmpfs. */
  readonly options: readonly string[];
  /** Made for this container without a name; removed with `rm -v` and `--rm`. */
  readonly anonymous: boolean;
}

export interface ContainerRecord {
  readonly version: typeof RECORD_VERSION;
  readonly id: string;
  /** Without the slash. */
  readonly name: string;
  /** RFC 3339 with nanoseconds. */
  readonly createdAt: string;
  /** sha256:… */
  readonly imageId: string;
  /** What runs: entrypoint and command in one. */
  readonly path: string;
  readonly args: readonly string[];
  /** As the user gave it, completed by the image's. */
  readonly config: ContainerConfig;
  /** With the engine's defaults filled in. */
  readonly hostConfig: HostConfig;
  /** Networks to attach to, by name, as asked for. */
  readonly endpoints: Readonly<Record<string, EndpointSettings>>;
  readonly mounts: readonly MountSpec[];
  readonly snapshotter: string;
  /** Chain id of the image's top layer; "" for one without layers. */
  readonly chainId: string;
}

export const PHASES = [
  "created",
  "running",
  "paused",
  "restarting",
  "exited",
  "removing",
  "dead",
] as const;

export type Phase = (typeof PHASES)[number];

/** What a running container holds of its networks, for inspect and for adoption. */
export interface NetworkState {
  readonly networks: readonly AttachedNetwork[];
  readonly ports: Readonly<Record<string, readonly PortBinding[] | null>>;
}

export interface RunState {
  readonly phase: Phase;
  /** 0 unless running or paused. */
  readonly pid: number;
  readonly exitCode: number;
  readonly oomKilled: boolean;
  /** Why the last start failed; "" when it did not. */
  readonly error: string;
  /** RFC 3339; Go's zero time when never. */
  readonly startedAt: string;
  readonly finishedAt: string;
  /** Restarts by policy since the user's last start. */
  readonly restartCount: number;
  /** The user stopped it: "unless-stopped" leaves it alone at the engine's start. */
  readonly stoppedByUser: boolean;
  /** The removal under way takes the anonymous volumes with it. */
  readonly removeVolumes?: boolean;
  readonly network: NetworkState;
}

/** Go's zero time, which docker prints for "never". */
export const ZERO_TIME = "0001-01-01T00:00:00Z";
export const NO_NETWORK: NetworkState = { networks: [], ports: {} };

export const INITIAL_STATE: RunState = {
  phase: "created",
  pid: 0,
  exitCode: 0,
  oomKilled: false,
  error: "",
  startedAt: ZERO_TIME,
  finishedAt: ZERO_TIME,
  restartCount: 0,
  stoppedByUser: false,
  network: NO_NETWORK,
};

/**
 * The snapshot with what a container writes into an image that is mounted in it. Begins with the
 * container's id, which is how its owner is found.
 */
export function imageSnapshot({ id, mounts }: ContainerRecord, mount: MountSpec): string {
  return `${id}-${mounts.indexOf(mount)}`;
}

/** The id of the container that a snapshot is of: its root file system, or an image mount. */
export function ownerOfSnapshot(key: string): string {
  return key.split("-")[0] ?? key;
}

/** The mount as inspect shows it. `source` is the host path where one is known. */
export function toMountPoint(mount: MountSpec, source: string): MountPoint {
  return {
    Type: mount.type,
    ...(mount.type === "volume" ? { Name: mount.source } : {}),
    Source: source,
    Destination: mount.destination,
    ...(mount.type === "volume" ? { Driver: mount.driver } : {}),
    Mode: mount.mode,
    RW: !mount.readOnly,
    Propagation: mount.type === "bind" ? mount.propagation || "rprivate" : mount.propagation,
  };
}
