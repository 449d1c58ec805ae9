/**
 * The Go types of the fields whose name has one meaning throughout the Engine API. Docker's decoder
 * refuses a body with a value of another type; without that check a number would travel on as a
 * host's name. Names that mean different things in different places ("Config", "Mode", "Options")
 * are left to those who read them.
 */

import { EngineError } from "#base/error.ts";

/** A driver is a name here and an object there. */
type GoType =
  | "string"
  | "driver"
  | "bool"
  | "int64"
  | "[]string"
  /** A single text stands for a list of one. */
  | "strslice"
  | "map[string]string"
  | "struct"
  | "[]struct"
  | "map[string]struct"
  | "map[string][]struct";

const STRINGS = `
CgroupParent CgroupPermissions CgroupnsMode ContainerIDFile CpusetCpus CpusetMems DetachKeys
Domainname EndpointID Gateway HostIp HostPort Hostname IPAddress IPRange IPv4Address IPv6Address
IPv6Gateway Image IpcMode Isolation MacAddress Name NetworkID NetworkMode PathInContainer PathOnHost
identitytoken password serveraddress username PidMode Propagation Runtime StopSignal Subnet Subpath UTSMode User UsernsMode VolumeDriver WorkingDir
`;
const BOOLS = `
AttachStderr AttachStdin AttachStdout Attachable AutoRemove CheckDuplicate ConfigOnly
CreateMountpoint Detach EnableIPv4 EnableIPv6 Ingress Init Internal NetworkDisabled NoCopy
NonRecursive OomKillDisable OpenStdin Privileged PublishAllPorts ReadonlyRootfs StdinOnce Tty
`;
const INTEGERS = `
BlkioWeight CpuPeriod CpuQuota CpuRealtimePeriod CpuRealtimeRuntime CpuShares Hard Interval
MaximumRetryCount Memory MemoryReservation MemorySwap MemorySwappiness NanoCpus OomScoreAdj PidsLimit
Retries ShmSize SizeBytes Soft StartInterval StartPeriod StopTimeout
`;
const STRING_LISTS = `
Aliases Binds CapAdd CapDrop DeviceCgroupRules DnsOptions DnsSearch Env ExtraHosts GroupAdd OnBuild
SecurityOpt Shell VolumesFrom
`;
const STRUCTS = `
BindOptions ConfigFrom DriverConfig EndpointConfig Healthcheck HostConfig ImageOptions IPAM IPAMConfig LogConfig
NetworkingConfig RestartPolicy TmpfsOptions VolumeOptions
`;
const STRUCT_LISTS = `
BlkioDeviceReadBps BlkioDeviceReadIOps BlkioDeviceWriteBps BlkioDeviceWriteIOps BlkioWeightDevice
DeviceRequests Devices Mounts Ulimits
`;
const STRING_MAPS = "DriverOpts Labels StorageOpt Sysctls Tmpfs";

const TYPES: ReadonlyMap<string, GoType> = new Map([
  ...names(STRINGS, "string"),
  ...names("Driver", "driver"),
  ...names(BOOLS, "bool"),
  ...names(INTEGERS, "int64"),
  ...names(STRING_LISTS, "[]string"),
  ...names("Cmd Entrypoint", "strslice"),
  ...names(STRING_MAPS, "map[string]string"),
  ...names(STRUCTS, "struct"),
  ...names(STRUCT_LISTS, "[]struct"),
  ...names("EndpointsConfig ExposedPorts Volumes", "map[string]struct"),
  ...names("PortBindings", "map[string][]struct"),
]);

function names(text: string, type: GoType): readonly (readonly [string, GoType])[] {
  return text
    .trim()
    .split(/\s+/)
    .map((name) => [name, type] as const);
}

/** The value as lists of words are kept. */
export function asGoValue(name: string, value: unknown): unknown {
  return TYPES.get(name) === "strslice" && typeof value === "string" ? [value] : value;
}

/** Throws `invalid-argument` for a value that is not of the field's type. Null is anything. */
export function checkGoType(name: string, value: unknown): void {
  const type = TYPES.get(name);
  if (type === undefined) return;
  const wrong = mismatch(type, value);
  if (wrong === undefined) return;
  const [found, wanted] = wrong;
  throw new EngineError(
    "invalid-argument",
    `invalid JSON: json: cannot unmarshal ${found} into Go struct field ${name} of type ${wanted}`,
  );
}

/** What was found and what was wanted there; undefined when all is well. */
function mismatch(type: GoType, value: unknown): readonly [string, string] | undefined {
  if (value === null) return undefined;
  switch (type) {
    case "string":
      return typeof value === "string" ? undefined : [kindOf(value), type];
    case "driver":
      if (isObject(value)) return undefined;
      return typeof value === "string" ? undefined : [kindOf(value), "string"];
    case "bool":
      return typeof value === "boolean" ? undefined : [kindOf(value), type];
    case "int64":
      if (typeof value !== "number") return [kindOf(value), type];
      return Number.isInteger(value) ? undefined : [`number ${value}`, type];
    case "strslice":
      return typeof value === "string" ? undefined : mismatch("[]string", value);
    case "struct":
      return isObject(value) ? undefined : [kindOf(value), type];
    case "[]string":
      return Array.isArray(value) ? firstMismatch("string", value) : [kindOf(value), type];
    case "[]struct":
      return Array.isArray(value) ? firstMismatch("struct", value) : [kindOf(value), type];
    case "map[string]string":
      return below("string", value, type);
    case "map[string]struct":
      return below("struct", value, type);
    case "map[string][]struct":
      return below("[]struct", value, type);
  }
}

function below(items: GoType, value: unknown, type: GoType) {
  if (!isObject(value)) return [kindOf(value), type] as const;
  return firstMismatch(items, Object.values(value));
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function firstMismatch(
  type: GoType,
  items: readonly unknown[],
): readonly [string, string] | undefined {
  for (const item of items) {
    const wrong = mismatch(type, item);
    if (wrong !== undefined) return wrong;
  }
  return undefined;
}

function kindOf(value: unknown): string {
  if (Array.isArray(value)) return "array";
  return typeof value === "boolean" ? "bool" : typeof value;
}
