/**
 * A task as the body of `POST /containers/create`: whatever `docker run` can set, a service can.
 * Pure; images, volumes and files are the controller's work.
 */

import type { Duration } from "@bufbuild/protobuf/wkt";
import { EngineError } from "#base/error.ts";
import { HOST_ACCESS_LABELS, readHostAccess } from "#model/host-access.ts";
import { isPredefined } from "#model/network.ts";
import type {
  ContainerCreateBody,
  HealthConfig,
  HostConfig,
  MountRequest,
  PortBinding,
} from "#wire/docker/containers.ts";
import type { EndpointSettings } from "#wire/docker/networks.ts";
import type { NetworkAttachment, Task } from "#wire/gen/swarmkit/objects_pb.js";
import type { ContainerSpec } from "#wire/gen/swarmkit/specs_pb.js";
import {
  Privileges_AppArmorOpts_AppArmorMode as AppArmorMode,
  type GenericResource,
  type Mount,
  Mount_Type as MountType,
  type PortConfig,
  type Privileges,
  Mount_BindOptions_Propagation as Propagation,
  PortConfig_Protocol as Protocol,
  PortConfig_PublishMode as PublishMode,
  Privileges_SeccompOpts_SeccompMode as SeccompMode,
} from "#wire/gen/swarmkit/types_pb.js";
import { taskName } from "./task-scope.ts";

export const LABEL_PREFIX = "com.docker.swarm";
export const TASK_ID_LABEL = `${LABEL_PREFIX}.task.id`;

/** A file that the container gets to see, already written on the host. */
export interface TaskFile {
  readonly hostPath: string;
  readonly containerPath: string;
}

/** `spec` is the task's container spec with its templates expanded. */
export function containerBody(
  task: Task,
  spec: ContainerSpec,
  files: readonly TaskFile[],
): ContainerCreateBody {
  const command =
    spec.command.length > 0
      ? { Entrypoint: spec.command, Cmd: spec.args }
      : spec.args.length > 0
        ? { Cmd: spec.args }
        : {};
  return {
    ...command,
    ...(spec.healthcheck === undefined ? {} : { Healthcheck: healthcheck(spec.healthcheck) }),
    Image: imageReference(spec.image),
    Env: [...spec.env, ...genericResourceEnv(task.assignedGenericResources)],
    Labels: labels(task, spec),
    Hostname: spec.hostname,
    ...domainName(spec),
    User: spec.user,
    WorkingDir: spec.dir,
    Tty: spec.tty,
    OpenStdin: spec.openStdin,
    StopSignal: spec.stopSignal,
    ExposedPorts: Object.fromEntries(hostPorts(task).map((port) => [portKey(port), {}])),
    HostConfig: hostConfig(task, spec, files),
    NetworkingConfig: { EndpointsConfig: endpoints(task) },
  };
}

/** With a tag where neither tag nor digest is given, as the engine itself would read it. */
export function imageReference(image: string): string {
  const name = image.slice(image.lastIndexOf("/") + 1);
  return name.includes(":") || name.includes("@") ? image : `${image}:latest`;
}

function labels(task: Task, spec: ContainerSpec): Record<string, string> {
  return {
    ...spec.labels,
    ...task.annotations?.labels,
    [`${LABEL_PREFIX}.task`]: "",
    [TASK_ID_LABEL]: task.id,
    [`${LABEL_PREFIX}.task.name`]: taskName(task),
    [`${LABEL_PREFIX}.node.id`]: task.nodeId,
    [`${LABEL_PREFIX}.service.id`]: task.serviceId,
    [`${LABEL_PREFIX}.service.name`]: task.serviceAnnotations?.name ?? "",
  };
}

function hostConfig(task: Task, spec: ContainerSpec, files: readonly TaskFile[]): HostConfig {
  const dns = spec.dnsConfig;
  return {
    Mounts: [...spec.mounts.map(mountRequest), ...files.map(fileMount)],
    NetworkMode: networkMode(task),
    PortBindings: portBindings(task),
    // Restarting is the orchestrator's decision, and never the engine's.
    RestartPolicy: { Name: "no" },
    GroupAdd: spec.groups,
    ReadonlyRootfs: spec.readOnly,
    Sysctls: spec.sysctls,
    CapAdd: spec.capabilityAdd,
    CapDrop: spec.capabilityDrop,
    Ulimits: spec.ulimits.map(({ name, soft, hard }) => ({
      Name: name,
      Soft: Number(soft),
      Hard: Number(hard),
    })),
    OomScoreAdj: Number(spec.oomScoreAdj),
    SecurityOpt: securityOptions(spec.privileges),
    ExtraHosts: spec.hosts.flatMap(extraHost),
    ...hostAccess(spec),
    ...(spec.init === undefined ? {} : { Init: spec.init }),
    ...(spec.pidsLimit === 0n ? {} : { PidsLimit: Number(spec.pidsLimit) }),
    ...(dns === undefined
      ? {}
      : { Dns: dns.nameservers, DnsSearch: dns.search, DnsOptions: dns.options }),
    ...(task.logDriver === undefined
      ? {}
      : { LogConfig: { Type: task.logDriver.name, Config: task.logDriver.options } }),
    ...resources(task),
  };
}

