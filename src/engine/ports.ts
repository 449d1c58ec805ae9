/**
 * The services of one host, as the Engine API and the agent use them. Requests and answers are the
 * Engine API's own JSON types (`wire/docker/`), so that a task's container is made exactly as
 * `docker run` would make it. All methods throw `EngineError` with Docker's message.
 */

import type { Readable } from "node:stream";
import type {
  ContainerCreateBody,
  ContainerInspect,
  ContainerSummary,
} from "#wire/docker/containers.ts";
import type { EngineEvent, EventFilters } from "#wire/docker/events.ts";
import type { AuthConfig, ImageConfig, ImageInspect, ImageSummary } from "#wire/docker/images.ts";
import type { EndpointSettings, NetworkCreateBody, NetworkInspect } from "#wire/docker/networks.ts";
import type { VolumeInspect } from "#wire/docker/volumes.ts";
import type { Platform } from "#wire/oci.ts";

/** Filters in their parsed form: key to the list of accepted values. */
export type Filters = ReadonlyMap<string, readonly string[]>;

export interface EventBus {
  publish(
    event: Omit<EngineEvent, "time" | "timeNano" | "scope"> & { scope?: "local" | "swarm" },
  ): void;
  /** Tells which events the filters let through; `invalid-argument` for filters that there are not. */
  matcher(filters: EventFilters): (event: EngineEvent) => boolean;
  /** Past events since `since`, then live ones until `until` or the signal. */
  subscribe(options: {
    filters: EventFilters;
    scope?: EngineEvent["scope"];
    since?: number;
    until?: number;
    signal: AbortSignal;
  }): AsyncIterable<EngineEvent>;
}

/** One line of progress in the JSON stream of pull, load and import. */
export interface ProgressMessage {
  readonly id?: string;
  readonly status?: string;
  readonly stream?: string;
  readonly progressDetail?: { readonly current?: number; readonly total?: number };
  readonly progress?: string;
  readonly aux?: unknown;
  readonly errorDetail?: { readonly message: string; readonly code?: number };
  readonly error?: string;
}

/** An image ready to run: its config and the snapshot chain that a container is prepared on. */
export interface RunnableImage {
  /** sha256:… of the image config, docker's image ID. */
  readonly id: string;
  readonly config: ImageConfig;
  /** Chain id of the top layer: the parent of a container's snapshot. Empty for a layerless image. */
  readonly chainId: string;
  readonly os: string;
  readonly architecture: string;
}

export interface ImageService {
  /** By name[:tag], name@digest, sha256:id or unique id prefix; `not-found` "No such image: X". */
  resolve(reference: string): Promise<RunnableImage>;
  inspect(reference: string): Promise<ImageInspect>;
  list(options: {
    all?: boolean;
    filters: Filters;
    digests?: boolean;
    /** Also how many containers each has. */
    containers?: boolean;
  }): Promise<readonly ImageSummary[]>;
  pull(
    reference: string,
    options: { auth?: AuthConfig; platform?: string; signal?: AbortSignal },
    onProgress: (message: ProgressMessage) => void,
  ): Promise<void>;
  /** With a platform, only what an archive has for it. */
  load(
    archive: Readable,
    onProgress: (message: ProgressMessage) => void,
    options?: { readonly platform?: Platform },
  ): Promise<void>;
}

export interface LogOptions {
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly follow: boolean;
  readonly timestamps?: boolean;
  readonly details?: boolean;
  /** Nanoseconds since the epoch; 0n = no bound. */
  readonly since?: bigint;
  readonly until?: bigint;
  /** Lines from the end; undefined = all. */
  readonly tail?: number | undefined;
  readonly signal?: AbortSignal;
}

export interface LogEntry {
  readonly stream: "stdout" | "stderr";
  /** RFC 3339 with nanoseconds, as written when the line was read. */
  readonly time: string;
  /** The line with its line feed, or a part of a long one without. */
  readonly line: Uint8Array;
}

export interface WaitResult {
  readonly statusCode: number;
  readonly error?: string;
}

export interface CreateOptions {
  /** "linux/arm64": the image must be for it. */
  readonly platform?: string;
  /** Read-only binds leave writable what is mounted below them, as they did before API 1.44. */
  readonly writableBelow?: boolean;
}

export interface ContainerService {
  create(
    name: string | undefined,
    body: ContainerCreateBody,
    options?: CreateOptions,
  ): Promise<{ id: string; warnings: readonly string[] }>;
  start(reference: string): Promise<void>;
  /** `timeoutSeconds` undefined = the container's own; -1 = wait for ever. */
  stop(reference: string, options: { timeoutSeconds?: number; signal?: string }): Promise<void>;
  kill(reference: string, signal: string): Promise<void>;
  remove(reference: string, options: { force?: boolean; volumes?: boolean }): Promise<void>;
  inspect(reference: string, options?: { size?: boolean }): Promise<ContainerInspect>;
  list(options: {
    all?: boolean;
    limit?: number;
    filters: Filters;
    size?: boolean;
  }): Promise<readonly ContainerSummary[]>;
  wait(
    reference: string,
    condition: "not-running" | "next-exit" | "removed",
    signal?: AbortSignal,
  ): Promise<WaitResult>;
  logs(reference: string, options: LogOptions): AsyncIterable<LogEntry>;
}

