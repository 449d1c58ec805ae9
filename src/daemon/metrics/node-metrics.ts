/** Figures of this node's part in a swarm, and of its data path. */

import type { ClusterPort } from "#api/cluster-port.ts";
import { counter, type Family, gauge } from "#base/metrics.ts";
import type { Overlay } from "#engine/overlay/overlay.ts";
import type { NodeTables } from "#engine/swarm-executor/node-tables.ts";

export interface NodeMetricsHost {
  readonly swarm: Pick<ClusterPort, "info">;
  /** Empty on a node that does not know. */
  readonly swarmId: () => string;
  readonly overlay: Pick<Overlay, "status">;
  readonly tables: Pick<NodeTables, "status">;
}

const STATES = ["inactive", "pending", "active", "error", "locked"] as const;

export async function nodeFamilies(host: NodeMetricsHost): Promise<readonly Family[]> {
  const info = host.swarm.info();
  const states = gauge(
    "skep_swarm_node_state",
    "1 for the state of this node in its swarm.",
    STATES.map((state) => ({ labels: { state }, value: info.state === state ? 1 : 0 })),
  );
  if (info.nodeId === "") return [states];
  const labels = { node_id: info.nodeId, swarm_id: host.swarmId() };
  return [
    states,
    gauge("swarm_node_info", "Information related to the swarm", [{ labels, value: 1 }]),
    ...(await networkFamilies(host)),
  ];
}

async function networkFamilies({ overlay, tables }: NodeMetricsHost): Promise<readonly Family[]> {
  const [kernel, known] = [await overlay.status(), tables.status()];
  return [
    gauge(
      "skep_network_applied_revision",
      "Revision of the network tables that the kernel was brought to.",
      known.appliedRevision,
    ),
    gauge(
      "skep_network_managers_in_reach",
      "Whether a leader tells this node of changes; without, the network stands still.",
      known.source === "lost" ? 0 : 1,
    ),
    gauge("skep_network_served_networks", "Networks of the swarm on this node.", known.networks),
    counter(
      "skep_network_repairs_total",
      "Differences in the kernel that nobody asked for, all found and repaired.",
      kernel.repairs,
    ),
    gauge(
      "skep_network_refused_ports",
      "Published ports that a program of this host has already.",
      kernel.refusedPorts.length,
    ),
    gauge(
      "skep_network_foreign_drop_chains",
      "Chains of other programs that drop what is forwarded.",
      kernel.foreignDrops.length,
    ),
    counter(
      "skep_network_foreign_packets_total",
      "VXLAN packets from senders that are no nodes, dropped; since the table was last written.",
      kernel.foreignPackets,
    ),
  ];
}
