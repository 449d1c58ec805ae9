/**
 * Leases: what keeps containerd's garbage collector away from content and snapshots while nothing
 * names them yet. A lease is deleted with the work; the expiry is for an engine that dies at it.
 */

import { newHexId } from "#base/ids.ts";
import type { Random } from "#base/ports.ts";
import type { Containerd } from "./client.ts";

/** Label on every lease that we made, so that a restarted engine can clear its own. */
export const LEASE_LABEL = "skep.lease";
const EXPIRY_LABEL = "containerd.io/gc.expire";
const EXPIRY_MS = 24 * 60 * 60 * 1000;

export interface Lease {
  readonly id: string;
  /** Call metadata that files what the call makes under the lease. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Files something that exists already. `type`: "content", "snapshots/overlayfs". */
  hold(type: string, id: string): Promise<void>;
}

export interface LeaseOptions {
  readonly purpose: string;
  readonly random: Random;
  readonly nowMs: number;
}

/** Runs `work` under a fresh lease, and takes the lease away when it is over. */
export async function withLease<T>(
  containerd: Pick<Containerd, "leases">,
  options: LeaseOptions,
  work: (lease: Lease) => Promise<T>,
): Promise<T> {
  const id = `skep-${options.purpose}-${newHexId(options.random, 8)}`;
  const labels = {
    [LEASE_LABEL]: options.purpose,
    [EXPIRY_LABEL]: new Date(options.nowMs + EXPIRY_MS).toISOString(),
  };
  await containerd.leases.create({ id, labels });
  try {
    return await work({
      id,
      metadata: { "containerd-lease": id },
      hold: async (type, resource) => {
        await containerd.leases.addResource({ id, resource: { id: resource, type } });
      },
    });
  } finally {
    // A lease that stays expires; its deletion must not hide how the work ended.
    await containerd.leases.delete({ id }).catch(() => undefined);
  }
}

/** At the start of an engine: leases of a run that died, whose work nobody will finish. */
export async function clearLeases(containerd: Pick<Containerd, "leases">): Promise<number> {
  const { leases } = await containerd.leases.list({ filters: [`labels."${LEASE_LABEL}"`] });
  for (const { id } of leases) await containerd.leases.delete({ id });
  return leases.length;
}
