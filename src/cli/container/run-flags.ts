/**
 * The flags of `run` and `create`, and the container they describe: command line → the body of
 * `POST /containers/create`. Pure but for reading `--env-file`.
 */

import { readFileSync } from "node:fs";
import { parseBytes } from "#base/bytes.ts";
import { EngineError } from "#base/error.ts";
import type {
  ContainerCreateBody,
  HostConfig,
  MountRequest,
  PortBinding,
  RestartPolicy,
} from "#wire/docker/containers.ts";
import { fileError } from "../open-file.ts";
import type { FlagSpec, FlagValues } from "../pflag.ts";
import { parseMount } from "./mount-flag.ts";
import { NETWORK_FLAGS, networkChoice } from "./network-flags.ts";

const list = (name: string, usage: string, short?: string): FlagSpec => ({
  name,
  kind: "list",
  usage,
  ...(short === undefined ? {} : { short }),
});
const text = (name: string, usage: string, short?: string): FlagSpec => ({
  name,
  kind: "string",
  usage,
  ...(short === undefined ? {} : { short }),
});
const bool = (name: string, usage: string, short?: string): FlagSpec => ({
  name,
  kind: "bool",
  usage,
  ...(short === undefined ? {} : { short }),
});

export const CREATE_FLAGS: readonly FlagSpec[] = [
  list("add-host", "Add a custom host-to-IP mapping (host:ip)"),
  list("attach", "Attach to STDIN, STDOUT or STDERR", "a"),
  list("cap-add", "Add Linux capabilities"),
  list("cap-drop", "Drop Linux capabilities"),
  list("annotation", "Add an annotation to the container"),
  { name: "blkio-weight", kind: "uint", usage: "Block IO weight (10 to 1000, or 0)" },
  list("blkio-weight-device", "Block IO weight of a device (path:weight)"),
  text("cgroup-parent", "Parent cgroup of the container"),
  text("cgroupns", "Cgroup namespace to use (host, private)"),
  text("cidfile", "Write the container's ID to the file"),
  { name: "cpu-period", kind: "int", usage: "Period of the CPU scheduler, in microseconds" },
  { name: "cpu-quota", kind: "int", usage: "CPU time within a period, in microseconds" },
  { name: "cpu-rt-period", kind: "int", usage: "Real-time period, in microseconds" },
  { name: "cpu-rt-runtime", kind: "int", usage: "Real-time runtime, in microseconds" },
  { name: "cpu-count", kind: "int", usage: "Of Windows; has no effect", hidden: true },
  { name: "cpu-percent", kind: "int", usage: "Of Windows; has no effect", hidden: true },
  { name: "io-maxbandwidth", kind: "bytes", usage: "Of Windows; has no effect", hidden: true },
  { name: "io-maxiops", kind: "uint", usage: "Of Windows; has no effect", hidden: true },
  { name: "cpus", kind: "float", usage: "Number of CPUs", valueName: "decimal" },
  { name: "cpu-shares", short: "c", kind: "int", usage: "CPU shares (relative weight)" },
  text("cpuset-cpus", "CPUs in which to allow execution (0-3, 0,1)"),
  text("cpuset-mems", "Memory nodes in which to allow execution (0-3, 0,1)"),
  list("device", "Add a host device to the container"),
  list("device-cgroup-rule", "Add a rule to the allowed devices of the cgroup"),
  list("device-read-bps", "Limit the read rate of a device (path:bytes)"),
  list("device-read-iops", "Limit the reads of a device per second (path:count)"),
  list("device-write-bps", "Limit the write rate of a device (path:bytes)"),
  list("device-write-iops", "Limit the writes of a device per second (path:count)"),
  { name: "disable-content-trust", kind: "bool", usage: "Accepted", hidden: true },
  list("dns", "Set custom DNS servers"),
  list("dns-option", "Set DNS options"),
  list("dns-search", "Set custom DNS search domains"),
  text("domainname", "Container NIS domain name"),
  text("entrypoint", "Overwrite the image's ENTRYPOINT"),
  list("env", "Set environment variables", "e"),
  list("env-file", "Read in a file of environment variables"),
  list("expose", "Expose a port or a range of ports"),
  text("gpus", "GPU devices to add (all, or a count)"),
  list("group-add", "Add additional groups to join"),
  text("health-cmd", "Command to run to check health"),
  { name: "health-interval", kind: "duration", usage: "Time between running the check" },
  { name: "health-retries", kind: "int", usage: "Consecutive failures to report unhealthy" },
  { name: "health-start-period", kind: "duration", usage: "Time before failures count" },
  { name: "health-start-interval", kind: "duration", usage: "Time between checks while it starts" },
  { name: "health-timeout", kind: "duration", usage: "Maximum time to allow one check to run" },
  text("hostname", "Container host name", "h"),
  bool("init", "Run an init that forwards signals and reaps processes"),
  bool("interactive", "Keep STDIN open even if not attached", "i"),
  text("ipc", "IPC mode to use"),
  text("isolation", "Isolation technology (only default)"),
  { name: "kernel-memory", kind: "bytes", usage: "Has no effect on newer kernels", hidden: true },
  list("label", "Set meta data on a container", "l"),
  list("label-file", "Read in a file of labels"),
  text("log-driver", "Logging driver for the container"),
  list("log-opt", "Log driver options"),
  { name: "memory", short: "m", kind: "bytes", usage: "Memory limit" },
  { name: "memory-reservation", kind: "bytes", usage: "Memory soft limit" },
  { name: "memory-swap", kind: "bytes", usage: "Memory and swap; -1 = unlimited swap" },
  { name: "memory-swappiness", kind: "int", usage: "Swappiness of the container (0 to 100)" },
  list("mount", "Attach a filesystem mount to the container"),
  text("name", "Assign a name to the container"),
  ...NETWORK_FLAGS,
  bool("no-healthcheck", "Disable any HEALTHCHECK of the image"),
  bool("oom-kill-disable", "Disable OOM killer"),
  { name: "oom-score-adj", kind: "int", usage: "Tune the host's OOM preferences (-1000 to 1000)" },
  text("pid", "PID namespace to use"),
  { name: "pids-limit", kind: "int", usage: "Limit the number of processes (-1 = unlimited)" },
  text("platform", "Platform of the image, when it must be pulled"),
  bool("privileged", "Give extended privileges to this container"),
  list("publish", "Publish a container's port to the host", "p"),
  bool("publish-all", "Publish all exposed ports to random ports", "P"),
  text("pull", 'Pull the image before creating ("always", "missing", "never")'),
  bool("quiet", "Suppress the pull output", "q"),
  bool("read-only", "Mount the container's root filesystem as read only"),
  text("restart", "Restart policy (no, on-failure[:N], always, unless-stopped)"),
  bool("rm", "Remove the container and its anonymous volumes when it exits"),
  text("runtime", "Runtime of the container"),
  list("security-opt", "Security options"),
  { name: "shm-size", kind: "bytes", usage: "Size of /dev/shm" },
  text("stop-signal", "Signal to stop the container"),
  { name: "stop-timeout", kind: "int", usage: "Seconds to wait before killing it on stop" },
  list("storage-opt", "Storage driver options of the container"),
  list("sysctl", "Sysctl options"),
  list("tmpfs", "Mount a tmpfs directory"),
  bool("tty", "Allocate a pseudo-TTY", "t"),
  list("ulimit", "Ulimit options"),
  bool("use-api-socket", "Give the container the engine's socket, and the user's credentials"),
  text("user", "Username or UID (format: <name|uid>[:<group|gid>])", "u"),
  text("userns", "User namespace to use"),
  text("uts", "UTS namespace to use"),
  list("volume", "Bind mount a volume", "v"),
  text("volume-driver", "Volume driver for the container"),
  list("volumes-from", "Mount volumes from the given containers"),
  text("workdir", "Working directory inside the container", "w"),
];

