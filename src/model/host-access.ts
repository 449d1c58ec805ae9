/**
 * What a service may ask of its host beyond what SwarmKit's spec has fields for: devices, privileges,
 * the host's processes and memory. Asked for by labels of its containers, because those are part of
 * the task's spec (a change rolls) and survive every docker client. Granted by the node alone: its
 * engine's label `skep.allow` names what services may have there, and by default that is nothing. The
 * scheduler passes over other nodes, and the node itself checks again.
 */

import { parseBytes } from "#base/bytes.ts";
import { err, ok, type Result } from "#base/result.ts";

export const HOST_ACCESS_LABELS = {
  /** "true". */
  privileged: "skep.privileged",
  /** "/dev/fuse,/dev/sda:/dev/xvda:r". */
  devices: "skep.devices",
  /** "host". */
  pid: "skep.pid",
  /** "host". */
  ipc: "skep.ipc",
  /** Size of /dev/shm: "64m". Memory of the container's own, so that no node need allow it. */
  shmSize: "skep.shm-size",
  /** The cgroup under which the container's is made: "/batch". */
  cgroupParent: "skep.cgroup-parent",
  /** "host", which sees all of the host's cgroups, or "private". */
  cgroupNamespace: "skep.cgroupns",
  /** As `docker run --domainname` has it. */
  domainName: "skep.domainname",
} as const;

/** Label of an engine: "privileged,devices". */
export const ALLOW_LABEL = "skep.allow";

export type Grant = "privileged" | "devices" | "pid" | "ipc" | "cgroup";
const DEVICES_MAX = 100;

export interface DeviceAccess {
  readonly PathOnHost: string;
  readonly PathInContainer: string;
  readonly CgroupPermissions: string;
}

export interface HostAccess {
  readonly privileged: boolean;
  readonly devices: readonly DeviceAccess[];
  readonly hostPid: boolean;
  readonly hostIpc: boolean;
  readonly shmBytes: number | undefined;
  readonly cgroupParent: string | undefined;
  readonly cgroupNamespace: "host" | "private" | undefined;
  readonly domainName: string | undefined;
  /** What a node must allow for it. */
  readonly needs: readonly Grant[];
}

type Labels = Readonly<Record<string, string>>;

/** The labels of a container; an error says which one means nothing. */
export function readHostAccess(labels: Labels): Result<HostAccess> {
  const problem = (label: string, wanted: string) =>
    err(`label ${label}: ${JSON.stringify(labels[label])} is not ${wanted}`);
  const { privileged, devices, pid, ipc, shmSize } = HOST_ACCESS_LABELS;
  const flag = labels[privileged] ?? "false";
  if (flag !== "true" && flag !== "false") return problem(privileged, "true or false");
  for (const label of [pid, ipc]) {
    if (label in labels && labels[label] !== "host") return problem(label, '"host"');
  }
  const listed = (labels[devices] ?? "").split(",").filter((text) => text !== "");
  const parsed = listed.flatMap((text) => parseDevice(text) ?? []);
  if (parsed.length < listed.length || listed.length > DEVICES_MAX) {
    return problem(devices, "a list of /dev/NAME[:/dev/NAME][:rwm]");
  }
  const size = shmSize in labels ? parseBytes(labels[shmSize] ?? "") : undefined;
  if (size !== undefined && (!size.ok || size.value <= 0)) return problem(shmSize, "a size");
  const own = ownWords(labels);
  if (!own.ok) return own;
  const { cgroupParent, cgroupNamespace } = own.value;
  const access = {
    ...own.value,
    privileged: flag === "true",
    devices: parsed,
    hostPid: pid in labels,
    hostIpc: ipc in labels,
  };
  return ok({
    ...access,
    shmBytes: size?.ok === true ? size.value : undefined,
    needs: [
      ...(access.privileged ? (["privileged"] as const) : []),
      ...(access.devices.length > 0 ? (["devices"] as const) : []),
      ...(access.hostPid ? (["pid"] as const) : []),
      ...(access.hostIpc ? (["ipc"] as const) : []),
      ...(cgroupParent !== undefined || cgroupNamespace === "host" ? (["cgroup"] as const) : []),
    ],
  });
}

type OwnWords = Pick<HostAccess, "cgroupParent" | "cgroupNamespace" | "domainName">;

function ownWords(labels: Labels): Result<OwnWords> {
  const { cgroupParent, cgroupNamespace, domainName } = HOST_ACCESS_LABELS;
  const [parent, namespace, domain] = [
    labels[cgroupParent],
    labels[cgroupNamespace],
    labels[domainName],
  ];
  const bad = (label: string, wanted: string) =>
    err(`label ${label}: ${JSON.stringify(labels[label])} is not ${wanted}`);
  const isUnder = parent !== undefined && /^[\w./:@-]{1,200}$/.test(parent);
  if (parent !== undefined && (!isUnder || parent.split("/").includes(".."))) {
    return bad(cgroupParent, "the name of a cgroup");
  }
  if (namespace !== undefined && namespace !== "host" && namespace !== "private") {
    return bad(cgroupNamespace, '"host" or "private"');
  }
  if (domain !== undefined && !/^[A-Za-z0-9.-]{1,64}$/.test(domain)) {
    return bad(domainName, "a domain name");
  }
  return ok({ cgroupParent: parent, cgroupNamespace: namespace, domainName: domain });
}

/** "/dev/x", "/dev/x:r", "/dev/x:/dev/y", "/dev/x:/dev/y:rw", as `--device` has it. */
export function parseDevice(text: string): DeviceAccess | undefined {
  const [host = "", second, third, ...more] = text.split(":");
  const rights = (word: string | undefined) => word !== undefined && /^[rwm]{1,3}$/.test(word);
  const inside = second === undefined || (third === undefined && rights(second)) ? host : second;
  const access = third ?? (rights(second) ? second : undefined) ?? "rwm";
  const paths = host.startsWith("/") && inside.startsWith("/");
  if (!paths || !rights(access) || more.length > 0) return undefined;
  return { PathOnHost: host, PathInContainer: inside, CgroupPermissions: access };
}

/** Those that the engine's labels do not allow. */
export function notAllowed(
  needs: readonly Grant[],
  engineLabels: Labels | undefined,
): readonly Grant[] {
  const allowed = (engineLabels?.[ALLOW_LABEL] ?? "").split(",").map((word) => word.trim());
  return needs.filter((need) => !allowed.includes(need));
}
