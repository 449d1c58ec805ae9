/** `/info`: the host and its engine, as clients of the request's version know them. */

import { readdir } from "node:fs/promises";
import type { ApiRequest } from "./route.ts";
import type { HostFacts, SystemServices } from "./system.ts";

export async function info(services: SystemServices, request: ApiRequest) {
  const { facts } = services;
  const [containers, images, swarm, openFiles] = await Promise.all([
    services.containers.list({ all: true, filters: new Map() }),
    services.images.list({ filters: new Map() }),
    swarmInfo(services),
    readdir("/proc/self/fd").catch(() => []),
  ]);
  const warnings = [...(swarm.Warnings ?? []), ...services.warnings()];
  const inState = (state: string) => containers.filter(({ State }) => State === state).length;
  return {
    ID: facts.id,
    Containers: containers.length,
    ContainersRunning: inState("running"),
    ContainersPaused: inState("paused"),
    ContainersStopped: containers.length - inState("running") - inState("paused"),
    Images: images.length,
    Driver: facts.storageDriver,
    DriverStatus: [["Backing Filesystem", "containerd snapshots"]],
    Plugins: {
      Volume: await services.volumes.drivers(),
      Network: await services.networks.drivers(),
      Authorization: null,
      Log: ["journald", "json-file", "local", "none", "syslog"],
    },
    MemoryLimit: true,
    SwapLimit: true,
    CpuCfsPeriod: true,
    CpuCfsQuota: true,
    CPUShares: true,
    CPUSet: true,
    PidsLimit: true,
    IPv4Forwarding: true,
    ...(request.atLeast(50) ? {} : { BridgeNfIptables: false, BridgeNfIp6tables: false }),
    Debug: facts.debug,
    NFd: openFiles.length,
    OomKillDisable: facts.cgroupVersion === "1",
    NGoroutines: 0,
    SystemTime: new Date().toISOString(),
    LoggingDriver: facts.loggingDriver,
    CgroupDriver: facts.cgroupDriver,
    CgroupVersion: facts.cgroupVersion,
    NEventsListener: 0,
    KernelVersion: facts.kernelVersion,
    OperatingSystem: facts.operatingSystem,
    OSVersion: facts.osVersion,
    OSType: "linux",
    Architecture: facts.goArch === "amd64" ? "x86_64" : "aarch64",
    IndexServerAddress: "https://index.docker.io/v1/",
    RegistryConfig: registryConfig(facts, request),
    NCPU: facts.cpus,
    MemTotal: facts.memoryBytes,
    GenericResources: null,
    DockerRootDir: facts.dataRoot,
    HttpProxy: "",
    HttpsProxy: "",
    NoProxy: "",
    Name: facts.name,
    Labels: facts.labels,
    ExperimentalBuild: false,
    ServerVersion: facts.version,
    Runtimes: { "io.containerd.runc.v2": { path: "runc" }, runc: { path: "runc" } },
    DefaultRuntime: "runc",
    Swarm: swarm,
    LiveRestoreEnabled: true,
    Isolation: "",
    InitBinary: facts.initBinary,
    ContainerdCommit: commit(facts.containerdVersion, request),
    RuncCommit: commit(facts.runcVersion, request),
    InitCommit: commit("", request),
    SecurityOptions: facts.securityOptions,
    ...(request.atLeast(44) ? { CDISpecDirs: [] } : {}),
    ...(request.atLeast(46) ? { Containerd: facts.containerd } : {}),
    ...(request.atLeast(49) ? { FirewallBackend: { Driver: "nftables" } } : {}),
    Warnings: warnings.length === 0 ? null : warnings,
  };
}

/** Until 1.49 there was a word on what was expected, which was always what is. */
function commit(id: string, request: ApiRequest) {
  return request.atLeast(49) ? { ID: id } : { ID: id, Expected: id };
}

const TWO_MANAGERS =
  "WARNING: Running Swarm in a two-manager configuration. This configuration provides\n         no fault tolerance, and poses a high risk to lose control over the cluster.\n         Refer to https://docs.docker.com/engine/swarm/admin_guide/ to configure the\n         Swarm for fault-tolerance.";

async function swarmInfo({ cluster, clusterInfo }: SystemServices) {
  const local = cluster.info();
  const summary = local.controlAvailable ? await clusterInfo() : undefined;
  const warnings = [...(local.warnings ?? []), ...(summary?.managers === 2 ? [TWO_MANAGERS] : [])];
  return {
    NodeID: local.nodeId,
    NodeAddr: local.nodeAddr,
    LocalNodeState: local.state,
    ControlAvailable: local.controlAvailable,
    Error: local.error,
    RemoteManagers:
      local.remoteManagers.length === 0
        ? null
        : local.remoteManagers.map(({ nodeId, addr }) => ({ NodeID: nodeId, Addr: addr })),
    ...(summary === undefined
      ? {}
      : { Nodes: summary.nodes, Managers: summary.managers, Cluster: summary.cluster }),
    ...(warnings.length === 0 ? {} : { Warnings: warnings }),
  };
}

function registryConfig(facts: HostFacts, request: ApiRequest) {
  const entry = (name: string, secure: boolean, mirrors: readonly string[]) => ({
    Name: name,
    Mirrors: mirrors,
    Secure: secure,
    Official: name === "docker.io",
  });
  return {
    ...(request.atLeast(49)
      ? {}
      : { AllowNondistributableArtifactsCIDRs: [], AllowNondistributableArtifactsHostnames: [] }),
    InsecureRegistryCIDRs: [
      "127.0.0.0/8",
      ...facts.insecureRegistries.filter((r) => r.includes("/")),
    ],
    IndexConfigs: Object.fromEntries([
      ["docker.io", entry("docker.io", true, facts.mirrors)],
      ...facts.insecureRegistries
        .filter((registry) => !registry.includes("/"))
        .map((registry) => [registry, entry(registry, false, [])] as const),
    ]),
    Mirrors: facts.mirrors,
  };
}