/** The create body of a command line; throws EngineError `invalid-argument` with docker's words. */
export function containerBody(
  flags: FlagValues,
  image: string,
  command: readonly string[],
  env: NodeJS.ProcessEnv,
): ContainerCreateBody {
  const { exposed, bindings } = parsePorts(flags.list("publish"), flags.list("expose"));
  const entrypoint = flags.string("entrypoint");
  const networks = networkChoice(flags);
  return {
    ...compact({
      Hostname: flags.string("hostname"),
      Domainname: flags.string("domainname"),
      User: flags.string("user"),
      WorkingDir: flags.string("workdir"),
      StopSignal: flags.string("stop-signal"),
      StopTimeout: flags.number("stop-timeout"),
      MacAddress: networks.mac,
      Healthcheck: healthcheck(flags),
      Entrypoint: entrypoint === undefined ? undefined : entrypoint === "" ? [""] : [entrypoint],
      Cmd: command.length > 0 ? command : undefined,
    }),
    Image: image,
    Tty: flags.bool("tty"),
    OpenStdin: flags.bool("interactive"),
    Env: environment(flags, env),
    Labels: pairs([...flags.list("label-file").flatMap(fileLines), ...flags.list("label")]),
    ExposedPorts: exposed,
    HostConfig: { ...hostConfig(flags, networks.mode, bindings), Links: networks.links },
    ...(Object.keys(networks.endpoints).length > 0
      ? { NetworkingConfig: { EndpointsConfig: networks.endpoints } }
      : {}),
  };
}

