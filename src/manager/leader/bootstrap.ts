/**
 * Networks that exist without having been asked for. A new swarm gets them with its first entry; a
 * leader adds what is missing, for swarms that were begun by another version. The ingress network
 * is made only where there is no network at all: an operator may remove it, and then it stays away.
 */

import { ingressNetwork, predefinedNetworks } from "#model/network.ts";
import type { Tx } from "#store/types.ts";

/** Adds what is missing of the networks that every swarm has. */
export function ensureNetworks(tx: Tx, newId: () => string): void {
  // A swarm without its cluster object has not begun yet.
  if (tx.count("cluster") === 0) return;
  if (tx.count("network") === 0) tx.create("network", ingressNetwork(newId()));
  for (const network of predefinedNetworks(newId)) {
    const name = network.spec?.annotations?.name ?? "";
    if (tx.byName("network", name) === undefined) tx.create("network", network);
  }
}
