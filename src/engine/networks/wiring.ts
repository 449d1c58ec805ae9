/**
 * The kernel's side of local networks: bridges, veth pairs, addresses, routes. Everything of ours
 * carries an alias that says whose it is, so that a restarted engine knows its own leftovers.
 */

import { EngineError, messageOf } from "#base/error.ts";
import type { Log } from "#base/ports.ts";
import {
  type IpLink,
  ipBatch,
  ipBatchForce,
  ipLinks,
  ipRoutes,
  setSysctl,
} from "#platform/net/ip.ts";
import { macOf } from "./ipam.ts";
import type { EndpointRecord, NetworkRecord } from "./records.ts";

export interface BridgePlan {
  readonly name: string;
  readonly mtu: number;
  /** Its own, so that it does not change with the ports that come and go. */
  readonly mac: string;
  /** Addresses of the host on it, with prefix length. */
  readonly addresses: readonly string[];
  readonly ipv6: boolean;
}

export interface EndpointWiring {
  readonly endpoint: EndpointRecord;
  readonly mtu: number;
  /** False: containers on the bridge must not reach each other. */
  readonly neighbours: boolean;
}

export class Wiring {
  readonly #tag: string;
  readonly #log: Log;

  /** `tag` tells engines in one namespace apart. */
  constructor(tag: string, log: Log) {
    this.#tag = tag;
    this.#log = log;
  }

  links(): Promise<readonly IpLink[]> {
    return ipLinks();
  }

  /** CIDRs that the host reaches in some other way than by its default route. */
  async usedSubnets(): Promise<readonly string[]> {
    const [four, six] = await Promise.all([ipRoutes(), ipRoutes(undefined, "-6").catch(() => [])]);
    return [...four, ...six].flatMap(({ dst }) => {
      if (dst === "default" || dst.startsWith("fe80:") || dst.startsWith("ff00:")) return [];
      return [dst.includes("/") ? dst : `${dst}/${dst.includes(":") ? 128 : 32}`];
    });
  }

  isOurs(link: IpLink): boolean {
    return link.ifalias === this.#tag || (link.ifalias ?? "").startsWith(`${this.#tag}:`);
  }

  /** Makes the bridge, or mends one that is there. */
  async ensureBridge(plan: BridgePlan, links: readonly IpLink[]): Promise<void> {
    const { name, mtu, addresses } = plan;
    const existing = links.find(({ ifname }) => ifname === name);
    if (existing !== undefined && existing.linkinfo?.info_kind !== "bridge") {
      throw new EngineError("already-exists", `the interface ${name} exists and is no bridge`);
    }
    const held = (existing?.addr_info ?? []).map(({ local, prefixlen }) => `${local}/${prefixlen}`);
    const commands: string[] = [];
    if (existing === undefined) {
      const settings = `mtu ${mtu} address ${plan.mac} type bridge stp_state 0 forward_delay 0`;
      commands.push(`link add name ${name} ${settings}`);
      commands.push(`link set dev ${name} alias ${this.#tag}`);
    }
    for (const address of addresses) {
      if (held.includes(address)) continue;
      commands.push(`addr add ${address} dev ${name}${address.includes(":") ? " nodad" : ""}`);
    }
    if (existing === undefined || !existing.flags.includes("UP")) {
      commands.push(`link set dev ${name} up`);
    }
    try {
      await ipBatch(commands);
    } catch (error) {
      if (existing === undefined) await ipBatchForce([`link del dev ${name}`]);
      throw new EngineError("internal", `cannot make the bridge ${name}: ${messageOf(error)}`, {
        cause: error,
      });
    }
    // Clients on 127.0.0.1 reach published ports; the ruleset guards loopback against the bridge.
    this.#trySysctl(`net/ipv4/conf/${name}/route_localnet`, "1");
    this.#trySysctl(`net/ipv6/conf/${name}/accept_ra`, "0");
    if (!plan.ipv6) this.#trySysctl(`net/ipv6/conf/${name}/disable_ipv6`, "1");
  }

  async removeLinks(names: readonly string[]): Promise<void> {
    await ipBatchForce(names.map((name) => `link del dev ${name}`));
  }

