/** Networks of a stack, and what services attach to. */

import type { NetworkCreateBody } from "#wire/docker/networks.ts";
import type { NetworkAttachmentConfig } from "#wire/docker/tasks.ts";
import { Fields } from "./fields.ts";
import { realName } from "./references-part.ts";
import { Refusal } from "./refusal.ts";
import type { Namespace, Sparse } from "./stack.ts";

const DEFAULT_NETWORK = "default";

/** Keys of the networks that a service is on; without any it is on the stack's default one. */
export function networkKeys(service: Fields): readonly string[] {
  const keys = service.entries("networks").map(([key]) => key);
  if (hostNetwork(service) !== undefined) return [];
  return keys.length === 0 ? [DEFAULT_NETWORK] : keys;
}

/** Networks of every node that `network_mode` may name. */
const HOST_NETWORKS = ["host", "bridge"];

/** What `network_mode` asks for, if the swarm has it and no network is named beside it. */
export function hostNetwork(service: Fields): string | undefined {
  const mode = service.text("network_mode");
  if (mode === undefined || !HOST_NETWORKS.includes(mode)) return undefined;
  return service.entries("networks").length === 0 ? mode : undefined;
}

export function serviceNetworks(
  service: Fields,
  networks: ReadonlyMap<string, Fields>,
  namespace: Namespace,
): readonly Sparse<NetworkAttachmentConfig>[] {
  const name = service.path.at(-1) ?? "";
  const own = hostNetwork(service);
  if (own !== undefined) return [{ Target: own }];
  const attachments = new Map(service.entries("networks"));
  return networkKeys(service)
    .map((key) => {
      const network = networks.get(key);
      const attachment = attachments.get(key);
      if (network === undefined && key !== DEFAULT_NETWORK) {
        throw new Refusal(
          `undefined network ${JSON.stringify(key)}`,
          attachment?.path ?? service.path,
        );
      }
      return {
        Target: network === undefined ? namespace.scope(key) : realName(network, key, namespace),
        Aliases: [...(attachment?.texts("aliases") ?? []), name],
        DriverOpts: attachment?.textMap("driver_opts"),
      };
    })
    .sort((a, b) => (a.Target < b.Target ? -1 : 1));
}

export function networkBody(
  key: string,
  network: Fields | undefined,
  namespace: Namespace,
): NetworkCreateBody {
  const fields = network ?? new Fields({}, ["networks", key]);
  const Options = fields.textMap("driver_opts");
  const ipam = fields.inner("ipam");
  const pools = (ipam?.items("config") ?? []).map((pool) => ({
    Subnet: pool.text("subnet") ?? "",
  }));
  return {
    Name: realName(fields, key, namespace),
    Driver: fields.text("driver") ?? "overlay",
    Labels: namespace.labels(fields.textMap("labels")),
    Internal: fields.flag("internal") === true,
    Attachable: fields.flag("attachable") === true,
    Ingress: false,
    ConfigOnly: false,
    Scope: "",
    ...(Options === undefined ? {} : { Options }),
    ...(ipam === undefined || (ipam.text("driver") === undefined && pools.length === 0)
      ? {}
      : { IPAM: { Driver: ipam.text("driver") ?? "", Config: pools } }),
  };
}
