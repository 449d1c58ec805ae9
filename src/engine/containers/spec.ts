/**
 * The OCI runtime specification of a container: a pure function of its record and of what was found
 * out about host, user, mounts and devices. Every default here is docker's.
 */

import { capabilityRequest, planCapabilities } from "./capabilities.ts";
import type {
  OciCapabilities,
  OciDevice,
  OciDeviceRule,
  OciProcess,
  OciSeccomp,
  OciSpec,
} from "./oci-spec.ts";
import type { ContainerRecord } from "./record.ts";
import { type SecurityOptions, systemPaths } from "./security-options.ts";
import {
  INIT_DESTINATION,
  type MountFiles,
  planSpecMounts,
  type ResolvedMount,
} from "./spec-mounts.ts";
import {
  ALL_DEVICES_RULE,
  type BlockDevices,
  DEFAULT_DEVICE_RULES,
  parseDeviceRule,
  planResources,
  planRlimits,
} from "./spec-resources.ts";
import type { ProcessUser } from "./user.ts";

/** A namespace of its own, the host's, or somebody else's by path. */
export type NamespaceChoice =
  | { readonly kind: "own" }
  | { readonly kind: "host" }
  | { readonly kind: "path"; readonly path: string };

export interface SpecInput {
  readonly record: ContainerRecord;
  readonly hostname: string;
  readonly user: ProcessUser;
  /** Variables that the container's own and its image's win over. */
  readonly linkedEnv: readonly string[];
  readonly mounts: readonly ResolvedMount[];
  readonly files: MountFiles;
  readonly shmPath: string | undefined;
  /** Host path of a static init; undefined without `--init`. */
  readonly initPath: string | undefined;
  readonly network: NamespaceChoice;
  readonly ipc: NamespaceChoice;
  readonly pid: NamespaceChoice;
  /** Devices of `--device`; of a privileged container, all of the host's. */
  readonly devices: readonly { readonly node: OciDevice; readonly access: string }[];
  readonly blockDevices: BlockDevices;
  /** Capabilities that the engine can give. */
  readonly available: readonly string[];
  readonly security: SecurityOptions;
  readonly noNewPrivileges: boolean;
  readonly seccomp: OciSeccomp | undefined;
  /** Name of a profile that the kernel has; undefined = unconfined. */
  readonly apparmor: string | undefined;
  /** See `SpecMountInput`. */
  readonly readOnlyBelow: boolean;
}

const DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const CGROUP_PARENT = "/skep";

export function buildSpec(input: SpecInput): OciSpec {
  const { record, network } = input;
  const { hostConfig } = record;
  const paths = systemPaths(hostConfig, input.security);
  const hostUts = hostConfig.UTSMode === "host";
  return {
    ociVersion: "1.0.2",
    process: buildProcess(input),
    root: { path: "rootfs", readonly: hostConfig.ReadonlyRootfs ?? false },
    ...(hostUts ? {} : { hostname: input.hostname }),
    mounts: planSpecMounts({
      ...input,
      hostConfig,
      hostNetwork: network.kind === "host",
      writableCgroups: input.security.writableCgroups,
    }),
    ...(hostConfig.Annotations ? { annotations: hostConfig.Annotations } : {}),
    linux: {
      namespaces: buildNamespaces(input),
      cgroupsPath: cgroupPath(record),
      resources: {
        devices: deviceRules(input),
        ...planResources(hostConfig, input.blockDevices),
      },
      devices: input.devices.map(({ node }) => node),
      sysctl: buildSysctls(input),
      maskedPaths: paths.masked,
      readonlyPaths: paths.readonly,
      ...rootfsPropagation(input),
      ...(input.seccomp === undefined ? {} : { seccomp: input.seccomp }),
    },
  };
}

/** The container's cgroup, below each controller's mount point. */
export function cgroupPath(record: ContainerRecord): string {
  const parent = record.hostConfig.CgroupParent || CGROUP_PARENT;
  return `${parent.startsWith("/") ? "" : "/"}${parent}/${record.id}`;
}

