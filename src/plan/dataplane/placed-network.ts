/**
 * A network's table as one node sees it: names of its devices, its own addresses, and rows with their
 * addresses in one way of writing. A network that this node cannot take part in yet has no place.
 */

import {
  formatIpv4,
  formatIpv6,
  type Ip,
  parseIp,
  parsePrefix,
  prefixContains,
} from "#model/ip.ts";
import type { NetworkTable, TaskEndpoint } from "#wire/gen/skep/dataplane_pb.js";
import { isPluginDriver } from "../allocator/network-table.ts";
import { innerAddress, innerMtu } from "./encryption.ts";
import type { KernelInput } from "./kernel.ts";
import { withoutSilent } from "./reachability.ts";

const MTU_OPTION = "com.docker.network.driver.mtu";
/** VXLAN's headers, and the outer packet's. */
const OVERHEAD = { 4: 50, 6: 70 } as const;
const MTU_MIN = 576;

export interface Addresses {
  readonly v4: string | undefined;
  readonly v6: string | undefined;
}

export interface PlacedPeer extends Addresses {
  readonly nodeId: string;
  /** Where VXLAN packets go to: on an encrypted network an address inside WireGuard. */
  readonly dataPath: string;
  /** Its address outside. */
  readonly outer: string;
  readonly publicKey: Uint8Array;
  /** UDP port of its WireGuard; 0 = the usual one. */
  readonly wireguardPort: number;
  readonly mac: string;
  /** On the ingress network: where packets of that host itself come from. */
  readonly hostAddresses: readonly string[];
}

export interface PlacedTask extends Addresses {
  readonly taskId: string;
  readonly nodeId: string;
  readonly serviceId: string;
  readonly mac: string;
  readonly ready: boolean;
  /** It shall end, and its node is silent: nothing comes of its connections any more. */
  readonly lost?: true;
  readonly canary: boolean;
}

export interface PlacedNetwork {
  readonly id: string;
  readonly table: NetworkTable;
  /** False for a network of a plug-in, which makes its own way between containers. */
  readonly overlay: boolean;
  readonly bridge: string;
  readonly vxlan: string;
  readonly vni: number;
  readonly mtu: number;
  readonly subnets: readonly string[];
  /** This node on the network. */
  readonly own: PlacedPeer;
  /** The others, in order of their ids. */
  readonly peers: readonly PlacedPeer[];
  /** In order of their ids. */
  readonly tasks: readonly PlacedTask[];
}

/** Names fit the kernel's 15 characters; ids are random from their first character on. */
export function bridgeName(networkId: string): string {
  return `ov-${deviceId(networkId)}`;
}

export function vxlanName(networkId: string): string {
  return `vx-${deviceId(networkId)}`;
}

function deviceId(networkId: string): string {
  return networkId.replace(/[^A-Za-z0-9]/g, "_").slice(0, 12);
}

/** Undefined for a network that this node does not serve, or one that must not go in clear. */
export function placeNetwork(
  table: NetworkTable,
  { nodeId, dataPath, encryption, silentNodes }: KernelInput,
): PlacedNetwork | undefined {
  const overlay = table.driver === "overlay";
  if (!overlay && !isPluginDriver(table.driver)) return undefined;
  if (overlay && table.encrypted && encryption === undefined) return undefined;
  const peers = table.peers
    .flatMap((peer) => {
      const placed = addressesOf(peer.addresses) ?? withoutAddress(peer.nodeId);
      const outer = canonical(peer.dataPathAddr);
      // The node itself knows its key before the tables do.
      const ownKey = peer.nodeId === nodeId ? encryption?.publicKey : undefined;
      const publicKey = ownKey ?? peer.publicKey;
      const end = overlay && table.encrypted ? innerAddress(publicKey) : outer;
      if (outer === undefined || end === undefined) return [];
      const hostAddresses = peer.hostAddresses.flatMap((address) => canonical(address) ?? []);
      const { nodeId: id, wireguardPort } = peer;
      const keys = { publicKey, wireguardPort };
      return [{ ...placed, nodeId: id, dataPath: end, outer, ...keys, hostAddresses }];
    })
    .sort((a, b) => (a.nodeId < b.nodeId ? -1 : 1));
  const own = peers.find((peer) => peer.nodeId === nodeId);
  const vni = table.subnets.find((subnet) => subnet.vni !== 0)?.vni;
  if (own === undefined || (overlay && vni === undefined)) return undefined;
  const tasks = table.endpoints
    .flatMap((endpoint) => placeTask(endpoint) ?? [])
    .sort((a, b) => (a.taskId < b.taskId ? -1 : 1));
  return {
    id: table.networkId,
    table,
    overlay,
    bridge: bridgeName(table.networkId),
    vxlan: vxlanName(table.networkId),
    vni: vni ?? 0,
    mtu: mtuOf(table, underlayOf(table, dataPath.mtuOf(own.outer)), own.dataPath),
    subnets: table.subnets.flatMap(({ subnet }) => canonicalSubnet(subnet) ?? []),
    own,
    peers: peers.filter((peer) => peer !== own),
    tasks: withoutSilent(tasks, silentNodes),
  };
}

