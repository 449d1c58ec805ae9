/**
 * Checks a create request with docker's own messages, and fills in the engine's defaults. Pure:
 * whether images, volumes, networks and host paths exist is asked elsewhere.
 */

import { MILLISECOND } from "#base/duration.ts";
import { EngineError } from "#base/error.ts";
import type { ContainerConfig, HealthConfig, HostConfig, Ulimit } from "#wire/docker/containers.ts";
import { checkLimits, type HostLimits } from "./limits.ts";
import { parseSecurityOptions, systemPaths } from "./security-options.ts";
import { parseSignal } from "./signals.ts";

/** The kernel's. */
const HOSTNAME_MAX = 64;
const SHM_DEFAULT_BYTES = 64 * 1024 * 1024;

/** What the engine's own configuration gives to containers that say nothing else. */
export interface ContainerDefaults {
  readonly logDriver: string;
  readonly logOptions: Readonly<Record<string, string>>;
  readonly init: boolean;
  readonly ulimits: readonly Ulimit[];
  readonly shmSizeBytes: number;
  /** "" = the engine's own cgroup. */
  readonly cgroupParent: string;
  /** As of `--security-opt seccomp=`: "builtin", "unconfined" or the text of a profile. */
  readonly seccomp: string;
  readonly noNewPrivileges: boolean;
}

export const CONTAINER_DEFAULTS: ContainerDefaults = {
  logDriver: "json-file",
  logOptions: {},
  init: false,
  ulimits: [],
  shmSizeBytes: SHM_DEFAULT_BYTES,
  cgroupParent: "",
  seccomp: "builtin",
  noNewPrivileges: false,
};

export function checkConfig(config: ContainerConfig): void {
  if (Object.keys(config).length === 0) {
    throw invalid("config cannot be empty in order to create a container");
  }
  if (!config.Image) throw invalid("no image specified");
  for (const entry of config.Env ?? []) {
    if (entry.startsWith("=")) throw invalid(`invalid environment variable: ${entry}`);
  }
  if (config.StopSignal) parseSignal(config.StopSignal);
  if ((config.Hostname ?? "").length > HOSTNAME_MAX) {
    throw invalid(`invalid hostname: ${config.Hostname} is longer than ${HOSTNAME_MAX} characters`);
  }
  if (config.WorkingDir && !config.WorkingDir.startsWith("/")) {
    throw invalid(
      `the working directory '${config.WorkingDir}' is invalid, it needs to be an absolute path`,
    );
  }
  if (config.Healthcheck) checkHealth(config.Healthcheck);
}

function checkHealth(health: HealthConfig): void {
  const durations = ["Interval", "Timeout", "StartPeriod", "StartInterval"] as const;
  for (const name of durations) {
    const value = health[name] ?? 0;
    if (value !== 0 && value < MILLISECOND) {
      throw invalid(`${name} in Healthcheck cannot be less than 1ms`);
    }
  }
  if ((health.Retries ?? 0) < 0) throw invalid("Retries in Healthcheck cannot be negative");
}

