/** `info`: what the engine knows about itself and its host, in the order and the words of docker's. */

import { messageOf } from "#base/error.ts";
import type { CommandContext } from "../command.ts";
import { currentContext } from "../connect/endpoint.ts";
import { compileTemplate } from "../output/go-template.ts";
import { humanBytes, humanDuration } from "../output/units.ts";
import { VERSION } from "../version.ts";
import { clientOf } from "./version.ts";

interface Commit {
  readonly ID?: string;
}

interface SwarmInfo {
  readonly LocalNodeState: string;
  readonly NodeID: string;
  readonly NodeAddr: string;
  readonly ControlAvailable: boolean;
  readonly Nodes?: number;
  readonly Managers?: number;
  readonly Error: string;
  readonly RemoteManagers?: readonly { readonly Addr: string }[] | null;
  readonly Cluster?: {
    readonly ID: string;
    readonly DefaultAddrPool?: readonly string[] | null;
    readonly SubnetSize?: number;
    readonly DataPathPort?: number;
    readonly RootRotationInProgress?: boolean;
    readonly Spec: {
      readonly Orchestration?: { readonly TaskHistoryRetentionLimit?: number };
      readonly Raft?: {
        readonly SnapshotInterval?: number;
        readonly KeepOldSnapshots?: number;
        readonly HeartbeatTick?: number;
        readonly ElectionTick?: number;
      };
      readonly Dispatcher?: { readonly HeartbeatPeriod?: number };
      readonly CAConfig?: { readonly NodeCertExpiry?: number; readonly ForceRotate?: number };
      readonly EncryptionConfig?: { readonly AutoLockManagers?: boolean };
    };
  };
}

interface Info {
  readonly ID: string;
  readonly Name: string;
  readonly ServerVersion: string;
  readonly Containers: number;
  readonly ContainersRunning: number;
  readonly ContainersPaused: number;
  readonly ContainersStopped: number;
  readonly Images: number;
  readonly Driver: string;
  readonly DriverStatus?: readonly (readonly [string, string])[] | null;
  readonly LoggingDriver: string;
  readonly CgroupDriver: string;
  readonly CgroupVersion: string;
  readonly Plugins: Readonly<Record<string, readonly string[] | null>>;
  readonly Swarm: SwarmInfo;
  readonly Runtimes?: Readonly<Record<string, unknown>>;
  readonly DefaultRuntime?: string;
  readonly InitBinary?: string;
  readonly ContainerdCommit?: Commit;
  readonly RuncCommit?: Commit;
  readonly InitCommit?: Commit;
  readonly SecurityOptions?: readonly string[] | null;
  readonly KernelVersion: string;
  readonly OperatingSystem: string;
  readonly OSType: string;
  readonly Architecture: string;
  readonly NCPU: number;
  readonly MemTotal: number;
  readonly DockerRootDir: string;
  readonly Debug?: boolean;
  readonly HttpProxy?: string;
  readonly HttpsProxy?: string;
  readonly NoProxy?: string;
  readonly Labels?: readonly string[] | null;
  readonly ExperimentalBuild?: boolean;
  readonly RegistryConfig?: {
    readonly InsecureRegistryCIDRs?: readonly string[] | null;
    readonly IndexConfigs?: Readonly<Record<string, { readonly Secure: boolean }>> | null;
    readonly Mirrors?: readonly string[] | null;
  };
  readonly LiveRestoreEnabled?: boolean;
  readonly Warnings?: readonly string[] | null;
}

type Lines = readonly string[];

