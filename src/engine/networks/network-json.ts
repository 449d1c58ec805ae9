/** Networks as the Engine API shows them, and the filters of their list. */

import { EngineError } from "#base/error.ts";
import type { EndpointSettings, NetworkContainer, NetworkInspect } from "#wire/docker/networks.ts";
import {
  checkFilters,
  lacksLabels,
  matchesLabels,
  readFlag,
  readUntil,
} from "../images/filters.ts";
import type { Filters } from "../ports.ts";
import type { LocalNetwork } from "./network.ts";
import { PREDEFINED } from "./network-spec.ts";
import type { AttachmentRecord, EndpointRecord, NetworkRecord } from "./records.ts";

export function inspectLocal(
  network: LocalNetwork,
  attachments: ReadonlyMap<string, AttachmentRecord>,
): NetworkInspect {
  const { record } = network;
  const containers: Record<string, NetworkContainer> = {};
  for (const [containerId, endpoint] of network.endpoints) {
    containers[containerId] = containerOf(
      endpoint,
      attachments.get(containerId)?.containerName ?? "",
    );
  }
  return {
    Name: record.name,
    Id: record.id,
    Created: record.created,
    Scope: "local",
    Driver: record.driver,
    EnableIPv4: record.ipv4 ?? true,
    EnableIPv6: record.ipv6,
    IPAM: {
      Driver: record.ipamDriver,
      Options: record.ipamOptions,
      Config: isPredefinedDriver(record) ? [] : record.ipam.map(poolOf),
    },
    Internal: record.internal,
    Attachable: record.attachable,
    Ingress: false,
    ConfigFrom: { Network: record.configFrom ?? "" },
    ConfigOnly: record.configOnly ?? false,
    Containers: containers,
    Options: record.options,
    Labels: record.labels,
  };
}

function isPredefinedDriver({ driver, configOnly }: NetworkRecord): boolean {
  return driver === "host" || (driver === "null" && !configOnly);
}

function poolOf({ subnet, range, gateway, auxiliary }: LocalNetwork["record"]["ipam"][number]) {
  return {
    Subnet: subnet,
    ...(range === undefined ? {} : { IPRange: range }),
    ...(gateway === undefined ? {} : { Gateway: gateway }),
    ...(auxiliary === undefined ? {} : { AuxiliaryAddresses: auxiliary }),
  };
}

export function containerOf(endpoint: EndpointRecord, name: string): NetworkContainer {
  return {
    Name: name,
    EndpointID: endpoint.endpointId,
    MacAddress: endpoint.mac,
    IPv4Address: endpoint.ipv4 ?? "",
    IPv6Address: endpoint.ipv6 ?? "",
  };
}

/** What a container's inspect shows of its endpoint. */
export function endpointSettings(endpoint: EndpointRecord): EndpointSettings {
  const [ip4 = "", length4 = "0"] = (endpoint.ipv4 ?? "").split("/");
  const [ip6 = "", length6 = "0"] = (endpoint.ipv6 ?? "").split("/");
  const { settings } = endpoint;
  return {
    IPAMConfig: settings.IPAMConfig ?? null,
    Links: settings.Links ?? null,
    Aliases: settings.Aliases ?? null,
    MacAddress: endpoint.mac,
    DriverOpts: settings.DriverOpts ?? null,
    GwPriority: settings.GwPriority ?? 0,
    NetworkID: endpoint.networkId,
    EndpointID: endpoint.endpointId,
    Gateway: routerOf(endpoint.gateway4),
    IPAddress: ip4,
    IPPrefixLen: Number(length4),
    IPv6Gateway: routerOf(endpoint.gateway6),
    GlobalIPv6Address: ip6,
    GlobalIPv6PrefixLen: Number(length6),
    DNSNames: endpoint.names.length === 0 ? null : endpoint.names,
  };
}

/**
 * This host's networks and those of the swarm as one list. What the managers have removed may be here
 * for a moment longer, while its containers end: it is no network any more, and whoever were shown it
 * would build on it (`docker stack deploy` after `stack rm`). Undefined: they did not answer.
 */
export function withSwarm(
  here: readonly NetworkInspect[],
  ofSwarm: readonly NetworkInspect[] | undefined,
): readonly NetworkInspect[] {
  if (ofSwarm === undefined) return here;
  const known = new Set(ofSwarm.map(({ Id }) => Id));
  const ours = here.filter(({ Id, Scope }) => Scope !== "swarm" || known.has(Id));
  const shown = new Set(ours.map(({ Id }) => Id));
  return [...ours, ...ofSwarm.filter(({ Id }) => !shown.has(Id))];
}

const LIST_FILTERS = ["dangling", "driver", "id", "label", "name", "scope", "type"];

export function filterNetworks(
  networks: readonly NetworkInspect[],
  filters: Filters,
): readonly NetworkInspect[] {
  checkFilters(filters, LIST_FILTERS);
  const dangling = readFlag(filters, "dangling");
  const types = filters.get("type");
  const badType = types?.find((type) => type !== "custom" && type !== "builtin");
  if (badType !== undefined) {
    throw new EngineError("invalid-argument", `invalid filter: 'type'='${badType}'`);
  }
  const any = (key: string, test: (value: string) => boolean) =>
    filters.get(key) === undefined || (filters.get(key) ?? []).some(test);
  return networks.filter((network) => {
    const builtin = PREDEFINED.includes(network.Name);
    const unused = Object.keys(network.Containers).length === 0 && !builtin;
    return (
      any("driver", (value) => network.Driver === value) &&
      any("id", (value) => network.Id.startsWith(value)) &&
      any("name", (value) => network.Name.includes(value)) &&
      any("scope", (value) => network.Scope === value) &&
      any("type", (value) => (value === "builtin") === builtin) &&
      matchesLabels(filters.get("label"), network.Labels) &&
      (dangling === undefined || dangling === unused)
    );
  });
}

/** Whether the filters of a prune let a network go. */
export function pruneFilter(
  filters: Filters,
  nowMs: number,
): (created: string, labels: Readonly<Record<string, string>>) => boolean {
  checkFilters(filters, ["label", "label!", "until"]);
  const until = readUntil(filters, nowMs);
  return (created, labels) =>
    (until === undefined || Date.parse(created) < until) &&
    matchesLabels(filters.get("label"), labels) &&
    lacksLabels(filters.get("label!"), labels);
}

/** Of those that leave by the interface itself there is none to show. */
function routerOf(gateway: string | undefined): string {
  return gateway === undefined || gateway === "0.0.0.0" || gateway === "::" ? "" : gateway;
}
