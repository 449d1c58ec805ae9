/**
 * Checks of a container's limits against what the machine has, with docker's messages; what the
 * kernel cannot do is discarded with a warning. Pure.
 */

import { EngineError } from "#base/error.ts";
import type { HostConfig } from "#wire/docker/containers.ts";

export interface HostLimits {
  readonly cpus: number;
  readonly cgroupVersion: 1 | 2;
  /** CPUs and memory nodes that there are, "0-3,8"; "" where the kernel has no cpusets. */
  readonly cpuset: string;
  readonly memset: string;
  /** The kernel's IO scheduler knows weights. */
  readonly blkioWeight: boolean;
}

const MEMORY_MIN_BYTES = 6 * 1024 * 1024;
export const CPU_PERIOD_DEFAULT_US = 100_000;

/** Returns warnings. */
export function checkLimits(hostConfig: HostConfig, limits: HostLimits): string[] {
  checkCpu(hostConfig, limits);
  checkSet("CPUs", "cpuset cpus", hostConfig.CpusetCpus ?? "", limits.cpuset);
  checkSet("memory nodes", "cpuset mems", hostConfig.CpusetMems ?? "", limits.memset);
  const { PidsLimit: pids = 0, BlkioWeight: weight = 0 } = hostConfig;
  if ((pids ?? 0) < -1) throw invalid(`invalid pids limit: ${pids}`);
  if (limits.blkioWeight && weight !== 0 && (weight < 10 || weight > 1000)) {
    throw invalid("range of blkio weight is from 10 to 1000");
  }
  return [...checkMemory(hostConfig, limits), ...unsupported(hostConfig, limits)];
}

/** The configuration without what the kernel cannot do. */
export function withoutUnsupported(hostConfig: HostConfig, limits: HostLimits): HostConfig {
  if (limits.blkioWeight) return hostConfig;
  return { ...hostConfig, BlkioWeight: 0, BlkioWeightDevice: null };
}

function unsupported(hostConfig: HostConfig, { blkioWeight }: HostLimits): string[] {
  const warnings: string[] = [];
  if (!blkioWeight && hostConfig.BlkioWeight) {
    warnings.push(
      "Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight discarded.",
    );
  }
  if (!blkioWeight && (hostConfig.BlkioWeightDevice ?? []).length > 0) {
    warnings.push(
      "Your kernel does not support Block I/O weight_device or the cgroup is not mounted. Weight-device discarded.",
    );
  }
  if (hostConfig.KernelMemory) {
    warnings.push(
      "Specifying a kernel memory limit is deprecated and will be removed in a future release.",
    );
  }
  return warnings;
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

function checkSet(what: string, field: string, wanted: string, available: string): void {
  if (wanted === "") return;
  const asked = parseSet(wanted);
  if (asked === undefined) throw invalid(`Invalid value ${wanted} for ${field}`);
  const there = parseSet(available);
  if (there === undefined || asked.every((n) => there.includes(n))) return;
  throw invalid(
    `Requested ${what} are not available - requested ${wanted}, available: ${available}`,
  );
}

const SET_MEMBERS_MAX = 8192;

/** "0-2,7" → 0, 1, 2, 7; undefined when malformed or empty. */
export function parseSet(text: string): readonly number[] | undefined {
  const members: number[] = [];
  for (const part of text.trim().split(",")) {
    const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(part);
    if (match === null) return undefined;
    const first = Number(match[1]);
    const last = Number(match[2] ?? match[1]);
    if (last < first || last - first > SET_MEMBERS_MAX) return undefined;
    for (let n = first; n <= last; n++) members.push(n);
  }
  return members;
}

function checkMemory(hostConfig: HostConfig, limits: HostLimits): string[] {
  const warnings: string[] = [];
  const { Memory: memory = 0, MemorySwap: swap = 0, MemoryReservation: soft = 0 } = hostConfig;
  if (memory > 0 && memory < MEMORY_MIN_BYTES) {
    throw invalid("Minimum memory limit allowed is 6MB");
  }
  if (soft > 0 && soft < MEMORY_MIN_BYTES) {
    throw invalid("Minimum memory reservation allowed is 6MB");
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

function invalid(message: string): EngineError {
  return new EngineError("invalid-argument", message);
}
