/**
 * `/_ping`, `/version`, `/info`, `/auth`, `/system/df`: what every client asks first. The answers are
 * complete enough for the docker command line, compose and the SDKs, and true: what skep does not
 * have is absent or false.
 */

import { EngineError } from "#base/error.ts";
import type { CachedLayer } from "#engine/build/cache.ts";
import type { NetworkStore } from "#engine/networks/service.ts";
import type { ContainerService, ImageService, NetworkService } from "#engine/ports.ts";
import type { HostVolumes } from "#engine/volumes/volumes.ts";
import type { AuthConfig, ImageSummary } from "#wire/docker/images.ts";
import type { ClusterPort } from "./cluster-port.ts";
import { summaryFor } from "./images.ts";
import { info } from "./info.ts";
import type { ApiRequest, ApiResponse, Routes } from "./route.ts";
import { API_VERSION_MAX, API_VERSION_MIN, formatVersion } from "./server-version.ts";

const API_VERSION = formatVersion(API_VERSION_MAX);
const MIN_API_VERSION = formatVersion(API_VERSION_MIN);

/** What the composition root knows of the host and the program. */
export interface HostFacts {
  readonly id: string;
  readonly name: string;
  readonly version: string;
  readonly commit: string;
  readonly buildTime: string;
  readonly goArch: string;
  readonly kernelVersion: string;
  readonly operatingSystem: string;
  readonly osVersion: string;
  /** Of Node.js. */
  readonly runtimeVersion: string;
  readonly cpus: number;
  readonly memoryBytes: number;
  readonly dataRoot: string;
  readonly debug: boolean;
  readonly storageDriver: string;
  readonly cgroupDriver: string;
  readonly cgroupVersion: "1" | "2";
  readonly labels: readonly string[];
  readonly loggingDriver: string;
  readonly containerdVersion: string;
  /** Where containerd answers, and the namespace that the containers are in. */
  readonly containerd: {
    readonly Address: string;
    readonly Namespaces: { readonly Containers: string; readonly Plugins: string };
  };
  readonly runcVersion: string;
  readonly insecureRegistries: readonly string[];
  readonly mirrors: readonly string[];
  readonly initBinary: string;
  /** "name=seccomp,profile=builtin", "name=apparmor", "name=cgroupns": what the kernel offers. */
  readonly securityOptions: readonly string[];
}

export interface SystemServices {
  readonly facts: HostFacts;
  readonly containers: ContainerService;
  readonly images: ImageService & {
    usage(): Promise<{ readonly images: readonly ImageSummary[]; readonly layersSize: number }>;
  };
  readonly networks: NetworkService & Pick<NetworkStore, "drivers">;
  readonly volumes: Pick<HostVolumes, "list" | "drivers" | "usage">;
  readonly buildCache: () => Promise<readonly CachedLayer[]>;
  readonly cluster: ClusterPort;
  /** What an operator of this host should know now. */
  readonly warnings: () => readonly string[];
  /** The cluster's own part of `/info`, on a manager; undefined elsewhere or when out of reach. */
  readonly clusterInfo: () => Promise<ClusterSummary | undefined>;
  /** Checks credentials with their registry; throws `unauthenticated`. */
  readonly login: (
    auth: AuthConfig,
  ) => Promise<{ readonly status: string; readonly token: string }>;
}

export interface ClusterSummary {
  readonly nodes: number;
  readonly managers: number;
  /** ClusterInfo of the Engine API. */
  readonly cluster: unknown;
}

/** What answers before any service of the host is there: `/_ping` and `/version`. */
export function helloRoutes(facts: HostFacts, swarmState: () => string): Routes {
  const ping = (request: ApiRequest, response: ApiResponse) => {
    const headers = {
      "Builder-Version": "1",
      Swarm: swarmState(),
      "Cache-Control": "no-cache, no-store, must-revalidate",
      Pragma: "no-cache",
    };
    if (request.method !== "HEAD") response.text(200, "OK", headers);
    else response.empty(200, { ...headers, "Content-Type": "text/plain; charset=utf-8" });
  };
  return [
    { method: "GET", path: "/_ping", handler: ping },
    { method: "HEAD", path: "/_ping", handler: ping },
    {
      method: "GET",
      path: "/version",
      handler: (_request, response) => response.json(200, versionOf(facts)),
    },
  ];
}