function domainName({ labels: asked }: ContainerSpec): { readonly Domainname?: string } {
  const name = asked[HOST_ACCESS_LABELS.domainName];
  return name === undefined ? {} : { Domainname: name };
}

/** Precondition: the node allows it. */
function hostAccess({ labels: asked }: ContainerSpec): HostConfig {
  const access = readHostAccess(asked);
  if (!access.ok) throw new EngineError("invalid-argument", access.error);
  const { privileged, devices, hostPid, hostIpc, shmBytes } = access.value;
  const { cgroupParent, cgroupNamespace } = access.value;
  return {
    ...(privileged ? { Privileged: true } : {}),
    ...(devices.length === 0 ? {} : { Devices: devices }),
    ...(hostPid ? { PidMode: "host" } : {}),
    ...(hostIpc ? { IpcMode: "host" } : {}),
    ...(shmBytes === undefined ? {} : { ShmSize: shmBytes }),
    ...(cgroupParent === undefined ? {} : { CgroupParent: cgroupParent }),
    ...(cgroupNamespace === undefined ? {} : { CgroupnsMode: cgroupNamespace }),
  };
}

function resources(task: Task): HostConfig {
  const wanted = task.spec?.resources;
  const memory = Number(wanted?.limits?.memoryBytes ?? 0n);
  const nanoCpus = Number(wanted?.limits?.nanoCpus ?? 0n);
  const swap = wanted?.swapBytes;
  const swappiness = wanted?.memorySwappiness;
  return {
    ...(nanoCpus > 0 ? { NanoCpus: nanoCpus } : {}),
    ...(memory > 0 ? { Memory: memory } : {}),
    // The engine's figure is memory and swap together.
    ...(memory > 0 && swap !== undefined
      ? { MemorySwap: swap === -1n ? -1 : memory + Number(swap) }
      : {}),
    ...(swappiness === undefined ? {} : { MemorySwappiness: Number(swappiness) }),
  };
}

/** `IP name alias…` as hosts(5) has it, to `name:IP`; aliases have always been left out. */
function extraHost(entry: string): string[] {
  const [ip, name] = entry.trim().split(/\s+/);
  return ip === undefined || name === undefined ? [] : [`${name}:${ip}`];
}

function securityOptions(privileges: Privileges | undefined): string[] {
  if (privileges === undefined) return [];
  const options: string[] = [];
  const { selinuxContext: selinux, seccomp, apparmor } = privileges;
  if (selinux?.disable === true) options.push("label=disable");
  if (selinux !== undefined) {
    for (const key of ["user", "role", "type", "level"] as const) {
      if (selinux[key] !== "") options.push(`label=${key}:${selinux[key]}`);
    }
  }
  if (seccomp?.mode === SeccompMode.UNCONFINED) options.push("seccomp=unconfined");
  if (seccomp?.mode === SeccompMode.CUSTOM) {
    options.push(`seccomp=${new TextDecoder().decode(seccomp.profile)}`);
  }
  if (apparmor?.mode === AppArmorMode.DISABLED) options.push("apparmor=unconfined");
  if (privileges.noNewPrivileges) options.push("no-new-privileges=true");
  return options;
}

const MOUNT_TYPES: Readonly<Record<MountType, MountRequest["Type"]>> = {
  [MountType.BIND]: "bind",
  [MountType.VOLUME]: "volume",
  [MountType.TMPFS]: "tmpfs",
  [MountType.NPIPE]: "npipe",
  [MountType.CLUSTER]: "cluster",
};

const PROPAGATIONS: Readonly<Record<Propagation, string>> = {
  [Propagation.RPRIVATE]: "rprivate",
  [Propagation.PRIVATE]: "private",
  [Propagation.RSHARED]: "rshared",
  [Propagation.SHARED]: "shared",
  [Propagation.RSLAVE]: "rslave",
  [Propagation.SLAVE]: "slave",
};