/** A container that runs: where its network namespace is, and who it is. */
export interface NetworkSandbox {
  readonly containerId: string;
  readonly containerName: string;
  /** "/proc/PID/ns/net" of the created, not yet started process. */
  readonly netnsPath: string;
  readonly pid: number;
  readonly hostname: string;
  /** Name servers that the container's own configuration names; absent = the engine's. */
  readonly dns?: readonly string[];
}

export interface PortRequest {
  readonly containerPort: number;
  readonly protocol: "tcp" | "udp" | "sctp";
  readonly hostIp: string;
  /** 0 = any free one. */
  readonly hostPort: number;
  readonly hostPortEnd?: number;
}

export interface AttachedNetwork {
  readonly networkName: string;
  readonly endpoint: EndpointSettings;
}

export interface AttachResult {
  readonly networks: readonly AttachedNetwork[];
  /** What each requested port was bound to, as `NetworkSettings.Ports` shows it. */
  readonly ports: Readonly<Record<string, readonly { HostIp: string; HostPort: string }[] | null>>;
  /** Lines for /etc/hosts ("IP name…") and the resolvers for /etc/resolv.conf. */
  readonly hosts: readonly string[];
  readonly nameservers: readonly string[];
}

export interface NetworkService {
  /** By name, id or unique prefix; `not-found` "network X not found". */
  inspect(reference: string): Promise<NetworkInspect>;
  list(filters: Filters): Promise<readonly NetworkInspect[]>;
  /** The id of a network that this host knows, by its name. */
  idOf(name: string): string | undefined;
  create(body: NetworkCreateBody): Promise<{ id: string; warning: string }>;
  remove(reference: string): Promise<void>;
  /**
   * The settings keyed by the networks' names, whatever they were called by. Checks that networks of
   * this host can meet them; what is none is left as it is, because the swarm may know of it when the
   * container starts. Changes nothing.
   */
  resolve(
    endpoints: Readonly<Record<string, EndpointSettings>>,
  ): Promise<Readonly<Record<string, EndpointSettings>>>;
  /** Wires the sandbox to its networks and binds its ports; all or nothing. */
  attach(
    sandbox: NetworkSandbox,
    endpoints: Readonly<Record<string, EndpointSettings>>,
    ports: readonly PortRequest[],
  ): Promise<AttachResult>;
  /** Takes everything of a container away; fine when it has nothing. */
  detach(containerId: string): Promise<void>;
  /** What a container holds now, its names served again; undefined when it is attached to nothing. */
  attached(sandbox: NetworkSandbox): Promise<AttachResult | undefined>;
  /** Adds an endpoint to a running container; `ports` is all that it publishes. */
  connect(
    sandbox: NetworkSandbox,
    endpoint: { readonly reference: string; readonly settings: EndpointSettings },
    ports: readonly PortRequest[],
  ): Promise<AttachResult>;
  /** Takes an endpoint of a running container away; `forbidden` when it has none there. */
  disconnect(
    sandbox: NetworkSandbox,
    reference: string,
    ports: readonly PortRequest[],
  ): Promise<AttachResult>;
  /** Tells the event bus that a container that does not run has left a network. */
  announceDisconnect(reference: string, containerId: string): void;
  /** The container has got another name: what it is called on its networks follows. */
  rename(sandbox: NetworkSandbox): Promise<void>;
  /** After a restart of the engine: what running containers hold is kept, the rest is freed. */
  reconcile(running: ReadonlyMap<string, NetworkSandbox>): Promise<void>;
}

export interface VolumeService {
  create(options: {
    name?: string;
    driver?: string;
    driverOpts?: Readonly<Record<string, string>>;
    labels?: Readonly<Record<string, string>>;
    anonymous?: boolean;
  }): Promise<VolumeInspect>;
  inspect(name: string): Promise<VolumeInspect>;
  list(filters: Filters): Promise<readonly VolumeInspect[]>;
  /** `conflict` while a container uses it, unless none does. */
  remove(name: string, options: { force?: boolean }): Promise<void>;
  /** A container refers to the volume: it is not removed until `release`. */
  hold(name: string, containerId: string): Promise<void>;
  /** The host path to bind, ready for use until `unmount`; asked again, it is the same. */
  mount(name: string, containerId: string): Promise<string>;
  /** The container runs since before this process and has the volume mounted. */
  resume(name: string, containerId: string): Promise<void>;
  unmount(name: string, containerId: string): Promise<void>;
  /** Nothing of the container needs the volume any more. */
  release(name: string, containerId: string): Promise<void>;
}
