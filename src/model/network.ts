/** What networks of the swarm are: the routing mesh's, a stand-in for each node's own, or plain. */

import { create } from "@bufbuild/protobuf";
import { type Network, NetworkSchema } from "#wire/gen/swarmkit/objects_pb.js";

/** Marks networks that every swarm has, and every node of its own: services use them by name. */
export const PREDEFINED_LABEL = "com.docker.swarm.predefined";
const PREDEFINED_NAMES = ["bridge", "host"];
const INGRESS_NAME = "ingress";
/** First versions of swarm mode knew the ingress network by a label. */
const LEGACY_INGRESS_LABEL = "com.docker.swarm.internal";

/** Whether it is the network of the routing mesh. */
export function isIngress(network: Network | undefined): boolean {
  if (network?.spec?.ingress === true) return true;
  const { name = "", labels = {} } = network?.spec?.annotations ?? {};
  return name === INGRESS_NAME && LEGACY_INGRESS_LABEL in labels;
}

export function isPredefined(network: Network | undefined): boolean {
  return network?.spec?.annotations?.labels[PREDEFINED_LABEL] === "true";
}

/** The ingress network of a swarm that did not ask for one of its own making. */
export function ingressNetwork(id: string): Network {
  return create(NetworkSchema, {
    id,
    spec: {
      annotations: { name: INGRESS_NAME },
      ingress: true,
      driverConfig: {},
      ipam: { driver: {} },
    },
  });
}

/** The stand-ins for networks that each node has by itself; `newId` is called once for each. */
export function predefinedNetworks(newId: () => string): Network[] {
  return PREDEFINED_NAMES.map((name) =>
    create(NetworkSchema, {
      id: newId(),
      spec: {
        annotations: { name, labels: { [PREDEFINED_LABEL]: "true" } },
        driverConfig: { name },
      },
    }),
  );
}
