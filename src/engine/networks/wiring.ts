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
  writeSysctl,
} from "#platform/net/ip.ts";
import { interfaceIndex, openRouteSocket } from "#platform/net/rtnetlink.ts";
import { runInNetns } from "#platform/netns/netns.ts";
import {
  addAddress,
  createVeth,
  deleteLink,
  type NetlinkRequest,
  replaceDefaultRoute,
  setBridgePort,
  setLink,
} from "#wire/rtnetlink.ts";
import { linkLocalCidr } from "./endpoint-plan.ts";
import { macOf } from "./ipam.ts";
import { routeLoopback6 } from "./loopback6.ts";
import { isPlugged } from "./network.ts";
import { ensureParent, type Subinterface } from "./parent.ts";
import type { EndpointRecord, NetworkRecord } from "./records.ts";
import { giveBackCommands, routeCommands, takeCommands } from "./remote-link.ts";

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
  /** How it lies on its parent; absent = a veth pair to a bridge. */
  readonly on?: Subinterface;
}

const LINKS_AT_ONCE = 50;

export class Wiring {
  readonly #tag: string;
  readonly #log: Log;
  readonly #here = openRouteSocket();

  /** `tag` tells engines in one namespace apart. */
  constructor(tag: string, log: Log) {
    this.#tag = tag;
    this.#log = log;
  }

  close(): void {
    this.#here.close();
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
    const down = existing === undefined || !existing.flags.includes("UP");
    try {
      await ipBatch(commands);
      if (down) {
        // Neighbours are asked from the bridge's link-local address, which the kernel would keep back for
        // one to two seconds to look for twins (RFC 4862): nothing from outside would reach a container.
        this.#trySysctl(`net/ipv6/conf/${name}/accept_dad`, "0");
        await ipBatch([`link set dev ${name} up`]);
      }
    } catch (error) {
      if (existing === undefined) await ipBatchForce([`link del dev ${name}`]);
      throw new EngineError("internal", `cannot make the bridge ${name}: ${messageOf(error)}`, {
        cause: error,
      });
    }
    // Clients on 127.0.0.1 reach published ports; the ruleset guards loopback against the bridge.
    this.#trySysctl(`net/ipv4/conf/${name}/route_localnet`, "1");
    this.#trySysctl(`net/ipv6/conf/${name}/accept_ra`, "0");
    if (plan.ipv6) await routeLoopback6([name]);
    else this.#trySysctl(`net/ipv6/conf/${name}/disable_ipv6`, "1");
  }

  async removeLinks(names: readonly string[]): Promise<void> {
    for (let from = 0; from < names.length; from += LINKS_AT_ONCE) {
      await this.#here.runForce(names.slice(from, from + LINKS_AT_ONCE).map(deleteLink));
    }
  }

