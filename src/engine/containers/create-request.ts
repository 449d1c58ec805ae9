/**
 * Checks a create request with docker's own messages, and fills in the engine's defaults. Pure:
 * whether images, volumes, networks and host paths exist is asked elsewhere.
 */

import { MILLISECOND } from "#base/duration.ts";
import { EngineError } from "#base/error.ts";
import type { ContainerConfig, HealthConfig, HostConfig } from "#wire/docker/containers.ts";
import { parseSecurityOptions, systemPaths } from "./security-options.ts";
import { parseSignal } from "./signals.ts";

export interface HostLimits {
  readonly cpus: number;
  readonly cgroupVersion: 1 | 2;
}

const MEMORY_MIN_BYTES = 6 * 1024 * 1024;
const SHM_DEFAULT_BYTES = 64 * 1024 * 1024;
export const CPU_PERIOD_DEFAULT_US = 100_000;

export function checkConfig(config: ContainerConfig): void {
  if (!config.Image) throw invalid("no image specified");
  for (const entry of config.Env ?? []) {
    if (entry.startsWith("=")) throw invalid(`invalid environment variable: ${entry}`);
  }
  if (config.StopSignal) parseSignal(config.StopSignal);
  if (config.Hostname && !/^[A-Za-z0-9._-]{1,63}$/.test(config.Hostname)) {
    throw invalid(`invalid hostname format: ${config.Hostname}`);
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
  checkCpu(hostConfig, limits);
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
  return checkMemory(hostConfig, limits);
}

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

function checkModes(hostConfig: HostConfig): void {
  const mode = hostConfig.NetworkMode ?? "";
  if (mode.startsWith("container:") && Object.keys(hostConfig.PortBindings ?? {}).length > 0) {
    throw invalid("conflicting options: port publishing and the container type network mode");
  }
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
  if ((hostConfig.DeviceRequests ?? []).length > 0) {
    throw invalid('could not select device driver "" with capabilities: [[gpu]]');
  }
}

function checkCpu(hostConfig: HostConfig, limits: HostLimits): void {
  const { NanoCpus: nano = 0, CpuPeriod: period = 0, CpuQuota: quota = 0 } = hostConfig;
  if (nano > 0 && period > 0) {
    throw invalid("Conflicting options: Nano CPUs and CPU Period cannot both be set");
  }
  if (nano > 0 && quota > 0) {
    throw invalid("Conflicting options: Nano CPUs and CPU Quota cannot both be set");
  }
  if (nano < 0 || nano > limits.cpus * 1e9) {
    throw invalid(
      `range of CPUs is from 0.01 to ${limits.cpus}.00, as there are only ${limits.cpus} CPUs available`,
    );
  }
  if (period !== 0 && (period < 1_000 || period > 1_000_000)) {
    throw invalid(
      "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
    );
  }
  if (quota > 0 && quota < 1_000) {
    throw invalid("CPU cfs quota can not be less than 1ms (i.e. 1000)");
  }
}

function checkMemory(hostConfig: HostConfig, limits: HostLimits): string[] {
  const warnings: string[] = [];
  const { Memory: memory = 0, MemorySwap: swap = 0, MemoryReservation: soft = 0 } = hostConfig;
  if (memory > 0 && memory < MEMORY_MIN_BYTES) {
    throw invalid("Minimum memory limit allowed is 6MB");
  }
  if (swap > 0 && memory === 0) {
    throw invalid("You should always set the Memory limit when using Memoryswap limit, see usage");
  }
  if (swap > 0 && swap < memory) {
    throw invalid("Minimum memoryswap limit should be larger than memory limit, see usage");
  }
  if (memory > 0 && soft > memory) {
    throw invalid("Minimum memory limit can not be less than memory reservation limit, see usage");
  }
  const swappiness = hostConfig.MemorySwappiness ?? -1;
  if (swappiness < -1 || swappiness > 100) {
    throw invalid(`Invalid value: ${swappiness}, valid memory swappiness range is 0-100`);
  }
  if (limits.cgroupVersion === 2 && hostConfig.OomKillDisable) {
    warnings.push("Your kernel does not support OomKillDisable. OomKillDisable discarded.");
  }
  if (hostConfig.OomKillDisable && memory === 0) {
    warnings.push(
      "OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources.",
    );
  }
  return warnings;
}

/** The host configuration as inspect shows it: defaults in place of what was left out. */
export function withDefaults(hostConfig: HostConfig, limits: HostLimits): HostConfig {
  const network = hostConfig.NetworkMode ?? "";
  const log = hostConfig.LogConfig ?? {};
  const memory = hostConfig.Memory ?? 0;
  const paths = systemPaths(hostConfig, parseSecurityOptions(hostConfig.SecurityOpt));
  return {
    ...hostConfig,
    NetworkMode: network === "" || network === "default" ? "bridge" : network,
    RestartPolicy: {
      Name: hostConfig.RestartPolicy?.Name || "no",
      MaximumRetryCount: hostConfig.RestartPolicy?.MaximumRetryCount ?? 0,
    },
    LogConfig: { Type: log.Type || "json-file", Config: log.Config ?? {} },
    AutoRemove: hostConfig.AutoRemove ?? false,
    Privileged: hostConfig.Privileged ?? false,
    PublishAllPorts: hostConfig.PublishAllPorts ?? false,
    ReadonlyRootfs: hostConfig.ReadonlyRootfs ?? false,
    PortBindings: hostConfig.PortBindings ?? {},
    IpcMode: hostConfig.IpcMode || "private",
    CgroupnsMode:
      hostConfig.CgroupnsMode ||
      (limits.cgroupVersion === 2 && !hostConfig.Privileged ? "private" : "host"),
    ShmSize: hostConfig.ShmSize || SHM_DEFAULT_BYTES,
    // A privileged container has none, and later versions' defaults do not reach it either.
    ...(hostConfig.Privileged ? {} : { MaskedPaths: paths.masked, ReadonlyPaths: paths.readonly }),
    Runtime: hostConfig.Runtime || "runc",
    // Twice the memory, as docker does: a limit without swap would otherwise be none with swap.
    MemorySwap: memory > 0 && !hostConfig.MemorySwap ? memory * 2 : (hostConfig.MemorySwap ?? 0),
  };
}

function invalid(message: string): EngineError {
  return new EngineError("invalid-argument", message);
}
