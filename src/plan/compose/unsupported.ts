/**
 * Keys of other Compose formats and of single containers. Some are refused, because the service would
 * be another one without them; some have no effect on a service, and that is said.
 */

import { isMapping, type Mapping } from "./document.ts";
import { Fields } from "./fields.ts";
import { hostNetwork } from "./networks-part.ts";
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

const WITHOUT_EFFECT: readonly string[] = [
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
];

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
      if (key === "extends" && minor >= TODAY) continue;
      if (FORBIDDEN.has(key) && !found.has(key)) found.set(key, ["services", name, key]);
    }
  }
  const [place] = found.values();
  if (place === undefined) return;
  const lines = [...found.keys()].sort().map((key) => `${key}: ${FORBIDDEN.get(key) ?? ""}`);
  throw new Refusal(`Compose file contains unsupported options:\n\n${lines.join("\n\n")}`, place);
}

/** A service can be on the host's own networks; not on those of another container. */
function isHonoured(service: Mapping, key: string): boolean {
  return key === "network_mode" && hostNetwork(new Fields(service, [])) !== undefined;
}

/** What the user is told of keys without an effect, a paragraph each. */
export function ignored(services: Mapping): readonly string[] {
  const used = new Set(
    Object.values(services).flatMap((service) =>
      isMapping(service) ? Object.keys(service).filter((key) => !isHonoured(service, key)) : [],
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