function hostConfig(
  flags: FlagValues,
  networkMode: string,
  bindings: Readonly<Record<string, readonly PortBinding[]>>,
): HostConfig {
  const cpus = flags.number("cpus");
  const binds = flags.list("volume").filter((spec) => spec.includes(":"));
  const anonymous = flags.list("volume").filter((spec) => !spec.includes(":"));
  const mounts: MountRequest[] = [
    ...flags.list("mount").map(parseMount),
    ...anonymous.map((target): MountRequest => ({ Type: "volume", Target: target })),
  ];
  return {
    ...compact({
      CgroupParent: flags.string("cgroup-parent"),
      CpuPeriod: flags.number("cpu-period"),
      CpuQuota: flags.number("cpu-quota"),
      CpuRealtimePeriod: flags.number("cpu-rt-period"),
      CpuRealtimeRuntime: flags.number("cpu-rt-runtime"),
      CpuShares: flags.number("cpu-shares"),
      CpusetMems: flags.string("cpuset-mems"),
      CgroupnsMode: flags.string("cgroupns"),
      BlkioWeight: flags.number("blkio-weight"),
      Isolation: flags.string("isolation"),
      MemorySwappiness: flags.number("memory-swappiness"),
      Runtime: flags.string("runtime"),
      UsernsMode: flags.string("userns"),
      VolumeDriver: flags.string("volume-driver"),
      ContainerIDFile: flags.string("cidfile"),
      CpusetCpus: flags.string("cpuset-cpus"),
      Memory: flags.bytes("memory"),
      MemoryReservation: flags.bytes("memory-reservation"),
      MemorySwap: flags.bytes("memory-swap"),
      NanoCpus: cpus === undefined ? undefined : Math.round(cpus * 1e9),
      PidsLimit: flags.number("pids-limit"),
      ShmSize: flags.bytes("shm-size"),
      OomScoreAdj: flags.number("oom-score-adj"),
      IpcMode: flags.string("ipc"),
      PidMode: flags.string("pid"),
      UTSMode: flags.string("uts"),
      Init: flags.has("init") ? flags.bool("init") : undefined,
      OomKillDisable: flags.has("oom-kill-disable") ? flags.bool("oom-kill-disable") : undefined,
    }),
    Binds: binds,
    Mounts: mounts,
    Tmpfs: Object.fromEntries(
      flags.list("tmpfs").map((spec) => {
        const [path = "", ...options] = spec.split(":");
        return [path, options.join(":")];
      }),
    ),
    NetworkMode: networkMode,
    PortBindings: bindings,
    PublishAllPorts: flags.bool("publish-all"),
    RestartPolicy: restartPolicy(flags.string("restart") ?? "no"),
    AutoRemove: flags.bool("rm"),
    Privileged: flags.bool("privileged"),
    ReadonlyRootfs: flags.bool("read-only"),
    CapAdd: flags.list("cap-add").map(capability),
    CapDrop: flags.list("cap-drop").map(capability),
    Dns: flags.list("dns"),
    DnsOptions: flags.list("dns-option"),
    DnsSearch: flags.list("dns-search"),
    ExtraHosts: flags.list("add-host"),
    GroupAdd: flags.list("group-add"),
    SecurityOpt: flags.list("security-opt"),
    VolumesFrom: flags.list("volumes-from"),
    Sysctls: pairs(flags.list("sysctl")),
    StorageOpt: pairs(flags.list("storage-opt")),
    Annotations: pairs(flags.list("annotation")),
    DeviceCgroupRules: flags.list("device-cgroup-rule"),
    DeviceRequests: gpuRequests(flags.string("gpus")),
    BlkioWeightDevice: flags.list("blkio-weight-device").map((spec) => {
      const { Path, Rate } = deviceRate(spec);
      return { Path, Weight: Rate };
    }),
    BlkioDeviceReadBps: flags.list("device-read-bps").map(deviceRate),
    BlkioDeviceReadIOps: flags.list("device-read-iops").map(deviceRate),
    BlkioDeviceWriteBps: flags.list("device-write-bps").map(deviceRate),
    BlkioDeviceWriteIOps: flags.list("device-write-iops").map(deviceRate),
    Ulimits: flags.list("ulimit").map(parseUlimit),
    Devices: flags.list("device").map(parseDevice),
    LogConfig: { Type: flags.string("log-driver") ?? "", Config: pairs(flags.list("log-opt")) },
  };
}