export function systemRoutes(services: SystemServices): Routes {
  return [
    ...helloRoutes(services.facts, () => swarmHeader(services.cluster)),
    {
      method: "GET",
      path: "/info",
      handler: async (request, response) => response.json(200, await info(services, request)),
    },
    {
      method: "POST",
      path: "/auth",
      handler: async (request, response) => {
        const auth = await request.json<AuthConfig>();
        if (auth === undefined) throw new EngineError("invalid-argument", "no credentials given");
        const { status, token } = await services.login(auth);
        response.json(200, { Status: status, IdentityToken: token });
      },
    },
    {
      method: "GET",
      path: "/system/df",
      handler: async (request, response) => response.json(200, await diskUsage(services, request)),
    },
  ];
}

function swarmHeader(cluster: ClusterPort): string {
  const { state, controlAvailable } = cluster.info();
  return state === "active" ? `active/${controlAvailable ? "manager" : "worker"}` : state;
}

export function versionOf(facts: HostFacts) {
  const details = {
    ApiVersion: API_VERSION,
    Arch: facts.goArch,
    BuildTime: facts.buildTime,
    Experimental: "false",
    GitCommit: facts.commit,
    GoVersion: `node ${facts.runtimeVersion}`,
    KernelVersion: facts.kernelVersion,
    MinAPIVersion: MIN_API_VERSION,
    Os: "linux",
  };
  return {
    Platform: { Name: "skep" },
    Components: [
      { Name: "Engine", Version: facts.version, Details: details },
      { Name: "containerd", Version: facts.containerdVersion, Details: {} },
      { Name: "runc", Version: facts.runcVersion, Details: {} },
    ],
    Version: facts.version,
    ApiVersion: API_VERSION,
    MinAPIVersion: MIN_API_VERSION,
    GitCommit: facts.commit,
    GoVersion: details.GoVersion,
    Os: "linux",
    Arch: facts.goArch,
    KernelVersion: facts.kernelVersion,
    BuildTime: facts.buildTime,
  };
}

const USAGE_TYPES = ["container", "image", "volume", "build-cache"];

/** Only what the client asks for: counting is what takes the time. */
export async function diskUsage(services: SystemServices, request: ApiRequest) {
  const asked = request.query.getAll("type");
  const unknown = asked.find((type) => !USAGE_TYPES.includes(type));
  if (unknown !== undefined) {
    throw new EngineError("invalid-argument", `unknown object type: ${unknown}`);
  }
  const wants = (type: string) => asked.length === 0 || asked.includes(type);
  const [usage, containers, volumes, cache] = await Promise.all([
    wants("image") ? services.images.usage() : undefined,
    wants("container")
      ? services.containers.list({ all: true, size: true, filters: new Map() })
      : undefined,
    wants("volume") ? services.volumes.usage() : undefined,
    wants("build-cache") ? services.buildCache() : undefined,
  ]);
  return {
    ...(usage === undefined
      ? {}
      : {
          LayersSize: usage.layersSize,
          Images: usage.images.map((row) => summaryFor(request, row)),
        }),
    ...(containers === undefined ? {} : { Containers: containers }),
    ...(volumes === undefined ? {} : { Volumes: volumes }),
    ...(cache === undefined
      ? {}
      : {
          BuildCache: cache.map(cacheRow),
          BuilderSize: cache.reduce((total, { size }) => total + size, 0),
        }),
  };
}

function cacheRow({ id, parent, size, created }: CachedLayer) {
  return {
    ID: id,
    ...(parent === "" ? {} : { Parent: parent, Parents: [parent] }),
    Type: "regular",
    Description: "",
    InUse: false,
    Shared: false,
    Size: size,
    CreatedAt: created,
    LastUsedAt: null,
    UsageCount: 1,
  };
}
