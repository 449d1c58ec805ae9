/** A container as `GET /containers/{id}/json` and `GET /containers/json` show it. */

import type {
  ContainerConfig,
  ContainerInspect,
  ContainerState,
  ContainerSummary,
  HostConfig,
  MountPoint,
  NetworkSettings,
  PortSummary,
} from "#wire/docker/containers.ts";
import type { EndpointSettings } from "#wire/docker/networks.ts";
import { parseNs } from "../logs/timestamps.ts";
import type { Container } from "./container.ts";
import { planPorts } from "./port-bindings.ts";
import { toMountPoint, ZERO_TIME } from "./record.ts";
import { isAlive } from "./state.ts";
import { describeStatus } from "./status-text.ts";

export interface FilePaths {
  readonly resolvConf: string;
  readonly hostname: string;
  readonly hosts: string;
}

export interface SizeFields {
  readonly SizeRw?: number;
  readonly SizeRootFs?: number;
}

/** What other parts of the engine know of what a container names. */
export interface Lookup {
  /** Host path of a volume; "" when it is gone. */
  readonly volumePath: (name: string) => string;
  /** Id of a network; "" when it is gone. */
  readonly networkId: (name: string) => string;
}

export function toInspect(
  container: Container,
  files: FilePaths,
  lookup: Lookup,
  size: SizeFields,
): ContainerInspect {
  const { record, state } = container;
  const started = state.startedAt !== ZERO_TIME;
  const logsToFile = record.hostConfig.LogConfig?.Type === "json-file";
  return {
    Id: record.id,
    Created: record.createdAt,
    Path: record.path,
    Args: record.args,
    State: toState(container),
    Image: record.imageId,
    // Until the first start there is nothing at these paths.
    ResolvConfPath: started ? files.resolvConf : "",
    HostnamePath: started ? files.hostname : "",
    HostsPath: started ? files.hosts : "",
    LogPath: started && logsToFile ? (container.log?.path ?? "") : "",
    Name: `/${record.name}`,
    RestartCount: state.restartCount,
    Driver: record.snapshotter,
    Platform: "linux",
    MountLabel: "",
    ProcessLabel: "",
    AppArmorProfile: "",
    ExecIDs: container.execIds.size === 0 ? null : [...container.execIds],
    HostConfig: toHostConfig(record.hostConfig, record.name),
    GraphDriver: { Name: record.snapshotter, Data: null },
    ...size,
    Mounts: mountPoints(container, lookup),
    Config: toConfig(record.config, record.imageId),
    NetworkSettings: toNetworkSettings(container, lookup),
  };
}

/** All that Go writes, also where nothing was said. */
function toHostConfig(hostConfig: HostConfig, name: string): HostConfig {
  const { MemorySwappiness: swappiness, PidsLimit: pids, Links: links } = hostConfig;
  return {
    ...UNSAID,
    ...hostConfig,
    Links: links?.length ? links.map((link) => asShown(link, name)) : null,
    // These two mean "as the host has it", which is not a number.
    MemorySwappiness: (swappiness ?? -1) < 0 ? null : (swappiness ?? null),
    PidsLimit: pids || null,
  };
}

/** "db:alias" of the container "web" is shown as "/db:/web/alias". */
function asShown(link: string, name: string): string {
  const [target = "", alias = target] = link.split(":");
  return `/${target}:/${name}/${alias}`;
}

