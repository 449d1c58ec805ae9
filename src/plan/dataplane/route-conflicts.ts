/**
 * Networks of the swarm that lie where a route of a node leads: on that node one of the two is out of
 * reach. Subnets that nobody chose avoid it; one that was chosen, or a node that came later, may not.
 */

import { type Prefix, parsePrefix, prefixesOverlap } from "#model/ip.ts";
import type { ReadView } from "#store/types.ts";
import type { Network, Node } from "#wire/gen/swarmkit/objects_pb.js";
import { isNodeLocal, isOfPlugin } from "../allocator/network-table.ts";

export interface RouteConflict {
  readonly nodeId: string;
  readonly hostname: string;
  readonly network: string;
  readonly subnet: string;
  readonly route: string;
}

/** Of one node with all networks. */
export function conflictsOfNode(view: ReadView, node: Node): RouteConflict[] {
  if ((node.description?.routes.length ?? 0) === 0) return [];
  return [...view.all("network")].flatMap((network) => conflictsOf(node, network));
}

/** Of one network with all nodes. */
export function conflictsOfNetwork(view: ReadView, network: Network): RouteConflict[] {
  return [...view.all("node")].flatMap((node) => conflictsOf(node, network));
}

function conflictsOf(node: Node, network: Network): RouteConflict[] {
  // A plug-in may lead a network by a route of the host.
  if (isNodeLocal(network) || isOfPlugin(network)) return [];
  const conflicts: RouteConflict[] = [];
  for (const { subnet } of network.ipam?.configs ?? []) {
    const prefix = parsePrefix(subnet);
    for (const route of node.description?.routes ?? []) {
      if (prefix === undefined || !hides(prefix, parsePrefix(route))) continue;
      conflicts.push({
        nodeId: node.id,
        hostname: node.description?.hostname ?? "",
        network: network.spec?.annotations?.name ?? network.id,
        subnet,
        route,
      });
    }
  }
  return conflicts;
}

/** A wider route gives way to the network's own; one as narrow or narrower takes from it. */
function hides(subnet: Prefix, route: Prefix | undefined): boolean {
  return route !== undefined && route.length >= subnet.length && prefixesOverlap(subnet, route);
}