function buildProcess(input: SpecInput): OciProcess {
  const { config, hostConfig, path, args } = input.record;
  const command = [path, ...args];
  const [height = 0, width = 0] = hostConfig.ConsoleSize ?? [];
  const ulimits = hostConfig.Ulimits ?? [];
  return {
    terminal: config.Tty ?? false,
    ...(config.Tty && height > 0 && width > 0 ? { consoleSize: { height, width } } : {}),
    user: input.user,
    args: input.initPath === undefined ? command : [INIT_DESTINATION, "--", ...command],
    env: buildEnv([...input.linkedEnv, ...(config.Env ?? [])], input.hostname, config.Tty ?? false),
    cwd: config.WorkingDir || "/",
    capabilities: capabilitiesFor(input.user, capabilityRequest(hostConfig, input.available)),
    ...(ulimits.length === 0 ? {} : { rlimits: planRlimits(ulimits) }),
    noNewPrivileges: input.noNewPrivileges,
    ...(input.apparmor === undefined ? {} : { apparmorProfile: input.apparmor }),
    ...(hostConfig.OomScoreAdj ? { oomScoreAdj: hostConfig.OomScoreAdj } : {}),
  };
}

/** A user other than root keeps the bounding set only, as exec of a plain program leaves it. */
export function capabilitiesFor(
  user: ProcessUser,
  request: Parameters<typeof planCapabilities>[0],
): OciCapabilities {
  const bounding = planCapabilities(request);
  const held = user.uid === 0 ? bounding : [];
  return { bounding, effective: held, permitted: held, inheritable: [], ambient: [] };
}

/** Docker's own variables unless the user set them; a name without "=" unsets one. */
export function buildEnv(own: readonly string[], hostname: string, tty: boolean): string[] {
  const base = [DEFAULT_PATH, `HOSTNAME=${hostname}`, ...(tty ? ["TERM=xterm"] : [])];
  const set = new Map<string, string>();
  for (const entry of [...base, ...own]) {
    const name = entry.split("=", 1)[0] ?? "";
    if (entry.includes("=")) set.set(name, entry);
    else set.delete(name);
  }
  return [...set.values()];
}

function buildNamespaces(input: SpecInput): OciSpec["linux"]["namespaces"] {
  const { hostConfig } = input.record;
  const choices: readonly (readonly [string, NamespaceChoice])[] = [
    ["mount", { kind: "own" }],
    ["network", input.network],
    ["uts", { kind: hostConfig.UTSMode === "host" ? "host" : "own" }],
    ["ipc", input.ipc],
    ["pid", input.pid],
    ["cgroup", { kind: hostConfig.CgroupnsMode === "private" ? "own" : "host" }],
  ];
  return choices.flatMap(([type, choice]) => {
    if (choice.kind === "host") return [];
    return choice.kind === "own" ? [{ type }] : [{ type, path: choice.path }];
  });
}

function deviceRules(input: SpecInput): OciDeviceRule[] {
  const { hostConfig } = input.record;
  if (hostConfig.Privileged) return [ALL_DEVICES_RULE];
  const mapped = input.devices.map(({ node, access }) => ({
    allow: true,
    type: node.type,
    major: node.major,
    minor: node.minor,
    access,
  }));
  const ruled = (hostConfig.DeviceCgroupRules ?? []).flatMap((text) => parseDeviceRule(text) ?? []);
  return [...DEFAULT_DEVICE_RULES, ...mapped, ...ruled];
}

function buildSysctls(input: SpecInput): Record<string, string> {
  const { config, hostConfig } = input.record;
  const defaults: Record<string, string> =
    input.network.kind === "own"
      ? {
          "net.ipv4.ip_unprivileged_port_start": "0",
          "net.ipv4.ping_group_range": "0 2147483647",
        }
      : {};
  const domain = config.Domainname;
  if (domain && hostConfig.UTSMode !== "host") defaults["kernel.domainname"] = domain;
  return { ...defaults, ...hostConfig.Sysctls };
}

/** A bind that shares mounts with the host needs a root that lets them through. */
function rootfsPropagation(input: SpecInput): { rootfsPropagation?: string } {
  const asked = input.mounts.map(({ spec }) => spec.propagation.replace(/^r/, ""));
  if (asked.includes("shared")) return { rootfsPropagation: "shared" };
  if (asked.includes("slave")) return { rootfsPropagation: "slave" };
  return {};
}