const UNSAID: HostConfig = {
  Binds: null,
  ContainerIDFile: "",
  VolumeDriver: "",
  VolumesFrom: null,
  ConsoleSize: [0, 0],
  CapAdd: null,
  CapDrop: null,
  Dns: null,
  DnsOptions: null,
  DnsSearch: null,
  ExtraHosts: null,
  GroupAdd: null,
  Cgroup: "",
  Links: null,
  OomScoreAdj: 0,
  PidMode: "",
  SecurityOpt: null,
  UTSMode: "",
  UsernsMode: "",
  Isolation: "",
  CpuShares: 0,
  Memory: 0,
  NanoCpus: 0,
  CgroupParent: "",
  BlkioWeight: 0,
  BlkioWeightDevice: null,
  BlkioDeviceReadBps: null,
  BlkioDeviceWriteBps: null,
  BlkioDeviceReadIOps: null,
  BlkioDeviceWriteIOps: null,
  CpuPeriod: 0,
  CpuQuota: 0,
  CpuRealtimePeriod: 0,
  CpuRealtimeRuntime: 0,
  CpusetCpus: "",
  CpusetMems: "",
  Devices: null,
  DeviceCgroupRules: null,
  DeviceRequests: null,
  MemoryReservation: 0,
  MemorySwap: 0,
  OomKillDisable: false,
  Ulimits: null,
  // Of Windows; docker shows them everywhere.
  CpuCount: 0,
  CpuPercent: 0,
  IOMaximumIOps: 0,
  IOMaximumBandwidth: 0,
};

function toConfig(config: ContainerConfig, imageId: string): ContainerConfig {
  const { ExposedPorts: ports, ...rest } = config;
  const filled = (map: object | null | undefined) => Object.keys(map ?? {}).length > 0;
  return {
    Domainname: "",
    AttachStdin: false,
    AttachStdout: false,
    AttachStderr: false,
    Tty: false,
    OpenStdin: false,
    StdinOnce: false,
    ...rest,
    ...(filled(ports) && ports ? { ExposedPorts: ports } : {}),
    Image: config.Image ?? imageId,
    Volumes: filled(config.Volumes) ? (config.Volumes ?? null) : null,
    OnBuild: config.OnBuild ?? null,
  };
}

function toState({ state, health }: Container): ContainerState {
  const alive = isAlive(state.phase);
  return {
    Status: state.phase,
    Running: alive || state.phase === "restarting",
    Paused: state.phase === "paused",
    Restarting: state.phase === "restarting",
    OOMKilled: state.oomKilled,
    Dead: state.phase === "dead",
    Pid: state.pid,
    ExitCode: state.exitCode,
    Error: state.error,
    StartedAt: state.startedAt,
    FinishedAt: state.finishedAt,
    ...(health === undefined ? {} : { Health: health }),
  };
}

/** Those of `HostConfig.Tmpfs` are shown there only. */
function mountPoints({ record }: Container, { volumePath }: Lookup): MountPoint[] {
  const tmpfs = record.hostConfig.Tmpfs ?? {};
  return record.mounts
    .filter(({ type, destination }) => type !== "tmpfs" || !Object.hasOwn(tmpfs, destination))
    .map((mount) =>
      toMountPoint(mount, mount.type === "volume" ? volumePath(mount.source) : mount.source),
    );
}

/** What it got while it runs, else what it asked for and which network that would be. */
function endpointsOf(
  { record, state }: Container,
  { networkId }: Lookup,
): Record<string, EndpointSettings> {
  const endpoints: Record<string, EndpointSettings> = {};
  for (const [name, endpoint] of Object.entries(record.endpoints)) {
    endpoints[name] = { ...NO_ENDPOINT, NetworkID: networkId(name), ...endpoint };
  }
  for (const { networkName, endpoint } of state.network.networks) {
    endpoints[networkName] = endpoint;
  }
  return endpoints;
}

const NO_ENDPOINT: EndpointSettings = {
  IPAMConfig: null,
  Links: null,
  Aliases: null,
  MacAddress: "",
  DriverOpts: null,
  GwPriority: 0,
  EndpointID: "",
  Gateway: "",
  IPAddress: "",
  IPPrefixLen: 0,
  IPv6Gateway: "",
  GlobalIPv6Address: "",
  GlobalIPv6PrefixLen: 0,
  DNSNames: null,
};