export async function info({
  client,
  env,
  flags,
  globals,
  stdout,
  stderr,
}: CommandContext): Promise<number> {
  const format = flags.string("format") ?? "";
  let found: Info | undefined;
  let problem: unknown;
  try {
    found = await client.get<Info>("/info");
  } catch (error) {
    problem = error;
  }
  const context = currentContext(globals, env);
  if (format !== "") {
    if (found === undefined) throw problem as Error;
    const { ApiVersion: _spoken, ...own } = clientOf(context);
    const ClientInfo = { Debug: globals.bool("debug"), ...own, Plugins: [], Warnings: null };
    const template = compileTemplate(format === "json" ? "{{json .}}" : format);
    stdout.write(`${template({ ...found, ClientInfo })}\n`);
    return 0;
  }
  const head = [
    "Client:",
    ` Version:    ${VERSION}`,
    ` Context:    ${context}`,
    ` Debug Mode: ${globals.bool("debug")}`,
    "",
    "Server:",
  ];
  stdout.write(`${[...head, ...(found === undefined ? [] : serverLines(found))].join("\n")}\n`);
  if (found === undefined) {
    stderr.write(`${messageOf(problem)}\n`);
    return 1;
  }
  stdout.write("\n");
  for (const warning of found.Warnings ?? []) stderr.write(`${warning}\n`);
  return 0;
}

function serverLines(found: Info): Lines {
  const { Plugins, Runtimes } = found;
  const plugins = ["Volume", "Network", "Authorization", "Log"].flatMap((type) =>
    Plugins[type]?.length ? [`  ${type}: ${Plugins[type].join(" ")}`] : [],
  );
  return [
    ` Containers: ${found.Containers}`,
    `  Running: ${found.ContainersRunning}`,
    `  Paused: ${found.ContainersPaused}`,
    `  Stopped: ${found.ContainersStopped}`,
    ` Images: ${found.Images}`,
    ` Server Version: ${found.ServerVersion}`,
    ` Storage Driver: ${found.Driver}`,
    ...(found.DriverStatus ?? []).map(([name, value]) => `  ${name}: ${value}`),
    ` Logging Driver: ${found.LoggingDriver}`,
    ` Cgroup Driver: ${found.CgroupDriver}`,
    ` Cgroup Version: ${found.CgroupVersion}`,
    " Plugins:",
    ...plugins,
    ` Swarm: ${found.Swarm.LocalNodeState}`,
    ...swarmLines(found.Swarm),
    ...(Runtimes === undefined ? [] : [` Runtimes: ${Object.keys(Runtimes).sort().join(" ")}`]),
    ` Default Runtime: ${found.DefaultRuntime ?? ""}`,
    ` Init Binary: ${found.InitBinary ?? ""}`,
    ` containerd version: ${found.ContainerdCommit?.ID ?? ""}`,
    ` runc version: ${found.RuncCommit?.ID ?? ""}`,
    ` init version: ${found.InitCommit?.ID ?? ""}`,
    ...securityLines(found.SecurityOptions ?? []),
    ` Kernel Version: ${found.KernelVersion}`,
    ` Operating System: ${found.OperatingSystem}`,
    ` OSType: ${found.OSType}`,
    ` Architecture: ${found.Architecture}`,
    ` CPUs: ${found.NCPU}`,
    ` Total Memory: ${humanBytes(found.MemTotal)}`,
    ` Name: ${found.Name}`,
    ` ID: ${found.ID}`,
    ` Docker Root Dir: ${found.DockerRootDir}`,
    ` Debug Mode: ${found.Debug ?? false}`,
    ...field("HTTP Proxy", found.HttpProxy),
    ...field("HTTPS Proxy", found.HttpsProxy),
    ...field("No Proxy", found.NoProxy),
    ...below(
      " Labels:",
      (found.Labels ?? []).map((label) => `  ${label}`),
    ),
    ` Experimental: ${found.ExperimentalBuild ?? false}`,
    ...registryLines(found),
    ` Live Restore Enabled: ${found.LiveRestoreEnabled ?? false}`,
  ];
}

function field(name: string, value: string | undefined): Lines {
  return (value ?? "") === "" ? [] : [` ${name}: ${value ?? ""}`];
}

function below(title: string, lines: Lines): Lines {
  return lines.length === 0 ? [] : [title, ...lines];
}

