/**
 * What plug-ins hold for our containers, on disk for longer than the containers' own records: plug-ins
 * keep theirs through a reboot. A file is there from before a plug-in hears of an endpoint until it
 * has heard that it is over. One without a container is a debt: it is settled at the engine's start
 * and before its network goes.
 */

import type { EndpointRecord, HeldEndpoint } from "./records.ts";
import { deleteRemoteEndpoint, leaveRemote } from "./remote-endpoint.ts";
import { releaseHeld } from "./remote-ipam.ts";
import type { NetworkState } from "./state.ts";

/** Ends an endpoint with its plug-ins; what they could not be told stays a debt. */
export async function endHeld(state: NetworkState, endpoint: EndpointRecord): Promise<void> {
  if (endpoint.remote === undefined && endpoint.held === undefined) return;
  const deleted = await deleteRemoteEndpoint(state, endpoint);
  const released = await releaseHeld(state, [endpoint]);
  if (deleted && released) await state.heldFiles.remove(endpoint.endpointId);
}

/** Tells plug-ins of what ended without them; all of it, or that of one network. */
export async function settleDebts(state: NetworkState, networkId?: string): Promise<void> {
  const debts = await debtsOf(state, networkId);
  await Promise.all(
    debts.map(async ({ containerId, endpoint }) => {
      state.log.info("a plugin is told of an endpoint that ended without it", {
        container: containerId,
        network: endpoint.networkName,
        endpoint: endpoint.endpointId,
      });
      await leaveRemote(state, endpoint);
      await endHeld(state, endpoint);
    }),
  );
}

/** The network is gone, and with it what its endpoints were. */
export async function forgetDebts(state: NetworkState, networkId: string): Promise<void> {
  for (const { endpoint } of await debtsOf(state, networkId)) {
    await state.heldFiles.remove(endpoint.endpointId);
  }
}

async function debtsOf(
  state: NetworkState,
  networkId: string | undefined,
): Promise<readonly HeldEndpoint[]> {
  const all = await state.heldFiles.load(state.log);
  const live = new Set(
    [...state.attachments.values()].flatMap(({ endpoints }) =>
      endpoints.map(({ endpointId }) => endpointId),
    ),
  );
  return all.filter(
    ({ endpoint }) =>
      !live.has(endpoint.endpointId) &&
      (networkId === undefined || endpoint.networkId === networkId),
  );
}