function toNetworkSettings(container: Container, lookup: Lookup): NetworkSettings {
  const endpoints = endpointsOf(container, lookup);
  const bridge = endpoints["bridge"] ?? {};
  const { state, record } = container;
  const { NetworkMode: mode = "" } = record.hostConfig;
  const joined = mode.startsWith("container:");
  // A port that nothing can be published on is not shown.
  const exposed =
    joined || mode === "host" || mode === "none"
      ? []
      : Object.keys(record.config.ExposedPorts ?? {}).map((port) => [port, null] as const);
  const alive = isAlive(state.phase);
  return {
    Bridge: "",
    SandboxID: alive && !joined ? record.id : "",
    SandboxKey: alive && !joined ? `/proc/${state.pid}/ns/net` : "",
    Ports: alive ? { ...Object.fromEntries(exposed), ...state.network.ports } : {},
    Gateway: bridge.Gateway ?? "",
    IPAddress: bridge.IPAddress ?? "",
    IPPrefixLen: bridge.IPPrefixLen ?? 0,
    MacAddress: bridge.MacAddress ?? "",
    EndpointID: bridge.EndpointID ?? "",
    HairpinMode: false,
    LinkLocalIPv6Address: "",
    LinkLocalIPv6PrefixLen: 0,
    SecondaryIPAddresses: null,
    SecondaryIPv6Addresses: null,
    IPv6Gateway: bridge.IPv6Gateway ?? "",
    GlobalIPv6Address: bridge.GlobalIPv6Address ?? "",
    GlobalIPv6PrefixLen: bridge.GlobalIPv6PrefixLen ?? 0,
    Networks: endpoints,
  };
}

export function toSummary(
  container: Container,
  lookup: Lookup,
  nowMs: number,
  size: SizeFields,
): ContainerSummary {
  const { record, state } = container;
  const annotations = record.hostConfig.Annotations;
  return {
    Id: record.id,
    Names: [`/${record.name}`],
    Image: record.config.Image ?? record.imageId,
    ImageID: record.imageId,
    Command: [record.path, ...record.args].map(quoteArgument).join(" "),
    Created: Number((parseNs(record.createdAt) ?? 0n) / 1_000_000_000n),
    Ports: toPorts(container),
    ...(size.SizeRw ? { SizeRw: size.SizeRw } : {}),
    ...(size.SizeRootFs ? { SizeRootFs: size.SizeRootFs } : {}),
    Labels: record.config.Labels ?? {},
    State: state.phase,
    Status: describeStatus(state, container.health, nowMs),
    HostConfig: {
      NetworkMode: record.hostConfig.NetworkMode ?? "bridge",
      ...(annotations ? { Annotations: annotations } : {}),
    },
    NetworkSettings: { Networks: withoutRequests(endpointsOf(container, lookup)) },
    Mounts: mountPoints(container, lookup),
  };
}

/** The list shows what endpoints are, not what was asked of them. */
function withoutRequests(
  endpoints: Readonly<Record<string, EndpointSettings>>,
): Record<string, EndpointSettings> {
  return Object.fromEntries(
    Object.entries(endpoints).map(([name, endpoint]) => [name, { ...endpoint, Aliases: null }]),
  );
}

function quoteArgument(text: string): string {
  return /\s/.test(text) ? `'${text.replaceAll("'", "'\\''")}'` : text;
}

function toPorts({ record, state }: Container): PortSummary[] {
  if (!isAlive(state.phase)) return [];
  const ports: PortSummary[] = [];
  const published = state.network.ports;
  for (const [key, bindings] of Object.entries(published)) {
    const { PrivatePort, Type } = splitPort(key);
    for (const { HostIp = "", HostPort = "" } of bindings ?? []) {
      ports.push({ IP: HostIp, PrivatePort, PublicPort: Number(HostPort), Type });
    }
  }
  const wanted = planPorts(record.config, record.hostConfig);
  for (const key of Object.keys(record.config.ExposedPorts ?? {})) {
    const { PrivatePort, Type } = splitPort(key);
    const taken =
      (published[`${PrivatePort}/${Type}`] ?? []).length > 0 ||
      wanted.some((port) => port.containerPort === PrivatePort && port.protocol === Type);
    if (!taken) ports.push({ PrivatePort, Type });
  }
  return ports;
}

function splitPort(key: string): { PrivatePort: number; Type: string } {
  const [port = "0", Type = "tcp"] = key.split("/");
  return { PrivatePort: Number(port), Type };
}