  /** One veth pair per endpoint, its end in the namespace of `pid` addressed and up. */
  async connect(wirings: readonly EndpointWiring[], pid: number, owner: string): Promise<void> {
    const netns = `/proc/${pid}/ns/net`;
    await ipBatch(wirings.flatMap((wiring) => this.#hostCommands(wiring, pid, owner)));
    for (const { endpoint } of wirings) {
      const noIpv6 = endpoint.ipv6 === undefined;
      if (noIpv6) {
        this.#trySysctl(`net/ipv6/conf/${endpoint.interface}/disable_ipv6`, "1", netns);
      }
      this.#trySysctl(`net/ipv6/conf/${endpoint.hostInterface}/disable_ipv6`, "1");
    }
    const commands = ["link set dev lo up", ...wirings.flatMap(({ endpoint }) => inside(endpoint))];
    await ipBatch(commands, netns);
  }

  #hostCommands({ endpoint, mtu, neighbours }: EndpointWiring, pid: number, owner: string) {
    const { hostInterface: veth, interface: name, mac, bridge } = endpoint;
    const peer = `peer name ${name} address ${mac} mtu ${mtu} netns ${pid}`;
    return [
      `link add name ${veth} mtu ${mtu} type veth ${peer}`,
      `link set dev ${veth} alias ${this.#tag}:${owner.slice(0, 12)}`,
      `link set dev ${veth} master ${bridge}`,
      // With br_netfilter, who asks himself by a published port is sent back out of his own port.
      `link set dev ${veth} type bridge_slave hairpin on isolated ${neighbours ? "off" : "on"}`,
      `link set dev ${veth} up`,
    ];
  }

  /** A port that lost its bridge (somebody deleted and we remade it) is plugged in again. */
  async replug(endpoint: EndpointRecord): Promise<void> {
    const { hostInterface, bridge } = endpoint;
    await ipBatch([
      `link set dev ${hostInterface} master ${bridge}`,
      `link set dev ${hostInterface} up`,
    ]);
  }

  /** The default routes of a container, all at once. */
  async setGateways(
    pid: number,
    gateways: { readonly v4?: Gateway | undefined; readonly v6?: Gateway | undefined },
  ): Promise<void> {
    const netns = `/proc/${pid}/ns/net`;
    const route = (gateway: Gateway | undefined) =>
      gateway === undefined
        ? []
        : [`route replace default via ${gateway.address} dev ${gateway.interface}`];
    await ipBatch([...route(gateways.v4), ...route(gateways.v6)], netns);
  }

  /** The host must forward, or nothing leaves a bridge. */
  enableForwarding(ipv6: boolean): void {
    setSysctl("net/ipv4/ip_forward", "1");
    if (ipv6) this.#trySysctl("net/ipv6/conf/all/forwarding", "1");
  }

  #trySysctl(path: string, value: string, netns?: string): void {
    try {
      setSysctl(path, value, netns);
    } catch (error) {
      // A kernel without IPv6 has no such key, and needs none.
      this.#log.debug("sysctl not set", { path, reason: messageOf(error) });
    }
  }
}

export interface Gateway {
  readonly address: string;
  readonly interface: string;
}

function inside(endpoint: EndpointRecord): readonly string[] {
  const { interface: name, ipv4, ipv6 } = endpoint;
  return [
    ...(ipv4 === undefined ? [] : [`addr add ${ipv4} broadcast + dev ${name}`]),
    ...(ipv6 === undefined ? [] : [`addr add ${ipv6} dev ${name} nodad`]),
    `link set dev ${name} up`,
  ];
}

/** What the bridge of a network has to look like. */
export function bridgePlan(record: NetworkRecord, mtu: number): BridgePlan {
  const addresses = record.ipam.flatMap(({ subnet, gateway }) =>
    gateway === undefined ? [] : [`${gateway}/${subnet.split("/")[1] ?? ""}`],
  );
  const first = addresses.find((address) => !address.includes(":"))?.split("/")[0] ?? "";
  return { name: record.bridge, mtu, mac: macOf(first), addresses, ipv6: record.ipv6 };
}
