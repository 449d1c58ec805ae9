/**
 * Networks that exist without having been asked for. A new swarm gets them with its first entry;
 * this covers swarms that were begun by another version. The ingress network is made only where
 * there is no network at all: an operator may remove it, and then it stays away.
 */

import { create } from "@bufbuild/protobuf";
import type { Tx } from "#store/types.ts";
import { type Network, NetworkSchema } from "#wire/gen/swarmkit/objects_pb.js";

const PREDEFINED_LABEL = "com.docker.swarm.predefined";
const PREDEFINED = ["bridge", "host"];

/** Adds what is missing of the networks that every swarm has. */
export function ensureDefaults(tx: Tx, newId: () => string): void {
  // A swarm without its cluster object has not begun yet.
  if (tx.count("cluster") === 0) return;
  if (tx.count("network") === 0) tx.create("network", ingressNetwork(newId()));
  for (const name of PREDEFINED) {
    if (tx.byName("network", name) === undefined) {
      tx.create("network", predefinedNetwork(newId(), name));
    }
  }
}

function ingressNetwork(id: string): Network {
  return create(NetworkSchema, {
    id,
    spec: {
      annotations: { name: "ingress" },
      ingress: true,
      driverConfig: {},
      ipam: { driver: {} },
    },
  });
}

function predefinedNetwork(id: string, name: string): Network {
  return create(NetworkSchema, {
    id,
    spec: {
      annotations: { name, labels: { [PREDEFINED_LABEL]: "true" } },
      driverConfig: { name },
    },
  });
}
