/**
 * The devices of one overlay network on a host: a bridge that containers are plugged into, and on it
 * a VXLAN device that knows by table where every other address of the network is. Nothing is learned
 * from packets: MAC addresses, tunnel ends and answers to ARP all follow from the rows.
 */

import type { KernelInput, Route } from "./kernel.ts";
import { canonical, type PlacedNetwork, withPrefix } from "./placed-network.ts";

export interface OverlayPlan {
  readonly networkId: string;
  readonly bridge: string;
  readonly mac: string;
  /** The node's own, with prefix length; in IPv6 the link's too. */
  readonly addresses: readonly string[];
  readonly vxlan: string;
  readonly vni: number;
  readonly port: number;
  /** Outer address that packets leave from. */
  readonly local: string;
  readonly mtu: number;
  /** MAC address to tunnel end. */
  readonly fdb: ReadonlyMap<string, string>;
  /** Address to MAC address; what is not here is not answered. */
  readonly neighbours: ReadonlyMap<string, string>;
  readonly routes: readonly Route[];
  /** Interfaces of containers that are plugged into the bridge. */
  readonly members: readonly string[];
}

export function planOverlay(network: PlacedNetwork, input: KernelInput): OverlayPlan {
  const { id, own, peers, tasks, bridge, vxlan, vni, mtu, subnets } = network;
  const ends = new Map(peers.map(({ nodeId, dataPath }) => [nodeId, dataPath]));
  const fdb = new Map<string, string>();
  const neighbours = new Map<string, string>();
  for (const { nodeId, mac, v4, v6 } of [...peers, ...tasks]) {
    const end = ends.get(nodeId);
    if (end === undefined) continue;
    fdb.set(mac, end);
    for (const address of [v4, v6]) if (address !== undefined) neighbours.set(address, mac);
  }
  const addresses = [own.v4, own.v6].filter((address) => address !== undefined);
  return {
    networkId: id,
    bridge,
    mac: own.mac,
    addresses: [
      ...addresses.map((address) => withPrefix(address, subnets)),
      ...(own.v6 === undefined ? [] : [`${linkLocal(own.mac)}/64`]),
    ],
    vxlan,
    vni,
    port: input.dataPath.port,
    local: own.dataPath,
    mtu,
    fdb,
    neighbours,
    routes: subnets.map((subnet) => {
      const src = subnet.includes(":") ? own.v6 : own.v4;
      return { dev: bridge, dst: subnet, ...(src === undefined ? {} : { src }) };
    }),
    members: input.containers.flatMap(({ endpoints }) =>
      endpoints.filter(({ networkId }) => networkId === id).map((one) => one.hostInterface),
    ),
  };
}

/**
 * What the host asks its neighbours from. The kernel would make the same one, and not use it before
 * it has found nobody else with it.
 */
function linkLocal(mac: string): string {
  const [a = "0", b, c, d, e, f] = mac.split(":");
  const first = (Number.parseInt(a, 16) ^ 2).toString(16);
  const text = `fe80::${first}${b}:${c}ff:fe${d}:${e}${f}`;
  return canonical(text) ?? text;
}
