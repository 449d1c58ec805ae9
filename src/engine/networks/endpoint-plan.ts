/** What a container gets on a network, decided before the kernel hears of it. */

import { EngineError } from "#base/error.ts";
import { newHexId } from "#base/ids.ts";
import type { Random } from "#base/ports.ts";
import { parseIp, parsePrefix, prefixContains } from "#model/ip.ts";
import { macOfAddresses, withPrefix } from "#plan/dataplane/placed-network.ts";
import type { EndpointSettings } from "#wire/docker/networks.ts";
import { isUsable } from "./ipam.ts";
import type { HostedNetwork, LocalNetwork } from "./network.ts";
import type { EndpointRecord } from "./records.ts";
import type { Given } from "./remote-ipam.ts";

export interface EndpointOwner {
  readonly containerId: string;
  readonly containerName: string;
  readonly hostname: string;
}

/** Refuses what the default bridge and networks without a chosen subnet do not offer. */
export function checkSettings(network: LocalNetwork, settings: EndpointSettings): void {
  const wanted = settings.IPAMConfig;
  checkFamily(4, wanted?.IPv4Address);
  checkFamily(6, wanted?.IPv6Address);
  const hasAddress = (wanted?.IPv4Address ?? "") !== "" || (wanted?.IPv6Address ?? "") !== "";
  if (network.isDefaultBridge) {
    if (hasAddress) {
      throw new EngineError(
        "invalid-argument",
        "user specified IP address is supported on user defined networks only",
      );
    }
    if ((settings.Aliases ?? []).length > 0) {
      throw new EngineError(
        "invalid-argument",
        "network-scoped alias is supported only for containers in user defined networks",
      );
    }
  } else if (hasAddress && !network.record.userSubnet) {
    throw new EngineError(
      "invalid-argument",
      "user specified IP address is supported only when connecting to networks with user configured subnets",
    );
  }
  checkMac(settings.MacAddress);
  for (const address of wanted?.LinkLocalIPs ?? []) {
    if (linkLocalCidr(address) !== undefined) continue;
    throw new EngineError("invalid-argument", `invalid link local IP address: ${address}`);
  }
}

function checkFamily(family: 4 | 6, address: string | undefined): void {
  if (address === undefined || address === "" || parseIp(address)?.family === family) return;
  throw new EngineError("invalid-argument", `invalid IPv${family} address: ${address}`);
}

/** Before anything is made: an address that can never be given is refused at create. */
export function checkAddresses(network: LocalNetwork, settings: EndpointSettings): void {
  for (const address of [settings.IPAMConfig?.IPv4Address, settings.IPAMConfig?.IPv6Address]) {
    if (address === undefined || address === "") continue;
    const fits = network.record.ipam.some(({ subnet }) => {
      const prefix = parsePrefix(subnet);
      return prefix !== undefined && isUsable(prefix, address);
    });
    if (!fits) {
      throw new EngineError(
        "invalid-argument",
        `invalid endpoint settings:\nno configured subnet contains IP address ${address}`,
      );
    }
  }
}

/** A link-local address with its prefix length; undefined for any other. */
export function linkLocalCidr(address: string): string | undefined {
  const ip = parseIp(address);
  if (ip === undefined) return undefined;
  const found = LINK_LOCAL.find(({ prefix }) => prefixContains(prefix, ip));
  return found === undefined ? undefined : `${address}/${found.length}`;
}

/** Networks of RFC 3927 and RFC 4291, and the length that an address of theirs has. */
const LINK_LOCAL = [
  { prefix: { family: 4, value: 0xa9fe0000, length: 16 }, length: 16 },
  { prefix: { family: 6, value: 0xfe80n << 112n, length: 10 }, length: 64 },
] as const;

function checkMac(mac: string | undefined): void {
  if (mac === undefined || mac === "") return;
  if (!/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i.test(mac)) {
    throw new EngineError("invalid-argument", `invalid MAC address: ${mac}`);
  }
}

export function planLocalEndpoint(
  network: LocalNetwork,
  settings: EndpointSettings,
  owner: EndpointOwner,
  more: { readonly interface: string; readonly random: Random },
  given?: Given,
): EndpointRecord {
  checkSettings(network, settings);
  if (network.record.configOnly) {
    throw new EngineError("forbidden", "cannot create endpoint on configuration-only network");
  }
  const { ipv4, ipv6 } = given ?? allocate(network, settings);
  const { id, name, bridge, driver, remote } = network.record;
  const endpoint = compose({
    networkId: id,
    networkName: name,
    bridge,
    ipv4,
    ipv6,
    gateway4: network.gateway(4),
    gateway6: ipv6 === undefined ? undefined : network.gateway(6),
    names: network.hasNames ? dnsNames(owner, settings) : [],
    settings,
    ...more,
  });
  const held = given === undefined ? {} : { held: given.held };
  if (remote === true) {
    // Routers are the plug-in's to name, and so is a MAC address that nobody has chosen.
    const { gateway4: _4, gateway6: _6, ...rest } = endpoint;
    const mac = settings.MacAddress?.toLowerCase() || given?.mac || "";
    const end = { driver, stage: "planned" } as const;
    return { ...rest, ...held, hostInterface: "", mac, remote: end };
  }
  if (driver === "bridge") return { ...endpoint, ...held, mac: given?.mac ?? endpoint.mac };
  if (driver === "ipvlan") {
    if ((settings.MacAddress ?? "") !== "") {
      throw new EngineError(
        "invalid-argument",
        "ipvlan interfaces do not support custom mac address assignment",
      );
    }
    // It is the parent's.
    return { ...endpoint, ...held, hostInterface: "", mac: "" };
  }
  if (driver === "macvlan") return { ...endpoint, ...held, hostInterface: "" };
  return { ...endpoint, hostInterface: "", interface: "", mac: "" };
}

