/**
 * Networks as the allocator knows them: their subnets, identifiers and addresses in use. All of it
 * is derived from objects of the store (networks, the virtual addresses of services, the attachments
 * of tasks and nodes), so nothing can leak: what no object holds is free.
 *
 * A network that was removed while tasks still hold its addresses lingers: its subnet and identifiers
 * are not used again before the last of them let go.
 */

import { create } from "@bufbuild/protobuf";
import { err, ok, type Result } from "#base/result.ts";
import { VNI_FIRST, VNI_LAST } from "#model/defaults.ts";
import { type Prefix, parseIp, parsePrefix } from "#model/ip.ts";
import type { Network } from "#wire/gen/swarmkit/objects_pb.js";
import type { NetworkSpec } from "#wire/gen/swarmkit/specs_pb.js";
import {
  DriverSchema,
  IPAMConfig_AddressFamily as Family,
  type IPAMConfig,
  IPAMConfigSchema,
  type IPAMOptions,
  IPAMOptionsSchema,
} from "#wire/gen/swarmkit/types_pb.js";
import { AddressPool, type AddressSource, withoutMask } from "./address-pool.ts";
import { LeasedPool, LeaseStock } from "./lease-stock.ts";
import { NumberPool } from "./number-pool.ts";
import type { SubnetSpace } from "./subnet-space.ts";

export const VNI_OPTION = "com.docker.network.driver.overlay.vxlanid_list";
const SERIAL_OPTION = "com.docker.network.ipam.serial";
/** Drivers whose networks exist on each node by itself; managers give them no addresses. */
const NODE_LOCAL_DRIVERS = new Set(["bridge", "host", "ipvlan", "macvlan", "null", "none"]);

interface Entry {
  readonly id: string;
  readonly subnets: string[];
  readonly pools: readonly AddressSource[];
  readonly vnis: readonly number[];
  /** Addresses in use that are not the pools' own (gateways, reserved ones). */
  held: number;
  removed: boolean;
}

export class NetworkTable {
  readonly #subnets: SubnetSpace;
  readonly #vnis = new NumberPool(VNI_FIRST, VNI_LAST);
  readonly #entries = new Map<string, Entry>();
  readonly #routes: () => readonly Prefix[];
  readonly #stockOf: (networkId: string) => LeaseStock;

  /**
   * `routes`: where routes of the nodes lead, which subnets that nobody chose keep clear of; `stockOf`:
   * what a network's address plug-in has given.
   */
  constructor(
    subnets: SubnetSpace,
    routes: () => readonly Prefix[] = () => [],
    stockOf: (networkId: string) => LeaseStock = () => new LeaseStock(() => undefined),
  ) {
    this.#subnets = subnets;
    this.#routes = routes;
    this.#stockOf = stockOf;
  }

