/** A network of the swarm as containers of this host attach to it, and as inspect shows it. */

import { msOfTimestamp } from "#model/time.ts";
import type { OverlayPlan } from "#plan/dataplane/overlay-devices.ts";
import type { NetworkInspect } from "#wire/docker/networks.ts";
import type { NetworkTable } from "#wire/gen/skep/dataplane_pb.js";
import { ZERO_TIME } from "../containers/record.ts";
import type { HostedNetwork } from "../networks/network.ts";

export interface HostedHooks {
  readonly attached: NonNullable<HostedNetwork["attached"]>;
  readonly detached: NonNullable<HostedNetwork["detached"]>;
}

/** One of a plug-in: endpoints are the plug-in's, only what follows from them is ours. */
export function pluggedNetwork(
  table: NetworkTable,
  mtu: number,
  hooks: HostedHooks,
): HostedNetwork {
  const { networkId: id, name } = table;
  return { id, name, bridge: "", mtu, inspect: () => inspectTable(table), ...hooks };
}

export function hostedNetwork(
  plan: OverlayPlan,
  table: NetworkTable,
  nodeId: string,
  hooks: HostedHooks,
): HostedNetwork {
  const { networkId: id, bridge, mtu } = plan;
  const own = table.peers.find((peer) => peer.nodeId === nodeId)?.addresses ?? [];
  const v4 = own.find((address) => !address.includes(":"));
  const v6 = own.find((address) => address.includes(":"));
  // An internal network leads nowhere: its containers have no router.
  const gateway = table.internal
    ? undefined
    : { ...(v4 === undefined ? {} : { v4 }), ...(v6 === undefined ? {} : { v6 }) };
  return {
    id,
    name: table.name,
    bridge,
    mtu,
    ...(gateway === undefined ? {} : { gateway }),
    inspect: () => inspectTable(table),
    ...hooks,
  };
}

function inspectTable(table: NetworkTable): NetworkInspect {
  const { networkId, name, driver, subnets, internal, attachable, ingress, options, peers } = table;
  const createdMs = msOfTimestamp(table.createdAt);
  return {
    Name: name,
    Id: networkId,
    Created: createdMs === undefined ? ZERO_TIME : new Date(createdMs).toISOString(),
    Scope: "swarm",
    Driver: driver,
    EnableIPv4: true,
    EnableIPv6: subnets.some(({ subnet }) => subnet.includes(":")),
    IPAM: {
      Driver: table.ipamDriver || "default",
      Options: null,
      Config: subnets.map(({ subnet, gateway }) => ({
        Subnet: subnet,
        ...(gateway === "" ? {} : { Gateway: gateway }),
      })),
    },
    Internal: internal,
    Attachable: attachable,
    Ingress: ingress,
    ConfigFrom: { Network: "" },
    ConfigOnly: false,
    Containers: {},
    Options: options,
    Labels: table.labels,
    Peers: peers.map(({ nodeId, dataPathAddr }) => ({ Name: nodeId, IP: dataPathAddr })),
  };
}