/** Docker's rules for names; without the leading slash. */
export function checkName(name: string): string {
  const bare = name.replace(/^\//, "");
  if (!/^[a-zA-Z0-9][a-zA-Z0-9_.-]+$/.test(bare)) {
    throw invalid(`Invalid container name (${name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed`);
  }
  return bare;
}

/** Warnings for what is accepted and has no effect. */
export function checkHostConfig(hostConfig: HostConfig, limits: HostLimits): string[] {
  checkRestartPolicy(hostConfig);
  checkModes(hostConfig);
  const warnings = checkLimits(hostConfig, limits);
  for (const { Name, Soft, Hard } of hostConfig.Ulimits ?? []) {
    if (Hard !== -1 && Soft > Hard) {
      throw invalid(
        `ulimit soft limit must be less than or equal to hard limit: ${Soft} > ${Hard} (${Name})`,
      );
    }
  }
  if ((hostConfig.ShmSize ?? 0) < 0) throw invalid("SHM size can not be less than 0");
  if (Math.abs(hostConfig.OomScoreAdj ?? 0) > 1000) {
    throw invalid(
      `Invalid value ${hostConfig.OomScoreAdj}, range for oom score adj is [-1000, 1000]`,
    );
  }
  return warnings;
}

type PortBindings = NonNullable<HostConfig["PortBindings"]>;

const RESTART_POLICIES = ["", "no", "always", "unless-stopped", "on-failure"];

export function checkRestartPolicy(hostConfig: HostConfig): void {
  const { Name: name = "", MaximumRetryCount: max = 0 } = hostConfig.RestartPolicy ?? {};
  if (!RESTART_POLICIES.includes(name)) {
    throw invalid(
      `invalid restart policy: unknown policy '${name}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'`,
    );
  }
  if (max < 0) {
    throw invalid("invalid restart policy: maximum retry count cannot be negative");
  }
  if (max > 0 && name !== "on-failure") {
    throw invalid("invalid restart policy: maximum retry count can only be used with 'on-failure'");
  }
  if (hostConfig.AutoRemove && name !== "" && name !== "no") {
    throw invalid("can't create 'AutoRemove' container with restart policy");
  }
}

/** What belongs to the network of the container that is joined. */
function checkSharedNetwork(hostConfig: HostConfig): void {
  if ((hostConfig.Dns ?? []).length > 0) {
    throw invalid("conflicting options: dns and the network mode");
  }
  if ((hostConfig.ExtraHosts ?? []).length > 0) {
    throw invalid("conflicting options: custom host-to-IP mapping and the network mode");
  }
  if (Object.keys(hostConfig.PortBindings ?? {}).length > 0 || hostConfig.PublishAllPorts) {
    throw invalid("conflicting options: port publishing and the container type network mode");
  }
}

function checkModes(hostConfig: HostConfig): void {
  const mode = hostConfig.NetworkMode ?? "";
  if (mode.startsWith("container:")) checkSharedNetwork(hostConfig);
  if ((hostConfig.Links ?? []).length > 0) {
    if (mode === "host")
      throw invalid(
        "conflicting options: host type networking can't be used with links. This would result in undefined behavior",
      );
    if (mode.startsWith("container:"))
      throw invalid(
        "conflicting options: container type network can't be used with links. This would result in undefined behavior",
      );
  }
  for (const [what, value, allowed] of [
    ["IPC", hostConfig.IpcMode, /^(|none|host|private|shareable|container:.+)$/],
    ["PID", hostConfig.PidMode, /^(|host|container:.+)$/],
    ["UTS", hostConfig.UTSMode, /^(|host)$/],
    ["user", hostConfig.UsernsMode, /^(|host)$/],
    ["cgroup namespace", hostConfig.CgroupnsMode, /^(|host|private)$/],
  ] as const) {
    if (!allowed.test(value ?? "")) throw invalid(`invalid ${what} mode: ${value}`);
  }
  const runtime = hostConfig.Runtime ?? "";
  if (!["", "runc", "io.containerd.runc.v2"].includes(runtime)) {
    throw invalid(`unknown or invalid runtime name: ${runtime}`);
  }
  const isolation = hostConfig.Isolation ?? "";
  if (isolation !== "" && isolation.toLowerCase() !== "default") {
    throw invalid(`Invalid isolation: "${isolation}" - linux only supports 'default'`);
  }
  if (Object.keys(hostConfig.StorageOpt ?? {}).length > 0) {
    throw invalid(
      "--storage-opt is supported only for overlay over xfs with 'pquota' mount option",
    );
  }
  if ((hostConfig.DeviceRequests ?? []).length > 0) {
    throw invalid('could not select device driver "" with capabilities: [[gpu]]');
  }
}

/** The host configuration as inspect shows it: defaults in place of what was left out. */
export function withDefaults(
  hostConfig: HostConfig,
  limits: HostLimits,
  defaults: ContainerDefaults,
): HostConfig {
  const network = hostConfig.NetworkMode ?? "";
  const { Type: driver = "", Config: logOptions } = hostConfig.LogConfig ?? {};
  const own = new Set((hostConfig.Ulimits ?? []).map(({ Name }) => Name));
  const ulimits = defaults.ulimits.filter(({ Name }) => !own.has(Name));
  const memory = hostConfig.Memory ?? 0;
  const paths = systemPaths(hostConfig, parseSecurityOptions(hostConfig.SecurityOpt));
  return {
    ...hostConfig,
    NetworkMode: network === "" || network === "default" ? "bridge" : network,
    RestartPolicy: {
      Name: hostConfig.RestartPolicy?.Name || "no",
      MaximumRetryCount: hostConfig.RestartPolicy?.MaximumRetryCount ?? 0,
    },
    LogConfig:
      driver === "" || driver === defaults.logDriver
        ? { Type: defaults.logDriver, Config: { ...defaults.logOptions, ...logOptions } }
        : { Type: driver, Config: logOptions ?? {} },
    ...(defaults.init && (hostConfig.Init ?? undefined) === undefined ? { Init: true } : {}),
    ...(ulimits.length === 0 ? {} : { Ulimits: [...(hostConfig.Ulimits ?? []), ...ulimits] }),
    CgroupParent: hostConfig.CgroupParent || defaults.cgroupParent,
    AutoRemove: hostConfig.AutoRemove ?? false,
    Privileged: hostConfig.Privileged ?? false,
    PublishAllPorts: hostConfig.PublishAllPorts ?? false,
    ReadonlyRootfs: hostConfig.ReadonlyRootfs ?? false,
    PortBindings: withAllFields(hostConfig.PortBindings ?? {}),
    IpcMode: hostConfig.IpcMode || "private",
    CgroupnsMode:
      hostConfig.CgroupnsMode ||
      (limits.cgroupVersion === 2 && !hostConfig.Privileged ? "private" : "host"),
    ShmSize: hostConfig.ShmSize || defaults.shmSizeBytes,
    // A privileged container has none, and later versions' defaults do not reach it either.
    ...(hostConfig.Privileged ? {} : { MaskedPaths: paths.masked, ReadonlyPaths: paths.readonly }),
    Runtime: hostConfig.Runtime || "runc",
    // Twice the memory, as docker does: a limit without swap would otherwise be none with swap.
    MemorySwap: memory > 0 && !hostConfig.MemorySwap ? memory * 2 : (hostConfig.MemorySwap ?? 0),
  };
}

/** A binding that names no address or no port shows that. */
function withAllFields(bindings: PortBindings): PortBindings {
  return Object.fromEntries(
    Object.entries(bindings).map(([port, list]) => [
      port,
      list?.map((binding) => ({ HostIp: "", HostPort: "", ...binding })) ?? null,
    ]),
  );
}

function invalid(message: string): EngineError {
  return new EngineError("invalid-argument", message);
}
