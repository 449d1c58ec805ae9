/** Devices of the host for a container: those it names, or all of them when it is privileged. */

import type { Stats } from "node:fs";
import { lstat, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { EngineError } from "#base/error.ts";
import type { HostConfig } from "#wire/docker/containers.ts";
import type { OciDevice } from "./oci-spec.ts";
import { type BlockDevices, blockDevicePaths, parseDeviceRule } from "./spec-resources.ts";

export interface ContainerDevice {
  readonly node: OciDevice;
  readonly access: string;
}

export interface DevicePlan {
  readonly devices: readonly ContainerDevice[];
  readonly blockDevices: BlockDevices;
}

/** Folders of /dev that belong to a mount namespace, not to the machine. */
const SKIPPED = new Set(["pts", "shm", "fd", "mqueue", "console", ".lxc", ".lxd-mounts", ".udev"]);

export async function resolveDevices(hostConfig: HostConfig): Promise<DevicePlan> {
  for (const rule of hostConfig.DeviceCgroupRules ?? []) {
    if (parseDeviceRule(rule) === undefined) {
      throw new EngineError("invalid-argument", `invalid device cgroup rule format: '${rule}'`);
    }
  }
  const blockDevices = new Map<string, { major: number; minor: number }>();
  for (const path of blockDevicePaths(hostConfig)) {
    const status = await stat(path).catch(() => undefined);
    if (!status?.isBlockDevice()) {
      throw new EngineError("invalid-argument", `${path} is not a block device`);
    }
    blockDevices.set(path, numbersOf(status));
  }
  const devices: ContainerDevice[] = [];
  if (hostConfig.Privileged) await collect("/dev", devices);
  for (const mapping of hostConfig.Devices ?? []) {
    const target = mapping.PathInContainer || mapping.PathOnHost;
    const access = mapping.CgroupPermissions || "rwm";
    devices.push(...(await mapDevice(mapping.PathOnHost, target, access)));
  }
  return { devices, blockDevices };
}

async function mapDevice(
  source: string,
  target: string,
  access: string,
): Promise<ContainerDevice[]> {
  const status = await stat(source).catch(() => undefined);
  if (status?.isDirectory()) {
    const found: ContainerDevice[] = [];
    await collect(source, found);
    return found.map(({ node }) => ({
      node: { ...node, path: target + node.path.slice(source.length) },
      access,
    }));
  }
  const node = status === undefined ? undefined : toNode(target, status);
  if (node === undefined) {
    throw new EngineError(
      "invalid-argument",
      `error gathering device information while adding custom device "${source}": ${status === undefined ? "no such file or directory" : "not a device node"}`,
    );
  }
  return [{ node, access }];
}

async function collect(folder: string, into: ContainerDevice[]): Promise<void> {
  for (const name of await readdir(folder)) {
    if (SKIPPED.has(name)) continue;
    const path = join(folder, name);
    const status = await lstat(path).catch(() => undefined);
    if (status?.isDirectory()) {
      await collect(path, into);
      continue;
    }
    const node = status === undefined ? undefined : toNode(path, status);
    if (node !== undefined) into.push({ node, access: "rwm" });
  }
}

function toNode(path: string, status: Stats): OciDevice | undefined {
  const type = status.isBlockDevice() ? "b" : status.isCharacterDevice() ? "c" : undefined;
  if (type === undefined) return undefined;
  return {
    path,
    type,
    ...numbersOf(status),
    fileMode: status.mode & 0o7777,
    uid: status.uid,
    gid: status.gid,
  };
}

/** Linux' encoding of a device number, as in makedev(3). */
function numbersOf({ rdev }: Stats): { major: number; minor: number } {
  const big = BigInt(rdev);
  const major = ((big >> 8n) & 0xfffn) | ((big >> 32n) & ~0xfffn);
  const minor = (big & 0xffn) | ((big >> 12n) & ~0xffn);
  return { major: Number(major), minor: Number(minor & 0xffffffffn) };
}
