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

/** `links` of others, as names under which a service is found: by its own name, and on which networks. */
export type Links = ReadonlyMap<string, ReadonlyMap<string, readonly string[]>>;

/** "db" or "db:database". */
export function linkOf(link: string): { readonly service: string; readonly alias: string } {
  const [service = "", alias = service] = link.split(":");
  return { service, alias };
}

/**
 * A link is a name for another service. Services have names for all of a network, so that everybody
 * there finds it by that name.
 */
export function linksOf(services: ReadonlyMap<string, Fields>): Links {
  const found = new Map<string, Map<string, string[]>>();
  for (const service of services.values()) {
    const own = networkKeys(service);
    for (const link of service.texts("links") ?? []) {
      const { service: name, alias } = linkOf(link);
      const other = services.get(name);
      if (other === undefined || alias === name) continue;
      const aliases = found.get(name) ?? new Map<string, string[]>();
      found.set(name, aliases);
      for (const key of networkKeys(other)) {
        if (own.includes(key)) aliases.set(key, [...(aliases.get(key) ?? []), alias]);
      }
    }
  }
  return found;
}

export function serviceNetworks(
  service: Fields,
  networks: ReadonlyMap<string, Fields>,
  namespace: Namespace,
  links: Links = new Map(),
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
        Aliases: [
          ...new Set([
            ...(attachment?.texts("aliases") ?? []),
            name,
            ...(links.get(name)?.get(key) ?? []),
          ]),
        ],
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
  const ipamOptions = ipam?.textMap("options");
  const pools = (ipam?.items("config") ?? []).map((pool) => {
    const [IPRange, Gateway] = [pool.text("ip_range"), pool.text("gateway")];
    const AuxiliaryAddresses = pool.textMap("aux_addresses");
    return {
      Subnet: pool.text("subnet") ?? "",
      ...(IPRange === undefined ? {} : { IPRange }),
      ...(Gateway === undefined ? {} : { Gateway }),
      ...(AuxiliaryAddresses === undefined ? {} : { AuxiliaryAddresses }),
    };
  });
  const EnableIPv6 = fields.flag("enable_ipv6");
  if (fields.flag("enable_ipv4") === false) {
    throw new Refusal("networks of the swarm have IPv4", fields.at("enable_ipv4"));
  }
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
    ...(EnableIPv6 === undefined ? {} : { EnableIPv6 }),
    ...(ipam === undefined || (ipam.text("driver") === undefined && pools.length === 0)
      ? {}
      : {
          IPAM: {
            Driver: ipam.text("driver") ?? "",
            Config: pools,
            ...(ipamOptions === undefined ? {} : { Options: ipamOptions }),
          },
        }),
  };
}