function mountRequest(mount: Mount): MountRequest {
  const { bindOptions: bind, volumeOptions: volume, tmpfsOptions: tmpfs } = mount;
  return {
    Type: MOUNT_TYPES[mount.type],
    Source: mount.source,
    Target: mount.target,
    ReadOnly: mount.readonly,
    ...(bind === undefined
      ? {}
      : {
          BindOptions: {
            Propagation: PROPAGATIONS[bind.propagation],
            NonRecursive: bind.nonrecursive,
            CreateMountpoint: bind.createmountpoint,
            ReadOnlyNonRecursive: bind.readonlynonrecursive,
            ReadOnlyForceRecursive: bind.readonlyforcerecursive,
          },
        }),
    ...(volume === undefined
      ? {}
      : {
          VolumeOptions: {
            NoCopy: volume.nocopy,
            Labels: volume.labels,
            Subpath: volume.subpath,
            ...(volume.driverConfig === undefined
              ? {}
              : {
                  DriverConfig: {
                    Name: volume.driverConfig.name,
                    Options: volume.driverConfig.options,
                  },
                }),
          },
        }),
    ...(tmpfs === undefined
      ? {}
      : { TmpfsOptions: { SizeBytes: Number(tmpfs.sizeBytes), Mode: tmpfs.mode } }),
  };
}

function fileMount({ hostPath, containerPath }: TaskFile): MountRequest {
  return { Type: "bind", Source: hostPath, Target: containerPath, ReadOnly: true };
}

function healthcheck(check: NonNullable<ContainerSpec["healthcheck"]>): HealthConfig {
  return {
    Test: check.test,
    Interval: nanoseconds(check.interval),
    Timeout: nanoseconds(check.timeout),
    StartPeriod: nanoseconds(check.startPeriod),
    StartInterval: nanoseconds(check.startInterval),
    Retries: check.retries,
  };
}

function nanoseconds(duration: Duration | undefined): number {
  return duration === undefined ? 0 : Number(duration.seconds) * 1e9 + duration.nanos;
}

/** Ports that are bound on this host; ingress ports are the data path's business. */
export function hostPorts(task: Task): readonly PortConfig[] {
  return (task.endpoint?.ports ?? []).filter(({ publishMode }) => publishMode === PublishMode.HOST);
}

function portKey({ targetPort, protocol }: PortConfig): string {
  return `${targetPort}/${Protocol[protocol].toLowerCase()}`;
}

function portBindings(task: Task): Record<string, readonly PortBinding[]> {
  const bindings: Record<string, PortBinding[]> = {};
  for (const port of hostPorts(task)) {
    // One container port may be published on several host ports; none given = any free one.
    const binding = port.publishedPort === 0 ? {} : { HostPort: String(port.publishedPort) };
    (bindings[portKey(port)] ??= []).push(binding);
  }
  return bindings;
}

/** On a network of the host itself (bridge, host, none), which services use by its own name. */
function isOwnOfHost({ network }: NetworkAttachment): boolean {
  return isPredefined(network);
}

function nameOf({ network }: NetworkAttachment): string {
  return network?.spec?.annotations?.name ?? "";
}

function networkMode(task: Task): string {
  const [first] = task.networks;
  return first === undefined ? "default" : nameOf(first);
}

function endpoints(task: Task): Record<string, EndpointSettings> {
  const settings: Record<string, EndpointSettings> = {};
  for (const attachment of task.networks) {
    if (isOwnOfHost(attachment)) continue;
    const name = nameOf(attachment);
    if (name === "" || attachment.network === undefined) {
      throw new EngineError("invalid-argument", "task has an attachment without a network");
    }
    settings[name] = {
      NetworkID: attachment.network.id,
      IPAMConfig: addresses(attachment.addresses),
      Aliases: aliases(task, attachment),
      DriverOpts: attachment.driverAttachmentOpts,
    };
  }
  return settings;
}

/** CIDRs as the allocator gave them, to the addresses that the endpoint must have. */
function addresses(cidrs: readonly string[]): { IPv4Address?: string; IPv6Address?: string } {
  const wanted: { IPv4Address?: string; IPv6Address?: string } = {};
  for (const cidr of cidrs) {
    const [address = ""] = cidr.split("/");
    if (address.includes(":")) wanted.IPv6Address = address;
    else if (address !== "") wanted.IPv4Address = address;
  }
  return wanted;
}

/** The service's aliases on the network; the task's own name finds exactly this container. */
function aliases(task: Task, attachment: NetworkAttachment): string[] {
  return [...new Set([...attachment.aliases, taskName(task)])];
}

/** `DOCKER_RESOURCE_KIND=value,value` for what the scheduler has given the task. */
function genericResourceEnv(assigned: readonly GenericResource[]): string[] {
  const values = new Map<string, string[]>();
  for (const { resource } of assigned) {
    if (resource.case === undefined) continue;
    const { kind, value } = resource.value;
    values.set(kind, [...(values.get(kind) ?? []), String(value)]);
  }
  return [...values].map(
    ([kind, list]) => `DOCKER_RESOURCE_${kind.toUpperCase()}=${list.join(",")}`,
  );
}