function allocate(network: LocalNetwork, { IPAMConfig }: EndpointSettings) {
  return {
    ipv4: network.allocate(4, IPAMConfig?.IPv4Address),
    ipv6: network.record.ipv6 ? network.allocate(6, IPAMConfig?.IPv6Address) : undefined,
  };
}

/** Addresses of a swarm network come from the managers, with the endpoint. */
export function planHostedEndpoint(
  network: HostedNetwork,
  settings: EndpointSettings,
  owner: EndpointOwner,
  more: { readonly interface: string; readonly random: Random },
): EndpointRecord {
  if ((settings.MacAddress ?? "") !== "") {
    throw new EngineError(
      "invalid-argument",
      `a container's MAC address on the swarm's network ${network.name} follows from its IP address: it cannot be chosen`,
    );
  }
  const subnets = (network.inspect().IPAM.Config ?? []).flatMap(({ Subnet }) => Subnet ?? []);
  const ipv4 = withLength(settings.IPAMConfig?.IPv4Address, subnets);
  const ipv6 = withLength(settings.IPAMConfig?.IPv6Address, subnets);
  if (ipv4 === undefined && ipv6 === undefined) {
    throw new EngineError(
      "failed-precondition",
      `the swarm has not given the container an address on network ${network.name}`,
    );
  }
  return compose({
    networkId: network.id,
    networkName: network.name,
    bridge: network.bridge,
    ipv4,
    ipv6,
    gateway4: ipv4 === undefined ? undefined : network.gateway?.v4,
    gateway6: ipv6 === undefined ? undefined : network.gateway?.v6,
    names: dnsNames(owner, settings),
    settings,
    ...more,
  });
}

/** Networks may have several subnets of a family. */
function withLength(address: string | undefined, subnets: readonly string[]): string | undefined {
  if (address === undefined || address === "") return undefined;
  return address.includes("/") ? address : withPrefix(address, subnets);
}

interface EndpointParts {
  readonly networkId: string;
  readonly networkName: string;
  readonly bridge: string;
  readonly ipv4: string | undefined;
  readonly ipv6: string | undefined;
  readonly gateway4: string | undefined;
  readonly gateway6: string | undefined;
  readonly names: readonly string[];
  readonly settings: EndpointSettings;
  readonly interface: string;
  readonly random: Random;
}

function compose(parts: EndpointParts): EndpointRecord {
  const { ipv4, ipv6, gateway4, gateway6, settings, random, ...rest } = parts;
  const address = ipv4?.split("/")[0];
  const wantedMac = settings.MacAddress?.toLowerCase() ?? "";
  return {
    ...rest,
    endpointId: newHexId(random),
    hostInterface: `veth${newHexId(random, 4)}`,
    mac: wantedMac !== "" ? wantedMac : macFor(address, ipv6, random),
    ...(ipv4 === undefined ? {} : { ipv4 }),
    ...(ipv6 === undefined ? {} : { ipv6 }),
    ...(gateway4 === undefined ? {} : { gateway4 }),
    ...(gateway6 === undefined ? {} : { gateway6 }),
    priority: settings.GwPriority ?? 0,
    settings,
  };
}

/** The same as others on a swarm's network take it to be. */
function macFor(ipv4: string | undefined, ipv6: string | undefined, random: Random): string {
  return macOfAddresses([ipv4, ipv6].filter((one) => one !== undefined)) ?? randomMac(random);
}

function randomMac(random: Random): string {
  const bytes = [...random.bytes(4)].map((byte) => byte.toString(16).padStart(2, "0"));
  return `02:42:${bytes.join(":")}`;
}

/** Name, aliases, short id, hostname: each once, in docker's order. */
export function dnsNames(owner: EndpointOwner, settings: EndpointSettings): readonly string[] {
  const short = owner.containerId.slice(0, 12);
  const names = [owner.containerName, ...(settings.Aliases ?? []), short, owner.hostname];
  return [...new Set(names.filter((name) => name !== ""))];
}

/** The larger priority first, then by name: docker's order, whatever order they were added in. */
export function byPreference(endpoints: readonly EndpointRecord[]): readonly EndpointRecord[] {
  return [...endpoints].sort(
    (a, b) => b.priority - a.priority || (a.networkName < b.networkName ? -1 : 1),
  );
}

/** The endpoints that the default routes lead by: the preferred ones of those that have a gateway. */
export function gatewayEndpoints(endpoints: readonly EndpointRecord[]): {
  readonly v4: EndpointRecord | undefined;
  readonly v6: EndpointRecord | undefined;
} {
  const ordered = byPreference(endpoints);
  return {
    v4: ordered.find(({ gateway4 }) => gateway4 !== undefined),
    v6: ordered.find(({ gateway6 }) => gateway6 !== undefined),
  };
}
