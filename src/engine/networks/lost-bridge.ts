/**
 * A bridge that somebody deleted while the engine runs is made again when the next container comes, and
 * those that were on it are plugged in again: without it none could be started until the engine is.
 */

import { messageOf } from "#base/error.ts";
import { hasInterface } from "#platform/net/rtnetlink.ts";
import { isPlugged } from "./network.ts";
import { hasParent } from "./parent.ts";
import type { EndpointRecord } from "./records.ts";
import type { NetworkState } from "./state.ts";
import { bridgePlan } from "./wiring.ts";

/** Before these are wired. */
export async function restoreBridges(
  state: NetworkState,
  endpoints: readonly EndpointRecord[],
): Promise<void> {
  for (const { bridge } of endpoints.filter(isPlugged)) {
    if (bridge === "" || hasInterface(bridge)) continue;
    // Several containers may find it gone at once.
    await state.containerLock.run(`bridge ${bridge}`, () => restore(state, bridge));
  }
}

async function restore(state: NetworkState, bridge: string): Promise<void> {
  const network = [...state.networks.values()].find(({ record }) => record.bridge === bridge);
  // Those of the swarm are looked after where they are made.
  if (network === undefined || hasParent(network.record.driver) || hasInterface(bridge)) return;
  const { name } = network.record;
  state.log.warn("the bridge of a network was deleted by somebody, it is made anew", {
    network: name,
    bridge,
  });
  await state.wiring.ensureBridge(
    bridgePlan(network.record, network.mtu(state.options.bridge.mtu)),
    [],
  );
  for (const [container, { endpoints }] of state.attachments) {
    for (const endpoint of endpoints.filter(isPlugged)) {
      if (endpoint.bridge !== bridge || !hasInterface(endpoint.hostInterface)) continue;
      await state.wiring.replug(endpoint).catch((error: unknown) => {
        // It may be ending at this moment.
        const reason = messageOf(error);
        state.log.warn("a container is not on its bridge any more", { container, bridge, reason });
      });
    }
  }
}
