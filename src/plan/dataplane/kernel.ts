/**
 * What the kernel of a node must hold for the swarm's networks, as a pure function of the tables that
 * the node was told, and of the containers that it runs. Plain data: it can be printed, compared, and
 * brought about in any order of arrivals with the same end.
 */

import type { NetworkTable } from "#wire/gen/skep/dataplane_pb.js";
import { type ContainerPlan, planContainer } from "./balance.ts";
import {
  type Encryption,
  planWireguard,
  type WireguardPlan,
  wireguardRoutes,
} from "./encryption.ts";
import { type MeshPort, planMesh } from "./mesh.ts";
import { type OverlayPlan, planOverlay } from "./overlay-devices.ts";
import { type PlacedNetwork, placeNetwork } from "./placed-network.ts";
import type { NftTable } from "./ruleset.ts";

export interface DataPath {
  /** UDP port of VXLAN. */
  readonly port: number;
  /** Largest packet that leaves by the interface of an address. */
  readonly mtuOf: (address: string) => number;
}

/** A container's end on one of the swarm's networks. */
export interface LocalEndpoint {
  readonly networkId: string;
  /** Inside the container: "eth0". */
  readonly interface: string;
  /** On the host. */
  readonly hostInterface: string;
  /** With prefix length. */
  readonly addresses: readonly string[];
}

export interface LocalContainer {
  readonly id: string;
  readonly endpoints: readonly LocalEndpoint[];
}

export interface KernelInput {
  readonly tables: ReadonlyMap<string, NetworkTable>;
  readonly nodeId: string;
  readonly dataPath: DataPath;
  readonly containers: readonly LocalContainer[];
  /** Published ports that a program of this host has: "tcp/22". They stay its own. */
  readonly refusedPorts: ReadonlySet<string>;
  /** CIDRs of this host's addresses that mesh ports answer on whose service does not say; empty = all. */
  readonly meshAddresses: readonly string[];
  /** Connections to ::1 can be led into a bridge. */
  readonly loopback6: boolean;
  /** Nodes that do not answer this one any more. */
  readonly silentNodes: ReadonlySet<string>;
  /** Undefined where WireGuard is missing: then encrypted networks do not exist here. */
  readonly encryption: Encryption | undefined;
}

export interface Route {
  readonly dev: string;
  /** CIDR or "default", as `ip route` prints it. */
  readonly dst: string;
  readonly via?: string;
  readonly src?: string;
  /** Undefined = main. */
  readonly table?: number;
}

export interface Rule {
  readonly family: 4 | 6;
  readonly table: number;
  /** Packets with this mark that come in by this interface, or those from an address. */
  readonly match: { readonly mark: number; readonly iif: string } | { readonly from: string };
}

export interface KernelPlan {
  readonly overlays: readonly OverlayPlan[];
  readonly wireguard: WireguardPlan | undefined;
  /** Of the host's own namespace. */
  readonly routes: readonly Route[];
  readonly rules: readonly Rule[];
  readonly table: NftTable;
  /** Bridges that answers for ::1 come in by. */
  readonly loopback6: readonly string[];
  /** Published ports to hold on this host, whether or not anybody stands behind them. */
  readonly meshPorts: readonly MeshPort[];
  /** Where to ask whether a node is there: its own address on a network, the ingress one if it can be. */
  readonly peers: ReadonlyMap<string, string>;
  /** Tasks that connections may still be with, ready or not: network id → task id → addresses. */
  readonly tasks: ReadonlyMap<string, ReadonlyMap<string, readonly string[]>>;
  /** By container id. */
  readonly containers: ReadonlyMap<string, ContainerPlan>;
}

export function planKernel(input: KernelInput): KernelPlan {
  const placed = [...input.tables.values()]
    .flatMap((table) => placeNetwork(table, input) ?? [])
    .sort((a, b) => (a.id < b.id ? -1 : 1));
  // On a plug-in's network only what happens inside of containers is ours.
  const ours = placed.filter(({ overlay }) => overlay);
  const overlays = ours.map((network) => planOverlay(network, input));
  const mesh = planMesh(ours, input);
  const wireguard = planWireguard(ours, input);
  return {
    overlays,
    wireguard,
    routes: [
      ...overlays.flatMap(({ routes }) => routes),
      ...mesh.routes,
      ...wireguardRoutes(wireguard),
    ],
    rules: mesh.rules,
    table: mesh.table,
    loopback6: input.loopback6 ? ours.flatMap(leadsOut6) : [],
    meshPorts: mesh.ports,
    peers: peersOf(ours),
    tasks: new Map(placed.map((network) => [network.id, addressesByTask(network)])),
    containers: new Map(
      input.containers.flatMap((container) => {
        const plan = planContainer(container, placed);
        return plan === undefined ? [] : [[container.id, plan]];
      }),
    ),
  };
}

function leadsOut6({ bridge, own, table }: PlacedNetwork): readonly string[] {
  return own.v6 === undefined || table.internal ? [] : [bridge];
}

function peersOf(networks: readonly PlacedNetwork[]): ReadonlyMap<string, string> {
  const ingressLast = networks.toSorted(
    (a, b) => Number(a.table.ingress) - Number(b.table.ingress),
  );
  return new Map(
    ingressLast.flatMap(({ peers }) =>
      peers.flatMap(({ nodeId, v4, v6 }) => {
        const address = v4 ?? v6;
        return address === undefined ? [] : [[nodeId, address] as const];
      }),
    ),
  );
}

function addressesByTask({ tasks }: PlacedNetwork): ReadonlyMap<string, readonly string[]> {
  const live = tasks.filter(({ lost }) => lost !== true);
  return new Map(
    live.map(({ taskId, v4, v6 }) => [taskId, [v4, v6].filter((one) => one !== undefined)]),
  );
}
