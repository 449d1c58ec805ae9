/** Limits of a container in the runtime's terms. Pure, but for device numbers, which are given. */

import type { HostConfig, ThrottleDevice, Ulimit } from "#wire/docker/containers.ts";
import { CPU_PERIOD_DEFAULT_US } from "./limits.ts";
import type { OciDeviceRule, OciProcess, OciResources, OciThrottle } from "./oci-spec.ts";

/** Major and minor number of the block devices that limits name, by path. */
export type BlockDevices = ReadonlyMap<string, { readonly major: number; readonly minor: number }>;

export function planResources(
  hostConfig: HostConfig,
  blockDevices: BlockDevices,
): Omit<OciResources, "devices"> {
  const pids = hostConfig.PidsLimit ?? 0;
  return {
    ...planMemory(hostConfig),
    ...planCpu(hostConfig),
    ...(pids > 0 || pids === -1 ? { pids: { limit: pids } } : {}),
    ...planBlockIo(hostConfig, blockDevices),
  };
}

function planMemory(hostConfig: HostConfig): Pick<OciResources, "memory"> {
  const {
    Memory: limit = 0,
    MemoryReservation: reservation = 0,
    MemorySwap: swap = 0,
  } = hostConfig;
  const swappiness = hostConfig.MemorySwappiness ?? -1;
  const memory = {
    ...(limit > 0 ? { limit } : {}),
    ...(reservation > 0 ? { reservation } : {}),
    ...(swap !== 0 ? { swap } : {}),
    ...(swappiness >= 0 ? { swappiness } : {}),
    ...(hostConfig.OomKillDisable ? { disableOOMKiller: true } : {}),
  };
  return Object.keys(memory).length === 0 ? {} : { memory };
}

function planCpu(hostConfig: HostConfig): Pick<OciResources, "cpu"> {
  const nano = hostConfig.NanoCpus ?? 0;
  const period = nano > 0 ? CPU_PERIOD_DEFAULT_US : (hostConfig.CpuPeriod ?? 0);
  const quota =
    nano > 0 ? Math.round((nano * CPU_PERIOD_DEFAULT_US) / 1e9) : (hostConfig.CpuQuota ?? 0);
  const cpu = {
    ...(hostConfig.CpuShares ? { shares: hostConfig.CpuShares } : {}),
    ...(period > 0 ? { period } : {}),
    ...(quota !== 0 ? { quota } : {}),
    ...(hostConfig.CpusetCpus ? { cpus: hostConfig.CpusetCpus } : {}),
    ...(hostConfig.CpusetMems ? { mems: hostConfig.CpusetMems } : {}),
    ...(hostConfig.CpuRealtimePeriod ? { realtimePeriod: hostConfig.CpuRealtimePeriod } : {}),
    ...(hostConfig.CpuRealtimeRuntime ? { realtimeRuntime: hostConfig.CpuRealtimeRuntime } : {}),
  };
  return Object.keys(cpu).length === 0 ? {} : { cpu };
}

function planBlockIo(hostConfig: HostConfig, devices: BlockDevices): Pick<OciResources, "blockIO"> {
  const throttles = (list: readonly ThrottleDevice[] | null | undefined): OciThrottle[] =>
    (list ?? []).flatMap(({ Path, Rate }) => {
      const device = devices.get(Path);
      return device === undefined ? [] : [{ ...device, rate: Rate }];
    });
  const weightDevice = (hostConfig.BlkioWeightDevice ?? []).flatMap(({ Path, Weight }) => {
    const device = devices.get(Path);
    return device === undefined ? [] : [{ ...device, weight: Weight }];
  });
  const lists = {
    weightDevice,
    throttleReadBpsDevice: throttles(hostConfig.BlkioDeviceReadBps),
    throttleWriteBpsDevice: throttles(hostConfig.BlkioDeviceWriteBps),
    throttleReadIOPSDevice: throttles(hostConfig.BlkioDeviceReadIOps),
    throttleWriteIOPSDevice: throttles(hostConfig.BlkioDeviceWriteIOps),
  };
  const blockIO = {
    ...(hostConfig.BlkioWeight ? { weight: hostConfig.BlkioWeight } : {}),
    ...Object.fromEntries(Object.entries(lists).filter(([, list]) => list.length > 0)),
  };
  return Object.keys(blockIO).length === 0 ? {} : { blockIO };
}

/** Paths of block devices that the limits name. */
export function blockDevicePaths(hostConfig: HostConfig): string[] {
  return [
    ...(hostConfig.BlkioWeightDevice ?? []),
    ...(hostConfig.BlkioDeviceReadBps ?? []),
    ...(hostConfig.BlkioDeviceWriteBps ?? []),
    ...(hostConfig.BlkioDeviceReadIOps ?? []),
    ...(hostConfig.BlkioDeviceWriteIOps ?? []),
  ].map(({ Path }) => Path);
}

/** -1 stays "unlimited": `serializeSpec` writes it as the unsigned number that means it. */
export function planRlimits(ulimits: readonly Ulimit[]): NonNullable<OciProcess["rlimits"]> {
  return ulimits.map(({ Name, Soft, Hard }) => ({
    type: `RLIMIT_${Name.toUpperCase()}`,
    soft: Soft,
    hard: Hard,
  }));
}

/** What every container may do to devices: make any node, use the harmless ones. */
export const DEFAULT_DEVICE_RULES: readonly OciDeviceRule[] = [
  { allow: false, access: "rwm" },
  { allow: true, type: "c", access: "m" },
  { allow: true, type: "b", access: "m" },
  ...[
    [1, 3],
    [1, 5],
    [1, 7],
    [1, 8],
    [1, 9],
    [5, 0],
    [5, 1],
    [5, 2],
  ].map(([major = 0, minor = 0]) => ({ allow: true, type: "c", major, minor, access: "rwm" })),
  { allow: true, type: "c", major: 136, access: "rwm" },
];

export const ALL_DEVICES_RULE: OciDeviceRule = { allow: true, access: "rwm" };

/** "c 1:* rwm" as in `--device-cgroup-rule`; undefined when malformed. */
export function parseDeviceRule(text: string): OciDeviceRule | undefined {
  const match = /^([acb]) ([0-9]+|\*):([0-9]+|\*) ([rwm]{1,3})$/.exec(text);
  if (match === null) return undefined;
  const [, type = "a", major = "*", minor = "*", access = "rwm"] = match;
  return {
    allow: true,
    type,
    access,
    ...(major === "*" ? {} : { major: Number(major) }),
    ...(minor === "*" ? {} : { minor: Number(minor) }),
  };
}