  /** One interface per endpoint in the namespace of `pid`, addressed and up. */
  async connect(wirings: readonly EndpointWiring[], pid: number, owner: string): Promise<void> {
    const netns = `/proc/${pid}/ns/net`;
    const plugged = wirings.filter(({ endpoint }) => isPlugged(endpoint));
    await this.#here.run(plugged.flatMap((wiring) => this.#plug(wiring, pid, owner)));
    await ipBatch(
      wirings.flatMap((wiring) => [
        ...subinterfaceCommands(wiring, pid),
        ...takeCommands(wiring.endpoint, pid),
      ]),
    );
    // Before the interfaces are up: they would take link-local addresses, and tell the others.
    await Promise.all(
      wirings.flatMap(({ endpoint }) => [
        ...(isPlugged(endpoint) ? [this.#tryDisableIpv6(endpoint.hostInterface)] : []),
        ...(hasIpv6(endpoint) ? [] : [this.#tryDisableIpv6(endpoint.interface, netns)]),
      ]),
    );
    const up = plugged.flatMap(({ endpoint, neighbours }) => {
      const name = endpoint.hostInterface;
      // With br_netfilter, who asks himself by a published port is sent back out of his own port.
      return [
        setBridgePort({ name, hairpin: true, isolated: !neighbours }),
        setLink({ name, up: true }),
      ];
    });
    await Promise.all([
      this.#here.run(up),
      runInside(pid, () => wirings.flatMap(({ endpoint }) => inside(endpoint))),
    ]);
    await ipBatch(
      wirings.flatMap(({ endpoint }) => routeCommands(endpoint)),
      netns,
    );
  }

  #plug({ endpoint, mtu }: EndpointWiring, pid: number, owner: string): readonly NetlinkRequest[] {
    const { hostInterface: name, interface: inner, mac, bridge } = endpoint;
    const alias = `${this.#tag}:${owner.slice(0, 12)}`;
    return [
      createVeth({ name, mtu, peer: { name: inner, mac, pid } }),
      setLink({ name, alias, master: interfaceIndex(bridge) }),
    ];
  }

  /** Takes one interface away from a container that goes on; fine when it is gone. */
  async disconnect(endpoint: EndpointRecord, pid: number): Promise<void> {
    const { hostInterface, interface: name, remote } = endpoint;
    const netns = `/proc/${pid}/ns/net`;
    if (remote !== undefined) {
      await ipBatchForce(giveBackCommands(endpoint), netns);
    } else if (hostInterface !== "") await this.removeLinks([hostInterface]);
    else if (name !== "") await ipBatchForce([`link del dev ${name}`], netns);
  }

  /** The interface of the host that a macvlan or ipvlan network lies on. */
  async ensureParent(record: NetworkRecord, links: readonly IpLink[]): Promise<void> {
    await ensureParent(record, links, this.#tag);
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
    const route = (gateway: Gateway | undefined) =>
      gateway === undefined
        ? []
        : [replaceDefaultRoute(interfaceIndex(gateway.interface), gateway.address)];
    await runInside(pid, () => [...route(gateways.v4), ...route(gateways.v6)]);
  }

  /** The host must forward, or nothing leaves a bridge. */
  enableForwarding(ipv6: boolean): void {
    setSysctl("net/ipv4/ip_forward", "1");
    if (ipv6) this.#trySysctl("net/ipv6/conf/all/forwarding", "1");
  }

  async #tryDisableIpv6(name: string, netns?: string): Promise<void> {
    const path = `net/ipv6/conf/${name}/disable_ipv6`;
    try {
      await writeSysctl(path, "1", netns);
    } catch (error) {
      this.#log.debug("sysctl not set", { path, reason: messageOf(error) });
    }
  }

  #trySysctl(path: string, value: string): void {
    try {
      setSysctl(path, value);
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

/** Carries out what `plan` asks for, both in the network namespace of a process. */
async function runInside(pid: number, plan: () => readonly NetlinkRequest[]): Promise<void> {
  const { socket, requests } = runInNetns(`/proc/${pid}/ns/net`, () => {
    const requests = plan();
    return { socket: openRouteSocket(), requests };
  });
  try {
    await socket.run(requests);
  } finally {
    socket.close();
  }
}

function hasIpv6({ ipv6, settings }: EndpointRecord): boolean {
  const linkLocal = settings.IPAMConfig?.LinkLocalIPs ?? [];
  return ipv6 !== undefined || linkLocal.some((address) => address.includes(":"));
}

function subinterfaceCommands({ endpoint, mtu, on }: EndpointWiring, pid: number): string[] {
  if (on === undefined) return [];
  const { bridge: parent, interface: name, mac } = endpoint;
  const address = mac === "" ? "" : ` address ${mac}`;
  const settings = `mtu ${mtu} type ${on.kind} mode ${on.mode}${on.flag === "" ? "" : ` ${on.flag}`}`;
  return [`link add link ${parent} name ${name} netns ${pid}${address} ${settings}`];
}

function inside(endpoint: EndpointRecord): readonly NetlinkRequest[] {
  const { interface: name, ipv4, ipv6, settings } = endpoint;
  const index = interfaceIndex(name);
  const linkLocal = settings.IPAMConfig?.LinkLocalIPs ?? [];
  return [
    setLink({ name: "lo", up: true }),
    ...(ipv4 === undefined ? [] : [addAddress(index, ipv4)]),
    ...(ipv6 === undefined ? [] : [addAddress(index, ipv6)]),
    ...linkLocal.flatMap((address) => {
      const cidr = linkLocalCidr(address);
      return cidr === undefined ? [] : [addAddress(index, cidr)];
    }),
    setLink({ name, up: true }),
  ];
}

/** What the bridge of a network has to look like. */
export function bridgePlan(record: NetworkRecord, mtu: number): BridgePlan {
  const addresses = record.ipam.flatMap(({ subnet, gateway }) =>
    gateway === undefined ? [] : [`${gateway}/${subnet.split("/")[1] ?? ""}`],
  );
  const first = addresses.find((address) => !address.includes(":"))?.split("/")[0] ?? "";
  // Without IPv4 it follows from the network's id.
  const octets = record.id.slice(0, 8).match(/../g) ?? [];
  const mac = first === "" ? ["02", "42", ...octets].join(":") : macOf(first);
  return { name: record.bridge, mtu, mac, addresses, ipv6: record.ipv6 };
}
