/** The mounts of a container's specification, in the order in which they are made. Pure. */

import type { HostConfig } from "#wire/docker/containers.ts";
import type { OciMount } from "./oci-spec.ts";
import type { MountSpec } from "./record.ts";

export interface ResolvedMount {
  readonly spec: MountSpec;
  /** Host path to bind; "" for tmpfs. */
  readonly hostPath: string;
}

export interface MountFiles {
  readonly hosts: string;
  readonly hostname: string;
  readonly resolvConf: string;
}

export interface SpecMountInput {
  readonly hostConfig: HostConfig;
  readonly mounts: readonly ResolvedMount[];
  readonly files: MountFiles;
  /** Host path of a /dev/shm that is shared with other containers; undefined = its own. */
  readonly shmPath: string | undefined;
  /** Static init to run as process 1; undefined without `--init`. */
  readonly initPath: string | undefined;
  readonly hostNetwork: boolean;
  readonly writableCgroups: boolean;
  /** Kernel and runc make what is mounted below a mount read-only, too. */
  readonly readOnlyBelow: boolean;
}

export const INIT_DESTINATION = "/sbin/docker-init";

export function planSpecMounts(input: SpecMountInput): OciMount[] {
  const { hostConfig, mounts } = input;
  const taken = new Set(mounts.map(({ spec }) => spec.destination));
  const privileged = hostConfig.Privileged ?? false;
  const access = privileged && !hostConfig.ReadonlyRootfs ? "rw" : "ro";
  const system: OciMount[] = [
    fs("/proc", "proc", "proc", ["nosuid", "noexec", "nodev"]),
    fs("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
    fs("/dev/pts", "devpts", "devpts", [
      "nosuid",
      "noexec",
      "newinstance",
      "ptmxmode=0666",
      "mode=0620",
      "gid=5",
    ]),
    fs("/sys", "sysfs", "sysfs", ["nosuid", "noexec", "nodev", access]),
    fs("/sys/fs/cgroup", "cgroup", "cgroup", [
      input.writableCgroups ? "rw" : access,
      "nosuid",
      "noexec",
      "nodev",
    ]),
    ...ipcMounts(input),
  ];
  const files: OciMount[] = [
    file("/etc/resolv.conf", input.files.resolvConf),
    file("/etc/hostname", input.files.hostname),
    file("/etc/hosts", input.files.hosts),
  ];
  const init: OciMount[] =
    input.initPath === undefined
      ? []
      : [{ ...file(INIT_DESTINATION, input.initPath), options: ["bind", "ro"] }];
  // Who brings a /dev of his own has brought all that is below it.
  const ownDevices = taken.has("/dev");
  const ours = (list: readonly OciMount[]) =>
    list.filter(
      ({ destination }) =>
        !taken.has(destination) && !(ownDevices && destination.startsWith("/dev/")),
    );
  // A user's mount over /etc must not hide the files that the engine puts there.
  const ordered = [
    ...ours([...files, ...init]),
    ...mounts.map((mount) => userMount(mount, input)),
  ].sort((a, b) => depthOf(a) - depthOf(b));
  return [...ours(system), ...ordered];
}

function depthOf({ destination }: OciMount): number {
  return destination.split("/").length;
}

function ipcMounts({ hostConfig, shmPath }: SpecMountInput): OciMount[] {
  if (hostConfig.IpcMode === "host") {
    return [
      fs("/dev/shm", "bind", "/dev/shm", ["rbind"]),
      // Of the namespace, which is the host's; whether the host has it mounted or not.
      fs("/dev/mqueue", "mqueue", "mqueue", ["nosuid", "noexec", "nodev"]),
    ];
  }
  const mqueue = fs("/dev/mqueue", "mqueue", "mqueue", ["nosuid", "noexec", "nodev"]);
  if (hostConfig.IpcMode === "none") return [mqueue];
  if (shmPath !== undefined) {
    return [mqueue, fs("/dev/shm", "bind", shmPath, ["rbind", "rprivate"])];
  }
  const size = `size=${hostConfig.ShmSize ?? 0}`;
  return [mqueue, fs("/dev/shm", "tmpfs", "shm", ["nosuid", "noexec", "nodev", "mode=1777", size])];
}

function userMount(
  { spec, hostPath }: ResolvedMount,
  { readOnlyBelow }: Pick<SpecMountInput, "readOnlyBelow">,
): OciMount {
  if (spec.type === "tmpfs") {
    const options = ["noexec", "nosuid", "nodev", ...(spec.readOnly ? ["ro"] : [])];
    // A user's "exec" takes the default "noexec" away; the last of two contradicting ones counts.
    return fs(spec.destination, "tmpfs", "tmpfs", [...options, ...spec.options]);
  }
  const propagation = spec.propagation || "rprivate";
  const bind = spec.nonRecursive ? "bind" : "rbind";
  const below = readOnlyBelow && (spec.readOnlyReach ?? "top") !== "top";
  const access = spec.readOnly ? (below ? "rro" : "ro") : "rw";
  return fs(spec.destination, "bind", hostPath, [bind, access, propagation]);
}

function fs(destination: string, type: string, source: string, options: string[]): OciMount {
  return { destination, type, source, options };
}

function file(destination: string, source: string): OciMount {
  return fs(destination, "bind", source, ["rbind", "rprivate"]);
}