/** Without the fields that are undefined. */
export function compact<T extends object>(
  fields: T,
): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}

export function pairs(items: readonly string[]): Readonly<Record<string, string>> {
  return Object.fromEntries(
    items.map((item) => {
      const equals = item.indexOf("=");
      return equals < 0 ? [item, ""] : [item.slice(0, equals), item.slice(equals + 1)];
    }),
  );
}

/** Without empty lines and comments. */
function fileLines(path: string): readonly string[] {
  let content: string;
  try {
    content = readFileSync(path, "utf8");
  } catch (error) {
    throw fileError("open", path, error);
  }
  return content
    .split("\n")
    .map((line) => line.replace(/\r$/, "").trimStart())
    .filter((line) => line !== "" && !line.startsWith("#"));
}

/** `--env-file` first, then `--env`; a bare NAME takes the value from our own environment. */
export function environment(flags: FlagValues, env: NodeJS.ProcessEnv): readonly string[] {
  const lines = flags.list("env-file").flatMap(fileLines);
  return [...lines, ...flags.list("env")].flatMap((item) => {
    if (item.includes("=")) return [item];
    return env[item] === undefined ? [] : [`${item}=${env[item]}`];
  });
}

function healthcheck(flags: FlagValues) {
  const names = ["cmd", "interval", "retries", "start-interval", "start-period", "timeout"];
  const given = names.some((name) => flags.has(`health-${name}`));
  if (flags.bool("no-healthcheck")) {
    if (!given) return { Test: ["NONE"] };
    throw new EngineError("invalid-argument", "--no-healthcheck conflicts with --health-* options");
  }
  if (!given) return undefined;
  const command = flags.string("health-cmd");
  return compact({
    Test: command === undefined ? undefined : ["CMD-SHELL", command],
    Interval: flags.duration("health-interval"),
    Timeout: flags.duration("health-timeout"),
    StartInterval: flags.duration("health-start-interval"),
    StartPeriod: flags.duration("health-start-period"),
    Retries: flags.number("health-retries"),
  });
}

export function restartPolicy(policy: string): RestartPolicy {
  const [name = "", count] = policy.split(":");
  if (!["", "no", "always", "unless-stopped", "on-failure"].includes(name)) {
    throw new EngineError("invalid-argument", `invalid restart policy '${name}'`);
  }
  if (count !== undefined && !/^\d+$/.test(count)) {
    throw new EngineError("invalid-argument", "maximum retry count must be an integer");
  }
  return {
    Name: name as NonNullable<RestartPolicy["Name"]>,
    MaximumRetryCount: count === undefined ? 0 : Number(count),
  };
}

