/**
 * Encrypted networks, pure: their VXLAN packets travel between addresses that exist inside WireGuard
 * only, and follow from the nodes' public keys. WireGuard lets a packet from such an address in only
 * if the key of that address has signed for it, so that the address is the identity.
 */

import { formatIpv6 } from "#model/ip.ts";
import type { KernelInput, Route } from "./kernel.ts";
import type { PlacedNetwork } from "./placed-network.ts";

/** UDP port where a node does not say another. */
export const WIREGUARD_PORT = 51_820;
/** What may leave by WireGuard, and by nothing else: the letters of our name behind "fd". */
export const INNER_PREFIX = "fd73:6b65::/32";
const INNER_FIRST = 0xfd736b65n;
const KEY_BYTES = 32;
/** WireGuard's own headers, over IPv6. */
const OVERHEAD = 80;

export interface Encryption {
  /** Interface of WireGuard. */
  readonly device: string;
  readonly publicKey: Uint8Array;
  /** UDP port that this node listens on. */
  readonly port: number;
}

export interface WireguardPeer {
  /** Hexadecimal. */
  readonly publicKey: string;
  /** Where its packets go to, unless it was heard from elsewhere. */
  readonly endpoint: string;
  readonly address: string;
}

export interface WireguardPlan {
  readonly device: string;
  /** This node's address inside. */
  readonly address: string;
  readonly mtu: number;
  readonly port: number;
  /** In order of their addresses. */
  readonly peers: readonly WireguardPeer[];
}

/** Undefined for what is no key: a node without WireGuard has none. */
export function innerAddress(publicKey: Uint8Array): string | undefined {
  if (publicKey.length !== KEY_BYTES) return undefined;
  const low = publicKey.slice(0, 12).reduce((value, byte) => (value << 8n) | BigInt(byte), 0n);
  return formatIpv6((INNER_FIRST << 96n) | low);
}

export function innerMtu(underlay: number): number {
  return underlay - OVERHEAD;
}

/** Undefined while no network here is encrypted. */
export function planWireguard(
  networks: readonly PlacedNetwork[],
  { encryption, dataPath }: KernelInput,
): WireguardPlan | undefined {
  const secret = networks.filter(({ table }) => table.encrypted);
  const [first] = secret;
  if (first === undefined || encryption === undefined) return undefined;
  const peers = new Map<string, WireguardPeer>();
  for (const network of secret) {
    for (const { dataPath: address, outer, publicKey, wireguardPort } of network.peers) {
      const host = outer.includes(":") ? `[${outer}]` : outer;
      const endpoint = `${host}:${wireguardPort === 0 ? WIREGUARD_PORT : wireguardPort}`;
      peers.set(address, { publicKey: hex(publicKey), endpoint, address });
    }
  }
  return {
    device: encryption.device,
    address: first.own.dataPath,
    mtu: innerMtu(dataPath.mtuOf(first.own.outer)),
    port: encryption.port,
    peers: [...peers.values()].sort((a, b) => (a.address < b.address ? -1 : 1)),
  };
}

export function wireguardRoutes(plan: WireguardPlan | undefined): readonly Route[] {
  return plan === undefined ? [] : [{ dev: plan.device, dst: INNER_PREFIX }];
}

function hex(bytes: Uint8Array): string {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
