/** Samples of a container's resource use, in docker's shape, from containerd's cgroup metrics. */

import { readFile } from "node:fs/promises";
import { cpus, totalmem } from "node:os";
import { sleep } from "#platform/async.ts";
import { unpackMessage } from "#platform/containerd/any.ts";
import type {
  BlkioEntry,
  ContainerStats,
  CpuStats,
  NetworkStats,
} from "#wire/docker/containers.ts";
import {
  type Metrics as MetricsV1,
  MetricsSchema as V1,
} from "#wire/gen/containerd/cgroups_v1_pb.js";
import {
  type Metrics as MetricsV2,
  MetricsSchema as V2,
} from "#wire/gen/containerd/cgroups_v2_pb.js";
import { formatNs } from "../logs/timestamps.ts";
import type { Container } from "./container.ts";
import type { ContainerContext } from "./context.ts";
import { ZERO_TIME } from "./record.ts";
import { isAlive } from "./state.ts";

const SAMPLE_INTERVAL_MS = 1_000;
/** Clock ticks of /proc/stat. */
const NS_PER_TICK = 10_000_000;

interface Sample {
  readonly cpu: CpuStats;
  readonly memory: ContainerStats["memory_stats"];
  readonly pids: ContainerStats["pids_stats"];
  readonly blkio: ContainerStats["blkio_stats"];
  readonly networks: Readonly<Record<string, NetworkStats>> | undefined;
  readonly read: string;
}

const NO_CPU: CpuStats = {
  cpu_usage: { total_usage: 0, usage_in_kernelmode: 0, usage_in_usermode: 0 },
  throttling_data: { periods: 0, throttled_periods: 0, throttled_time: 0 },
};

const NO_BLKIO: ContainerStats["blkio_stats"] = {
  io_service_bytes_recursive: null,
  io_serviced_recursive: null,
  io_queue_recursive: null,
  io_service_time_recursive: null,
  io_wait_time_recursive: null,
  io_merged_recursive: null,
  io_time_recursive: null,
  sectors_recursive: null,
};

export interface StatsOptions {
  readonly stream: boolean;
  /** One sample without the one before it, at once. */
  readonly oneShot: boolean;
  readonly signal: AbortSignal;
}

export async function* readStats(
  context: ContainerContext,
  container: Container,
  options: StatsOptions,
): AsyncGenerator<ContainerStats> {
  const take = () => (isAlive(container.state.phase) ? sample(context, container) : undefined);
  let before = options.oneShot ? undefined : await take();
  // The first one of a stream goes out without a predecessor, as docker's does.
  if (options.stream) yield toStats(container, before, undefined);
  for (;;) {
    if (!options.oneShot && (options.stream || before !== undefined)) {
      await sleep(context.clock, SAMPLE_INTERVAL_MS, options.signal).catch(() => undefined);
      if (options.signal.aborted) return;
    }
    const now = await take();
    yield toStats(container, now, before);
    if (!options.stream) return;
    if (context.registry.get(container.id) !== container) return;
    before = now;
  }
}

function toStats(
  container: Container,
  now: Sample | undefined,
  before: Sample | undefined,
): ContainerStats {
  return {
    read: now?.read ?? ZERO_TIME,
    preread: before?.read ?? ZERO_TIME,
    pids_stats: now?.pids ?? {},
    blkio_stats: now?.blkio ?? NO_BLKIO,
    num_procs: 0,
    storage_stats: {},
    cpu_stats: now?.cpu ?? NO_CPU,
    precpu_stats: before?.cpu ?? NO_CPU,
    memory_stats: now?.memory ?? {},
    name: `/${container.name}`,
    id: container.id,
    ...(now?.networks === undefined ? {} : { networks: now.networks }),
  };
}

async function sample(
  context: ContainerContext,
  container: Container,
): Promise<Sample | undefined> {
  const [metrics, system, networks] = await Promise.all([
    context.runtime.metrics(container.id).catch(() => undefined),
    systemCpuNs(),
    readNetworks(container),
  ]);
  const read = formatNs(context.nowNs());
  const v1 = unpackMessage(metrics, V1);
  if (v1 !== undefined) return { ...fromV1(v1, system), networks, read };
  const v2 = unpackMessage(metrics, V2);
  return v2 === undefined ? undefined : { ...fromV2(v2, system), networks, read };
}

function fromV1(metrics: MetricsV1, system: number) {
  const { cpu, memory, pids, blkio } = metrics;
  const usage = memory?.usage;
  const entries = (list: NonNullable<typeof blkio>["ioServicedRecursive"]): BlkioEntry[] =>
    list.map(({ major, minor, op, value }) => ({
      major: Number(major),
      minor: Number(minor),
      op,
      value: Number(value),
    }));
  return {
    cpu: cpuStats(system, {
      total: Number(cpu?.usage?.total ?? 0n),
      kernel: Number(cpu?.usage?.kernel ?? 0n),
      user: Number(cpu?.usage?.user ?? 0n),
      periods: Number(cpu?.throttling?.periods ?? 0n),
      throttled: Number(cpu?.throttling?.throttledPeriods ?? 0n),
      throttledNs: Number(cpu?.throttling?.throttledTime ?? 0n),
      percpu: cpu?.usage?.perCpu.map(Number) ?? [],
    }),
    memory: {
      usage: Number(usage?.usage ?? 0n),
      max_usage: Number(usage?.max ?? 0n),
      ...(usage !== undefined && usage.failcnt > 0n ? { failcnt: Number(usage.failcnt) } : {}),
      limit: memoryLimit(usage?.limit),
      stats: memory === undefined ? {} : numericFields(memory),
    },
    pids: pidsStats(pids),
    blkio: {
      io_service_bytes_recursive: entries(blkio?.ioServiceBytesRecursive ?? []),
      io_serviced_recursive: entries(blkio?.ioServicedRecursive ?? []),
      io_queue_recursive: entries(blkio?.ioQueuedRecursive ?? []),
      io_service_time_recursive: entries(blkio?.ioServiceTimeRecursive ?? []),
      io_wait_time_recursive: entries(blkio?.ioWaitTimeRecursive ?? []),
      io_merged_recursive: entries(blkio?.ioMergedRecursive ?? []),
      io_time_recursive: entries(blkio?.ioTimeRecursive ?? []),
      sectors_recursive: entries(blkio?.sectorsRecursive ?? []),
    },
  };
}