/** Rows are values, and most stay the same ones from one table to the next. */
const placedTasks = new WeakMap<TaskEndpoint, PlacedTask>();

function placeTask(endpoint: TaskEndpoint): PlacedTask | undefined {
  const known = placedTasks.get(endpoint);
  if (known !== undefined) return known;
  const { taskId, nodeId, serviceId, ready, canary } = endpoint;
  const addresses = addressesOf(endpoint.addresses);
  if (addresses === undefined) return undefined;
  const placed = { ...addresses, taskId, nodeId, serviceId, ready, canary };
  placedTasks.set(endpoint, placed);
  return placed;
}

function underlayOf({ encrypted }: NetworkTable, mtu: number): number {
  return encrypted ? innerMtu(mtu) : mtu;
}

function mtuOf(table: NetworkTable, underlay: number, address: string): number {
  const wanted = Number(table.options[MTU_OPTION]);
  if (Number.isInteger(wanted) && wanted >= MTU_MIN) return wanted;
  return Math.max(MTU_MIN, underlay - OVERHEAD[address.includes(":") ? 6 : 4]);
}

function addressesOf(texts: readonly string[]): (Addresses & { readonly mac: string }) | undefined {
  const [v4, v6] = ([4, 6] as const).map((family) => texts.find((one) => familyOf(one) === family));
  const mac = macOfAddresses(texts);
  return mac === undefined ? undefined : { v4: canonical(v4), v6: canonical(v6), mac };
}

/**
 * A node that the network had no address left for: its tasks are reached, and have no gateway. Any
 * MAC address will do that is nobody else's; tasks' begin with 02:42.
 */
function withoutAddress(nodeId: string): Addresses & { readonly mac: string } {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(nodeId)) {
    hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  }
  const digits = hash.toString(16).padStart(8, "0").match(/../g) ?? [];
  return { v4: undefined, v6: undefined, mac: ["02", "43", ...digits].join(":") };
}

/**
 * 02:42 and the IPv4 address, or the last bits of the IPv6 address of who has no other: every node
 * knows it without being told. Undefined without any address.
 */
export function macOfAddresses(texts: readonly string[]): string | undefined {
  const all = texts.flatMap((text) => parseIp(bare(text)) ?? []);
  const ip = all.find(({ family }) => family === 4) ?? all[0];
  if (ip === undefined) return undefined;
  const value = ip.family === 4 ? ip.value : Number(ip.value & 0xffffffffn);
  const bytes = [value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255];
  return ["02", "42", ...bytes.map((byte) => byte.toString(16).padStart(2, "0"))].join(":");
}

/** The network's subnet that an address lies in, with the address: "10.0.1.3/24". */
export function withPrefix(address: string, subnets: readonly string[]): string {
  const length = subnets.find((subnet) => contains(subnet, address))?.split("/")[1];
  return `${address}/${length ?? (address.includes(":") ? 128 : 32)}`;
}

export function contains(subnet: string, address: string): boolean {
  const [prefix, ip] = [parsePrefix(subnet), parseIp(address)];
  return prefix !== undefined && ip !== undefined && prefixContains(prefix, ip);
}

export function canonical(address: string | undefined): string | undefined {
  const ip = address === undefined ? undefined : parseIp(bare(address));
  return ip === undefined ? undefined : format(ip);
}

function canonicalSubnet(text: string): string | undefined {
  const prefix = parsePrefix(text);
  if (prefix === undefined) return undefined;
  const width = prefix.family === 4 ? 32 : 128;
  const shift = BigInt(width - prefix.length);
  const value = (BigInt(prefix.value) >> shift) << shift;
  const address = prefix.family === 4 ? formatIpv4(Number(value)) : formatIpv6(value);
  return `${address}/${prefix.length}`;
}

function format(ip: Ip): string {
  return ip.family === 4 ? formatIpv4(ip.value) : formatIpv6(ip.value);
}

function familyOf(text: string): 4 | 6 | undefined {
  return parseIp(bare(text))?.family;
}

function bare(text: string): string {
  return text.split("/")[0] ?? text;
}
