/**
 * Source ports of connections that the mesh leads on. The client's address is kept, and a client may
 * ask two nodes from one port of its own: led on to the same task as they came, both would be one
 * connection to it, and the second one's first packet would be taken for an old one's. So each node
 * has a part of the ports, and keeps the client's port only if it lies in there.
 */

import type { PlacedNetwork } from "./placed-network.ts";

const FIRST = 1024;
const COUNT = 65_536 - FIRST;
/** More would leave a busy client too few: beyond these, nodes share. */
const PARTS_MAX = 16;

/** Rules for the last of the hook behind routing; a node alone has nobody to differ from. */
export function sourcePortRules(ingress: PlacedNetwork | undefined): readonly string[] {
  if (ingress === undefined || ingress.peers.length === 0) return [];
  const ports = portsOf(
    ingress.own.nodeId,
    ingress.peers.map(({ nodeId }) => nodeId),
  );
  return ["tcp", "udp", "sctp"].map(
    (protocol) =>
      `ct status dnat oifname @ingress meta l4proto ${protocol} snat to :${ports.join("-")}`,
  );
}

/** First and last port of a node among others. */
export function portsOf(nodeId: string, others: readonly string[]): readonly [number, number] {
  const ids = [nodeId, ...others].sort();
  const parts = Math.min(2 ** Math.ceil(Math.log2(ids.length)), PARTS_MAX);
  const size = COUNT / parts;
  const first = FIRST + (ids.indexOf(nodeId) % parts) * size;
  return [first, first + size - 1];
}