function fromV2(metrics: MetricsV2, system: number) {
  const { cpu, memory, pids, io } = metrics;
  const ns = (us: bigint | undefined) => Number(us ?? 0n) * 1000;
  const bytes = (io?.usage ?? []).flatMap(({ major, minor, rbytes, wbytes }) => [
    { major: Number(major), minor: Number(minor), op: "read", value: Number(rbytes) },
    { major: Number(major), minor: Number(minor), op: "write", value: Number(wbytes) },
  ]);
  return {
    cpu: cpuStats(system, {
      total: ns(cpu?.usageUsec),
      kernel: ns(cpu?.systemUsec),
      user: ns(cpu?.userUsec),
      periods: Number(cpu?.nrPeriods ?? 0n),
      throttled: Number(cpu?.nrThrottled ?? 0n),
      throttledNs: ns(cpu?.throttledUsec),
      percpu: [],
    }),
    memory: {
      usage: Number(memory?.usage ?? 0n),
      limit: memoryLimit(memory?.usageLimit),
      stats: memory === undefined ? {} : numericFields(memory),
    },
    pids: pidsStats(pids),
    blkio: { ...NO_BLKIO, io_service_bytes_recursive: bytes },
  };
}

/** A limit of 0 is none, and left out. */
function pidsStats(pids: { readonly current: bigint; readonly limit: bigint } | undefined) {
  const limit = Number(pids?.limit ?? 0n);
  return { current: Number(pids?.current ?? 0n), ...(limit > 0 ? { limit } : {}) };
}

interface CpuNumbers {
  readonly total: number;
  readonly kernel: number;
  readonly user: number;
  readonly periods: number;
  readonly throttled: number;
  readonly throttledNs: number;
  readonly percpu: readonly number[];
}

function cpuStats(system: number, n: CpuNumbers): CpuStats {
  return {
    cpu_usage: {
      total_usage: n.total,
      ...(n.percpu.length > 0 ? { percpu_usage: n.percpu } : {}),
      usage_in_kernelmode: n.kernel,
      usage_in_usermode: n.user,
    },
    system_cpu_usage: system,
    online_cpus: cpus().length,
    throttling_data: {
      periods: n.periods,
      throttled_periods: n.throttled,
      throttled_time: n.throttledNs,
    },
  };
}

/** "No limit" is a huge number in the cgroup, and the machine's memory in docker's answer. */
function memoryLimit(limit: bigint | undefined): number {
  const total = totalmem();
  const value = Number(limit ?? 0n);
  return value > 0 && value < total ? value : total;
}

/** All counters of a protobuf message under the kernel's names: "totalInactiveFile" in snake case. */
function numericFields(message: object): Record<string, number> {
  const fields: Record<string, number> = {};
  for (const [key, value] of Object.entries(message)) {
    if (typeof value !== "bigint") continue;
    fields[kernelName(key)] = Number(value);
  }
  return fields;
}

/** "totalPgFault" is total_pgfault; the protobuf names part words that the kernel's do not. */
function kernelName(key: string): string {
  return key
    .replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
    .replace(/pg_(maj_)?fault/, (_, major: string | undefined) => `pg${major ? "maj" : ""}fault`)
    .replace(/pg_pg_/, "pgpg")
    .replace("hierarchical_swap_limit", "hierarchical_memsw_limit");
}

async function systemCpuNs(): Promise<number> {
  const text = await readFile("/proc/stat", "utf8");
  const [, ...ticks] = (text.split("\n", 1)[0] ?? "").trim().split(/\s+/);
  // user … steal; guest time is already in user.
  const sum = ticks.slice(0, 8).reduce((total, value) => total + Number(value), 0);
  return sum * NS_PER_TICK;
}

async function readNetworks(
  container: Container,
): Promise<Record<string, NetworkStats> | undefined> {
  if (container.record.hostConfig.NetworkMode === "host") return undefined;
  const text = await readFile(`/proc/${container.state.pid}/net/dev`, "utf8").catch(() => "");
  const networks: Record<string, NetworkStats> = {};
  for (const line of text.split("\n").slice(2)) {
    const [name = "", rest = ""] = line.trim().split(/:\s*/, 2);
    if (name === "" || name === "lo" || rest === "") continue;
    const n = rest.split(/\s+/).map(Number);
    const at = (index: number) => n[index] ?? 0;
    networks[name] = {
      rx_bytes: at(0),
      rx_packets: at(1),
      rx_errors: at(2),
      rx_dropped: at(3),
      tx_bytes: at(8),
      tx_packets: at(9),
      tx_errors: at(10),
      tx_dropped: at(11),
    };
  }
  return Object.keys(networks).length === 0 ? undefined : networks;
}