  /** Subnets, identifiers and addresses in use, for checks that nothing leaks. */
  usage(): { readonly subnets: number; readonly vnis: number; readonly addresses: number } {
    let addresses = 0;
    for (const entry of this.#entries.values()) addresses += entry.held;
    return { subnets: this.#subnets.used, vnis: this.#vnis.used, addresses };
  }

  /** Whether the network is there, or lingers. */
  knows(networkId: string): boolean {
    return this.#entries.has(networkId);
  }

  has(networkId: string): boolean {
    return this.#entries.get(networkId)?.removed === false;
  }

  /** Takes over a network that was allocated before. */
  restore(network: Network): void {
    if (this.has(network.id)) return;
    if (isNodeLocal(network)) {
      this.#add(network.id, [], []);
      return;
    }
    const configs = network.ipam?.configs ?? [];
    for (const { subnet } of configs) this.#subnets.occupy(subnet);
    const vnis = vnisIn(network.driverState?.options[VNI_OPTION]);
    for (const vni of vnis) this.#vnis.take(vni);
    this.#add(network.id, configs, vnis, isOfAddressPlugin(network));
  }

  /** An address plug-in has not got back a pool of the network yet: its subnet stays taken. */
  holdPool(networkId: string, subnet: string): void {
    const none = { id: networkId, subnets: [], pools: [], vnis: [], held: 0, removed: true };
    const entry = this.#entries.get(networkId) ?? none;
    if (!entry.subnets.includes(subnet)) {
      this.#subnets.occupy(subnet);
      entry.subnets.push(subnet);
    }
    entry.held += 1;
    this.#entries.set(networkId, entry);
  }

  letGoPool(networkId: string): void {
    const entry = this.#entries.get(networkId);
    if (entry === undefined) return;
    entry.held -= 1;
    this.#forgetIfFree(entry);
  }

  /** Gives a new network its subnets and identifiers, or says why it cannot have them. */
  allocate(network: Network): Result<Network> {
    const spec = network.spec;
    const name = driverOf(network);
    const options = spec?.driverConfig?.options ?? {};
    if (isNodeLocal(network)) {
      this.#add(network.id, [], []);
      return ok({ ...network, driverState: create(DriverSchema, { name, options }) });
    }
    const configs = this.#allocateSubnets(network);
    if (!configs.ok) return configs;
    const plugin = isOfPlugin(network);
    const vnis = this.#allocateVnis(name, options[VNI_OPTION], configs.value.length);
    if (!vnis.ok) {
      for (const { subnet } of isOfAddressPlugin(network) ? [] : configs.value)
        this.#subnets.release(subnet);
      return vnis;
    }
    const leased = isOfAddressPlugin(network);
    const entry = this.#add(network.id, configs.value, vnis.value, leased);
    const driverState = create(DriverSchema, {
      name,
      options:
        vnis.value.length === 0 ? options : { ...options, [VNI_OPTION]: vnis.value.join(",") },
    });
    return ok({
      ...network,
      ...(plugin ? {} : { driverState }),
      ...(leased ? {} : { ipam: this.#ipamOf(network, configs.value, entry) }),
    });
  }

  #ipamOf({ spec }: Network, configs: readonly IPAMConfig[], { pools }: Entry): IPAMOptions {
    const ipamDriver = spec?.ipam?.driver;
    return create(IPAMOptionsSchema, {
      driver: create(DriverSchema, {
        name: ipamDriver?.name ? ipamDriver.name : "default",
        options: { ...ipamDriver?.options, [SERIAL_OPTION]: "true" },
      }),
      configs: configs.map((config, at) =>
        create(IPAMConfigSchema, { ...config, gateway: pools[at]?.gateway ?? "" }),
      ),
    });
  }

  remove(networkId: string): void {
    const entry = this.#entries.get(networkId);
    if (entry === undefined) return;
    entry.removed = true;
    this.#forgetIfFree(entry);
  }

  /** Whether its members get addresses from here. */
  hasAddresses(networkId: string): boolean {
    return (this.#entries.get(networkId)?.pools.length ?? 0) > 0;
  }

  /** One address of each family that the network has, or undefined when it is full. */
  takeAddresses(networkId: string): string[] | undefined {
    return this.#take(this.#entries.get(networkId), () => true);
  }

  #take(entry: Entry | undefined, wanted: (family: 4 | 6) => boolean): string[] | undefined {
    if (entry === undefined || entry.removed) return undefined;
    const addresses: string[] = [];
    for (const family of familiesOf(entry).filter(wanted)) {
      const address = takeFirst(entry.pools.filter(({ subnet }) => subnet.family === family));
      if (address === undefined) {
        for (const taken of addresses) release(entry, taken);
        return undefined;
      }
      addresses.push(address);
    }
    entry.held += addresses.length;
    return addresses;
  }

  /** How many addresses a member has here: one of each family. */
  addressCount(networkId: string): number {
    const entry = this.#entries.get(networkId);
    return entry === undefined ? 0 : familiesOf(entry).length;
  }

  /** One address of each family that is not among `known`, or undefined when it is full. */
  complete(networkId: string, known: readonly string[]): string[] | undefined {
    const entry = this.#entries.get(networkId);
    const has = new Set(known.map((address) => parseIp(withoutMask(address))?.family));
    return this.#take(entry, (family) => !has.has(family));
  }

  /** Takes this very address: its stored form, or undefined when somebody has it. */
  occupy(networkId: string, address: string): string | undefined {
    const entry = this.#entries.get(networkId);
    const pool = entry?.pools.find((one) => one.contains(address));
    if (entry === undefined || pool?.occupy(address) !== true) return undefined;
    entry.held += 1;
    return pool.normal(address);
  }

  /** The same for one that somebody chose, who has no right to it yet. */
  claim(networkId: string, address: string): string | undefined {
    const entry = this.#entries.get(networkId);
    const pool = entry?.pools.find((one) => one.contains(address));
    if (entry === undefined || pool?.claim(address) !== true) return undefined;
    entry.held += 1;
    return pool.normal(address);
  }

  /** Families of the addresses that a member has here, IPv4 first. */
  families(networkId: string): readonly (4 | 6)[] {
    const entry = this.#entries.get(networkId);
    return entry === undefined ? [] : familiesOf(entry);
  }

  /** What is said for want of an address; undefined where it is simply full. */
  lacks(networkId: string, wish?: string): string | undefined {
    const entry = this.#entries.get(networkId);
    const leased = entry?.pools.some((pool) => pool instanceof LeasedPool) === true;
    return leased ? this.#stockOf(networkId).reason(wish) : undefined;
  }

  /** Lets an address go; false if nobody had it. */
  release(networkId: string, address: string): boolean {
    const entry = this.#entries.get(networkId);
    if (entry === undefined || !release(entry, address)) return false;
    entry.held -= 1;
    this.#forgetIfFree(entry);
    return true;
  }

  #add(id: string, configs: readonly IPAMConfig[], vnis: readonly number[], leased = false): Entry {
    const pools = configs.flatMap((config): AddressSource[] => {
      const subnet = parsePrefix(config.subnet);
      if (subnet === undefined) return [];
      if (leased) return [new LeasedPool(subnet, config.gateway, this.#stockOf(id))];
      return [new AddressPool(subnet, config)];
    });
    const subnets = configs.map(({ subnet }) => subnet);
    // Its pools may have been told of before it.
    const held = this.#entries.get(id)?.held ?? 0;
    const entry = { id, subnets, pools, vnis, held, removed: false };
    this.#entries.set(id, entry);
    return entry;
  }

  #forgetIfFree(entry: Entry): void {
    if (!entry.removed || entry.held > 0) return;
    for (const subnet of entry.subnets) this.#subnets.release(subnet);
    for (const vni of entry.vnis) this.#vnis.release(vni);
    this.#entries.delete(entry.id);
  }

  #allocateSubnets(network: Network): Result<readonly IPAMConfig[]> {
    const configs: IPAMConfig[] = [];
    if (isOfAddressPlugin(network)) {
      // That they overlap with no others was seen to when they were written down.
      const given = network.ipam?.configs ?? [];
      for (const { subnet } of given) this.#subnets.occupy(subnet);
      return ok(given);
    }
    for (const config of wantedSubnets(network.spec)) {
      const family = config.family === Family.IPV6 ? 6 : 4;
      const subnet =
        config.subnet === "" ? this.#subnets.cut(family, this.#routes()) : config.subnet;
      const taken = subnet !== undefined && (config.subnet === "" || this.#subnets.occupy(subnet));
      if (!taken) {
        for (const { subnet } of configs) this.#subnets.release(subnet);
        return err(
          subnet === undefined
            ? `could not find an available, non-overlapping IPv${family} address pool among the defaults to assign to the network`
            : "invalid pool request: Pool overlaps with other one on this address space",
        );
      }
      configs.push({ ...config, subnet });
    }
    return ok(configs);
  }

  #allocateVnis(driver: string, wanted: string | undefined, count: number): Result<number[]> {
    if (driver !== "overlay") return ok([]);
    const vnis: number[] = [];
    const given = vnisIn(wanted);
    for (let at = 0; at < count; at++) {
      const own = given[at];
      const vni = own === undefined ? this.#vnis.takeLowest() : own;
      if (vni === undefined || (own !== undefined && !this.#takeOwnVni(own))) {
        for (const taken of vnis) this.#vnis.release(taken);
        return err(
          vni === undefined
            ? "no VXLAN network identifier is free"
            : `requested VXLAN network identifier ${vni} is already in use`,
        );
      }
      vnis.push(vni);
    }
    return ok(vnis);
  }

  /** Identifiers below the managed range are the user's own responsibility. */
  #takeOwnVni(vni: number): boolean {
    return !this.#vnis.contains(vni) || this.#vnis.take(vni);
  }
}

/** The name of the driver that a network was made with. */
export function driverOf(network: Network): string {
  const name = network.spec?.driverConfig?.name ?? "";
  return name === "" ? "overlay" : name;
}

export function isNodeLocal(network: Network): boolean {
  return NODE_LOCAL_DRIVERS.has(driverOf(network));
}

/** Whether its data path is a plug-in's on each node; addresses are given by managers all the same. */
export function isOfPlugin(network: Network): boolean {
  return isPluginDriver(driverOf(network));
}

export function isPluginDriver(name: string): boolean {
  return name !== "" && name !== "overlay" && !NODE_LOCAL_DRIVERS.has(name);
}

/** The plug-in that gives the network's addresses; "" for those that managers give. */
export function addressDriverOf({ spec, ipam }: Network): string {
  const name = (ipam ?? spec?.ipam)?.driver?.name ?? "";
  return name === "default" ? "" : name;
}

export function isOfAddressPlugin(network: Network): boolean {
  return addressDriverOf(network) !== "" && !isNodeLocal(network);
}

/** Its address plug-in has yet to give it pools. */
export function awaitsPools(network: Network): boolean {
  return isOfAddressPlugin(network) && !isAllocated(network) && network.ipam === undefined;
}

export function waitsForPools(network: Network): string {
  return `waits for a pool of IPAM driver ${addressDriverOf(network)}`;
}

/** It has its subnets, and its plug-in has yet to say what it makes of them. */
export function awaitsPlugin(network: Network): boolean {
  return isOfPlugin(network) && !isAllocated(network) && network.ipam !== undefined;
}

/** What is said of a network that only its plug-in keeps waiting. */
export function waitsForPlugin(network: Network): string {
  return `waits for the plugin "${driverOf(network)}"`;
}

/** What those who need the network say while it has not. */
export function notAllocated({ id, spec, allocationError }: Network): string {
  const reason = allocationError === "" ? "" : `: ${allocationError}`;
  return `network ${spec?.annotations?.name ?? id} is not allocated yet${reason}`;
}

/** Whether the network has been given what it needs. */
export function isAllocated(network: Network): boolean {
  return network.driverState !== undefined;
}

export function vnisIn(list: string | undefined): number[] {
  return (list ?? "")
    .split(",")
    .map((text) => Number(text.trim()))
    .filter((vni) => Number.isInteger(vni) && vni > 0 && vni <= VNI_LAST);
}

/** IPv4 first, in whatever order the subnets were given. */
function familiesOf({ pools }: Entry): (4 | 6)[] {
  return ([4, 6] as const).filter((family) => pools.some(({ subnet }) => subnet.family === family));
}

/** The subnets of the spec, with one of each family that the network needs and nobody chose. */
function wantedSubnets(spec: NetworkSpec | undefined): IPAMConfig[] {
  const given = (spec?.ipam?.configs ?? []).map((config) => ({
    ...config,
    family: parsePrefix(config.subnet)?.family === 6 ? Family.IPV6 : Family.IPV4,
  }));
  const needed = spec?.ipv6Enabled === true ? [Family.IPV4, Family.IPV6] : [Family.IPV4];
  const missing = needed.filter((family) => !given.some((config) => config.family === family));
  return [...given, ...missing.map((family) => create(IPAMConfigSchema, { family }))];
}

function takeFirst(pools: readonly AddressSource[]): string | undefined {
  for (const pool of pools) {
    const address = pool.takeNext();
    if (address !== undefined) return address;
  }
  return undefined;
}

function release(entry: Entry, address: string): boolean {
  return entry.pools.some((pool) => pool.contains(address) && pool.release(address));
}