export function parseUlimit(spec: string) {
  const match = /^([a-z]+)=(-?\d+)(?::(-?\d+))?$/.exec(spec);
  if (match === null) throw new EngineError("invalid-argument", `invalid ulimit argument: ${spec}`);
  const soft = Number(match[2]);
  return {
    Name: match[1] ?? "",
    Soft: soft,
    Hard: match[3] === undefined ? soft : Number(match[3]),
  };
}

function parseDevice(spec: string) {
  const [host = "", second, third] = spec.split(":");
  const isMode = second !== undefined && /^[rwm]+$/.test(second);
  return {
    PathOnHost: host,
    PathInContainer: second === undefined || isMode ? host : second,
    CgroupPermissions: third ?? (isMode ? second : "rwm"),
  };
}

/** As docker's own command line sends them: "net_admin" is CAP_NET_ADMIN. */
function capability(name: string): string {
  const upper = name.trim().toUpperCase();
  return upper === "ALL" || upper.startsWith("CAP_") ? upper : `CAP_${upper}`;
}

/** "/dev/sda:1mb" */
function deviceRate(spec: string): { readonly Path: string; readonly Rate: number } {
  const [Path = "", amount = ""] = spec.split(":");
  const rate = parseBytes(amount);
  if (!Path.startsWith("/dev/") || !rate.ok) {
    throw new EngineError(
      "invalid-argument",
      `invalid rate for device: ${spec}. The correct format is <device-path>:<number>[<unit>]`,
    );
  }
  return { Path, Rate: rate.value };
}

/** "all" or a number of devices. */
function gpuRequests(spec: string | undefined): NonNullable<HostConfig["DeviceRequests"]> | null {
  if (spec === undefined) return null;
  const count = spec === "all" ? -1 : Number(spec.replace(/^count=/, ""));
  if (!Number.isInteger(count)) {
    throw new EngineError("invalid-argument", `invalid argument "${spec}" for "--gpus" flag`);
  }
  return [{ Driver: "", Count: count, Capabilities: [["gpu"]] }];
}

/** `[ip:][hostPort[-end]:]containerPort[-end][/proto]`, ranges expanded. */
export function parsePorts(published: readonly string[], exposed: readonly string[]) {
  const ports: Record<string, object> = {};
  const bindings: Record<string, PortBinding[]> = {};
  for (const spec of published) {
    const match =
      /^(?:(\[[^\]]*\]|[^:]*):)??(?:(\d*(?:-\d+)?):)?(\d+(?:-\d+)?)(?:\/(tcp|udp|sctp))?$/.exec(
        spec,
      );
    if (match === null) {
      throw new EngineError("invalid-argument", `invalid port specification: "${spec}"`);
    }
    const [, ip = "", host = "", inside = "", protocol = "tcp"] = match;
    const containerPorts = range(inside, spec);
    const hostPorts = host === "" ? [] : range(host, spec);
    if (
      hostPorts.length > 1 &&
      hostPorts.length !== containerPorts.length &&
      containerPorts.length > 1
    ) {
      throw new EngineError(
        "invalid-argument",
        `invalid ranges specified for container and host Ports: ${inside} and ${host}`,
      );
    }
    for (const [index, port] of containerPorts.entries()) {
      const key = `${port}/${protocol}`;
      const hostPort =
        containerPorts.length === 1 && hostPorts.length > 1 ? host : String(hostPorts[index] ?? "");
      ports[key] = {};
      bindings[key] = [
        ...(bindings[key] ?? []),
        { HostIp: ip.replace(/^\[(.*)\]$/, "$1"), HostPort: hostPort },
      ];
    }
  }
  for (const spec of exposed) {
    const [inside = "", protocol = "tcp"] = spec.split("/");
    for (const port of range(inside, spec)) ports[`${port}/${protocol}`] = {};
  }
  return { exposed: ports, bindings };
}

function range(text: string, spec: string): readonly number[] {
  const [start, end] = text.split("-").map(Number);
  const last = end ?? start ?? 0;
  if (start === undefined || start < 1 || last > 65535 || last < start) {
    throw new EngineError("invalid-argument", `invalid port range in "${spec}"`);
  }
  return Array.from({ length: last - start + 1 }, (_, index) => start + index);
}
