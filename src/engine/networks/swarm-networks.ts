/**
 * Networks of the swarm whose data path is a plug-in's: on this host they are networks of that plug-in
 * as any other (`remote-network.ts`), made when the first task comes and removed after the last. What
 * they are is decided by managers, and so are their addresses.
 */

import { EngineError } from "#base/error.ts";
import { removeNetwork } from "./lifecycle.ts";
import { LocalNetwork } from "./network.ts";
import type { NetworkRecord } from "./records.ts";
import { createRemote, forgetRemote } from "./remote-network.ts";
import { type NetworkState, publishEvent } from "./state.ts";

/** A network as the managers describe it. */
export type SwarmNetwork = Pick<
  NetworkRecord,
  "id" | "name" | "driver" | "created" | "internal" | "attachable" | "ipam" | "options" | "labels"
>;

/** Tells the plug-in of the network, once; on disk before, so that a crash leaves nothing behind. */
export async function ensureSwarmNetwork(state: NetworkState, wanted: SwarmNetwork): Promise<void> {
  const known = state.networks.get(wanted.id);
  if (known?.removing === false) return;
  const record: NetworkRecord = {
    ...wanted,
    version: 1,
    remote: true,
    swarm: true,
    ipv6: wanted.ipam.some(({ subnet }) => subnet.includes(":")),
    ipamDriver: "default",
    ipamOptions: null,
    // Their addresses come with tasks and with loans.
    userSubnet: true,
    bridge: "",
  };
  try {
    await state.networkFiles.save(record.id, { ...record, unfinished: true });
    await createRemote(state, record);
    state.networks.set(record.id, new LocalNetwork(record));
    await state.networkFiles.save(record.id, record);
  } catch (error) {
    state.networks.delete(record.id);
    await forgetRemote(state, record, error);
    await state.networkFiles.remove(record.id);
    const { code, message } = EngineError.from(error, "internal");
    throw new EngineError(code, `plugin "${record.driver}": ${message}`, { cause: error });
  }
  publishEvent(state, "create", record);
}

/** Throws when a container is on it, or when the plug-in is not there to hear of it. */
export async function dropSwarmNetwork(state: NetworkState, id: string): Promise<void> {
  const network = state.networks.get(id);
  if (network?.record.swarm === true) await removeNetwork(state, network);
}

/** Ids of those that are here. */
export function swarmNetworkIds(state: NetworkState): ReadonlySet<string> {
  const ids = new Set<string>();
  for (const { record, removing } of state.networks.values()) {
    if (record.swarm === true && !removing) ids.add(record.id);
  }
  return ids;
}