/** "name=seccomp,profile=builtin" */
function securityLines(options: Lines): Lines {
  const lines = options.flatMap((option) => {
    const pairs = option.split(",").map((pair) => {
      const [key = "", value = ""] = pair.split("=", 2);
      return [key, value] as const;
    });
    const name = pairs.find(([key]) => key === "name")?.[1] ?? option;
    const rest = pairs.filter(([key, value]) => key !== "name" && value !== "");
    return [`  ${name}`, ...rest.map(([key, value]) => `   ${capital(key)}: ${value}`)];
  });
  return below(" Security Options:", lines);
}

function capital(word: string): string {
  return word.charAt(0).toUpperCase() + word.slice(1);
}

function registryLines({ RegistryConfig = {} }: Info): Lines {
  const { IndexConfigs, InsecureRegistryCIDRs, Mirrors } = RegistryConfig;
  const insecure = [
    ...Object.entries(IndexConfigs ?? {}).flatMap(([name, { Secure }]) => (Secure ? [] : [name])),
    ...(InsecureRegistryCIDRs ?? []),
  ];
  return [
    ...below(
      " Insecure Registries:",
      insecure.map((name) => `  ${name}`),
    ),
    ...below(
      " Registry Mirrors:",
      (Mirrors ?? []).map((name) => `  ${name}`),
    ),
  ];
}

function swarmLines(swarm: SwarmInfo): Lines {
  const { LocalNodeState, ControlAvailable, Cluster } = swarm;
  if (LocalNodeState === "inactive" || LocalNodeState === "locked") return [];
  const managers = (swarm.RemoteManagers ?? []).map(({ Addr }) => `   ${Addr}`).sort();
  return [
    `  NodeID: ${swarm.NodeID}`,
    ...(swarm.Error === "" ? [] : [`  Error: ${swarm.Error}`]),
    `  Is Manager: ${ControlAvailable}`,
    ...(ControlAvailable && Cluster !== undefined && swarm.Error === ""
      ? [
          `  ClusterID: ${Cluster.ID}`,
          `  Managers: ${swarm.Managers ?? 0}`,
          `  Nodes: ${swarm.Nodes ?? 0}`,
          ...clusterLines(Cluster),
        ]
      : []),
    `  Node Address: ${swarm.NodeAddr}`,
    ...below("  Manager Addresses:", managers),
  ];
}

function clusterLines(cluster: NonNullable<SwarmInfo["Cluster"]>): Lines {
  const { Spec } = cluster;
  const seconds = (ns: number | undefined) => humanDuration((ns ?? 0) / 1e9);
  return [
    `  Default Address Pool: ${(cluster.DefaultAddrPool ?? []).map((pool) => `${pool}  `).join("")}`,
    `  SubnetSize: ${cluster.SubnetSize ?? 0}`,
    `  Data Path Port: ${cluster.DataPathPort ?? 0}`,
    "  Orchestration:",
    `   Task History Retention Limit: ${Spec.Orchestration?.TaskHistoryRetentionLimit ?? 0}`,
    "  Raft:",
    `   Snapshot Interval: ${Spec.Raft?.SnapshotInterval ?? 0}`,
    ...(Spec.Raft?.KeepOldSnapshots === undefined
      ? []
      : [`   Number of Old Snapshots to Retain: ${Spec.Raft.KeepOldSnapshots}`]),
    `   Heartbeat Tick: ${Spec.Raft?.HeartbeatTick ?? 0}`,
    `   Election Tick: ${Spec.Raft?.ElectionTick ?? 0}`,
    "  Dispatcher:",
    `   Heartbeat Period: ${seconds(Spec.Dispatcher?.HeartbeatPeriod)}`,
    "  CA Configuration:",
    `   Expiry Duration: ${seconds(Spec.CAConfig?.NodeCertExpiry)}`,
    `   Force Rotate: ${Spec.CAConfig?.ForceRotate ?? 0}`,
    `  Autolock Managers: ${Spec.EncryptionConfig?.AutoLockManagers ?? false}`,
    `  Root Rotation In Progress: ${cluster.RootRotationInProgress ?? false}`,
  ];
}
