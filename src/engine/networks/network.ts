/**
 * A network in memory: its record, who is on it, and the addresses that follow from both. Networks
 * of the swarm are hosted here by whoever runs their data path: they have their own bridge, and
 * their addresses come with the endpoint.
 */

import { EngineError } from "#base/error.ts";
import { type Prefix, parsePrefix } from "#model/ip.ts";
import type { NetworkInspect } from "#wire/docker/networks.ts";
import type { NetworkSandbox } from "../ports.ts";
import { type AddressSpace, canonicalAddress, isUsable, nextAddress } from "./ipam.ts";
import { isRouted } from "./parent.ts";
import type { EndpointRecord, IpamRecord, NetworkRecord } from "./records.ts";

/** A network whose data path is somebody else's: an overlay of the swarm. */
export interface HostedNetwork {
  readonly id: string;
  readonly name: string;
  /** As `GET /networks/{id}` shows it, without containers. */
  inspect(): NetworkInspect;
  /** Bridge on this host that endpoints are plugged into. */
  readonly bridge: string;
  readonly mtu: number;
  /** Router of its containers, if they leave the network by it. */
  readonly gateway?: { readonly v4?: string; readonly v6?: string };
  /** Called when the endpoint is wired and before the container is told so. */
  attached?(sandbox: NetworkSandbox, endpoint: EndpointRecord): Promise<void>;
  detached?(containerId: string, endpoint: EndpointRecord): Promise<void>;
}

export const OPTION = {
  bridgeName: "com.docker.network.bridge.name",
  defaultBridge: "com.docker.network.bridge.default_bridge",
  masquerade: "com.docker.network.bridge.enable_ip_masquerade",
  icc: "com.docker.network.bridge.enable_icc",
  hostBinding: "com.docker.network.bridge.host_binding_ipv4",
  mtu: "com.docker.network.driver.mtu",
} as const;

export class LocalNetwork {
  readonly record: NetworkRecord;
  /** By container id. */
  readonly endpoints = new Map<string, EndpointRecord>();
  /** Set while it is being removed: nobody may join any more. */
  removing = false;
  readonly #taken = new Set<string>();

  constructor(record: NetworkRecord) {
    this.record = record;
    for (const { gateway, auxiliary } of record.ipam) {
      if (gateway !== undefined) this.#taken.add(gateway);
      for (const address of Object.values(auxiliary ?? {})) this.#taken.add(address);
    }
  }

  get isDefaultBridge(): boolean {
    return this.record.options[OPTION.defaultBridge] === "true";
  }

  /** Containers on it find each other by name: not on docker's predefined networks. */
  get hasNames(): boolean {
    const { bridge, remote } = this.record;
    return (bridge !== "" || remote === true) && !this.isDefaultBridge;
  }

  mtu(fallback: number): number {
    const mtu = Number(this.record.options[OPTION.mtu]);
    return Number.isInteger(mtu) && mtu > 0 ? mtu : fallback;
  }

  join(containerId: string, endpoint: EndpointRecord): void {
    this.endpoints.set(containerId, endpoint);
    for (const address of addressesOf(endpoint)) this.#taken.add(address);
  }

  leave(containerId: string): void {
    const endpoint = this.endpoints.get(containerId);
    if (endpoint === undefined) return;
    this.endpoints.delete(containerId);
    for (const address of addressesOf(endpoint)) this.#taken.delete(address);
  }

  /** An address with its prefix length: the one asked for, or the next; undefined without a pool. */
  allocate(family: 4 | 6, wanted: string | undefined): string | undefined {
    const pools = this.record.ipam.filter(({ subnet }) => subnet.includes(":") === (family === 6));
    if (pools.length === 0) {
      if (wanted === undefined || wanted === "") return undefined;
      throw invalidAddress(wanted);
    }
    return wanted === undefined || wanted === ""
      ? this.#allocateNext(pools)
      : this.#allocateThis(pools, wanted);
  }

  #allocateNext(pools: readonly IpamRecord[]): string {
    for (const pool of pools) {
      const space = spaceOf(pool);
      const address = nextAddress(space, (text) => this.#taken.has(text));
      if (address !== undefined) return `${address}/${space.subnet.length}`;
    }
    throw new EngineError(
      "resource-exhausted",
      `no available IPv${pools[0]?.subnet.includes(":") ? 6 : 4} addresses on this network's address pools: ${this.record.name} (${this.record.id})`,
    );
  }

  #allocateThis(pools: readonly IpamRecord[], wanted: string): string {
    const address = canonicalAddress(wanted);
    const pool = pools.find((candidate) => isUsable(spaceOf(candidate).subnet, wanted));
    if (address === undefined || pool === undefined) throw invalidAddress(wanted);
    if (this.#taken.has(address)) {
      throw new EngineError("internal", "Address already in use");
    }
    return `${address}/${spaceOf(pool).subnet.length}`;
  }

  gateway(family: 4 | 6): string | undefined {
    if (this.record.internal) return undefined;
    if (isRouted(this.record)) return family === 6 ? "::" : "0.0.0.0";
    return this.record.ipam.find(({ subnet }) => subnet.includes(":") === (family === 6))?.gateway;
  }
}

function invalidAddress(address: string): EngineError {
  return new EngineError(
    "invalid-argument",
    `invalid endpoint settings:\nno configured subnet contains IP address ${address}`,
  );
}

function spaceOf(pool: IpamRecord): AddressSpace & { subnet: Prefix } {
  const subnet = parsePrefix(pool.subnet);
  if (subnet === undefined) throw new EngineError("internal", `bad subnet ${pool.subnet}`);
  return { subnet, range: pool.range === undefined ? undefined : parsePrefix(pool.range) };
}

/** Addresses of an endpoint, without prefix length. */
export function addressesOf(endpoint: EndpointRecord): readonly string[] {
  return [endpoint.ipv4, endpoint.ipv6].flatMap((text) => text?.split("/")[0] ?? []);
}

/** False for host and none, which a container is on without an interface of its own. */
export function isWired(endpoint: EndpointRecord): boolean {
  return endpoint.interface !== "";
}

/** Whether the host holds an end of it: the other kinds live in the container's namespace alone. */
export function isPlugged(endpoint: EndpointRecord): boolean {
  return endpoint.hostInterface !== "";
}
