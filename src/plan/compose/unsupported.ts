/**
 * Keys of other Compose formats and of single containers. Some are refused, because the service would
 * be another one without them; some have no effect on a service, and that is said.
 */

import { isMapping, type Mapping } from "./document.ts";
import { Fields } from "./fields.ts";
import { hostNetwork, linkOf } from "./networks-part.ts";
import { Refusal } from "./refusal.ts";
import { TODAY } from "./schema.ts";

const USE_DEPLOY = "Set resource limits using deploy.resources";
const FORBIDDEN: ReadonlyMap<string, string> = new Map([
  ["cpu_quota", USE_DEPLOY],
  ["cpu_shares", USE_DEPLOY],
  ["cpuset", USE_DEPLOY],
  ["extends", "Support for `extends` is not implemented yet."],
  ["mem_limit", USE_DEPLOY],
  ["memswap_limit", USE_DEPLOY],
  [
    "volume_driver",
    "Instead of setting the volume driver on the service, define a volume using the top-level `volumes` option and specify the driver there.",
  ],
  [
    "volumes_from",
    "To share a volume between services, define it using the top-level `volumes` option and reference it from each service that shares it using the service-level `volumes` option.",
  ],
]);

/** Those of `FORBIDDEN` that files of today's format may have. */
const ALLOWED_TODAY = new Set(["extends", "mem_limit", "memswap_limit"]);

/** docker's list in docker's order, then what its formats do not know. */
export const WITHOUT_EFFECT: readonly string[] = [
  "build",
  "cgroup_parent",
  "cgroupns_mode",
  "domainname",
  "external_links",
  "links",
  "mac_address",
  "network_mode",
  "restart",
  "userns_mode",
  "annotations",
  "attach",
  "develop",
  "pull_policy",
  "pull_refresh_after",
];

/** Keys of today's format that no service can have, and why. */
export const IMPOSSIBLE: ReadonlyMap<string, string> = new Map([
  ["blkio_config", "the swarm does not weigh disks"],
  ["cpu_count", "it is of Windows"],
  ["cpu_percent", "it is of Windows"],
  ["cpu_period", USE_DEPLOY],
  ["cpu_rt_period", USE_DEPLOY],
  ["cpu_rt_runtime", USE_DEPLOY],
  ["device_cgroup_rules", "name the devices under devices"],
  ["gpus", "reserve them by deploy.resources.reservations.generic_resources"],
  ["label_file", "write the labels under labels"],
  ["models", "the engine runs no models"],
  ["oom_kill_disable", "a host without memory cannot keep such a promise"],
  ["post_start", "the swarm runs no hooks: use a job and depends_on"],
  ["pre_stop", "the swarm runs no hooks: use stop_signal and stop_grace_period"],
  ["provider", "the swarm has no providers"],
  ["runtime", "the node's default runtime runs it"],
  ["storage_opt", "the node's storage has no quotas"],
  ["use_api_socket", "mount the socket under volumes"],
  ["uts", "a service has its own host name"],
]);

const DEPRECATED: ReadonlyMap<string, string> = new Map([
  ["container_name", "Setting the container name is not supported."],
  [
    "expose",
    "Exposing ports is unnecessary - services on the same network can access each other's containers on any port.",
  ],
]);

/** Throws `Refusal`, with all forbidden keys in one message, at the first one's place. */
export function forbidden(root: Mapping, minor: number): void {
  if (!isMapping(root.services)) return;
  const found = new Map<string, readonly string[]>();
  for (const [name, service] of Object.entries(root.services)) {
    if (!isMapping(service)) continue;
    for (const key of Object.keys(service)) {
      if (minor >= TODAY && ALLOWED_TODAY.has(key)) continue;
      if (FORBIDDEN.has(key) && !found.has(key)) found.set(key, ["services", name, key]);
    }
  }
  const [place] = found.values();
  if (place === undefined) return;
  const lines = [...found.keys()].sort().map((key) => `${key}: ${FORBIDDEN.get(key) ?? ""}`);
  throw new Refusal(`Compose file contains unsupported options:\n\n${lines.join("\n\n")}`, place);
}

/** Throws `Refusal` at the first key of a service of today's format that a service cannot have. */
export function impossible(root: Mapping, minor: number): void {
  if (minor < TODAY || !isMapping(root.services)) return;
  for (const [name, service] of Object.entries(root.services)) {
    if (!isMapping(service)) continue;
    for (const key of Object.keys(service)) {
      const why = IMPOSSIBLE.get(key);
      if (why === undefined) continue;
      const path = ["services", name, key];
      throw new Refusal(`service ${name}: ${key} is not possible for a service: ${why}`, path);
    }
    const mode = service.network_mode;
    if (typeof mode !== "string" || !/^(service|container):/.test(mode)) continue;
    throw new Refusal(
      `service ${name}: network_mode ${JSON.stringify(mode)} is not possible for a service, whose tasks run anywhere: host and bridge are`,
      ["services", name, "network_mode"],
    );
  }
}

/** A service can be on the host's own networks; not on those of another container. */
function isHonoured(service: Mapping, key: string, services: Mapping): boolean {
  switch (key) {
    case "network_mode":
      return hostNetwork(new Fields(service, [])) !== undefined;
    case "links": {
      const links = new Fields(service, []).texts("links") ?? [];
      return links.every((link) => Object.hasOwn(services, linkOf(link).service));
    }
    default:
      return HONOURED.has(key);
  }
}

/** What docker's stacks ignore and ours do not. */
const HONOURED = new Set(["cgroup_parent", "cgroupns_mode", "domainname", "userns_mode"]);

/** What the user is told of keys without an effect, a paragraph each. */
export function ignored(services: Mapping): readonly string[] {
  const used = new Set(
    Object.values(services).flatMap((service) =>
      isMapping(service)
        ? Object.keys(service).filter((key) => !isHonoured(service, key, services))
        : [],
    ),
  );
  const unsupported = WITHOUT_EFFECT.filter((key) => used.has(key));
  const deprecated = [...DEPRECATED].filter(([key]) => used.has(key));
  return [
    ...(unsupported.length > 0 ? [`Ignoring unsupported options: ${unsupported.join(", ")}`] : []),
    ...(deprecated.length > 0
      ? ["Ignoring deprecated options:", ...deprecated.map(([key, why]) => `${key}: ${why}`)]
      : []),
  ];
}
