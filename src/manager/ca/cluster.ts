/** The one cluster object, and what others read out of it. */

import { EngineError } from "#base/error.ts";
import { DEFAULT_NODE_LIFETIME_MS } from "#pki/profile.ts";
import type { ReadView } from "#store/types.ts";
import type { Cluster } from "#wire/gen/swarmkit/objects_pb.js";

export const DEFAULT_CLUSTER_NAME = "default";

/** Undefined until the first leader has written it, or until this manager has caught up. */
export function findCluster(view: ReadView): Cluster | undefined {
  return view.byName("cluster", DEFAULT_CLUSTER_NAME);
}

export function clusterOf(view: ReadView): Cluster {
  const cluster = findCluster(view);
  if (cluster === undefined) throw new EngineError("aborted", "CA signer is still starting");
  return cluster;
}

/** How long node certificates live, milliseconds. */
export function nodeLifetimeMs(cluster: Cluster): number {
  const expiry = cluster.spec?.caConfig?.nodeCertExpiry;
  if (expiry === undefined) return DEFAULT_NODE_LIFETIME_MS;
  return Number(expiry.seconds) * 1_000 + Math.floor(expiry.nanos / 1_000_000);
}
