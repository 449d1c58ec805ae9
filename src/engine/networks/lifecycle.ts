/**
 * How a network of this host begins and ends: its record, its plug-ins, its interface and its rules, in
 * the order in which a crash between any two of them leaves nothing that is not found again.
 */

import { createHash } from "node:crypto";
import { EngineError } from "#base/error.ts";
import { newHexId } from "#base/ids.ts";
import type { NetworkCreateBody } from "#wire/docker/networks.ts";
import { LocalNetwork } from "./network.ts";
import { networkRecordOf, PREDEFINED } from "./network-spec.ts";
import { dummyName, hasParent } from "./parent.ts";
import { forgetDebts, settleDebts } from "./remote-debts.ts";
import { releasePools } from "./remote-ipam.ts";
import {
  createRemote,
  deleteRemote,
  findDrivers,
  forgetRemote,
  usesPlugins,
  withPools,
} from "./remote-network.ts";
import { renderNetwork } from "./ruleset.ts";
import { hostSubnets, takenSubnets } from "./start.ts";
import {
  changeTable,
  findLocal,
  type NetworkState,
  publishEvent,
  rulesetNetwork,
} from "./state.ts";
import { bridgePlan } from "./wiring.ts";

export async function createNetwork(
  state: NetworkState,
  body: NetworkCreateBody,
): Promise<{ id: string; warning: string }> {
  const { random, clock, table, bridge } = state.options;
  const id = newHexId(random);
  const existing = [...state.networks.values()].some(
    ({ record }) => record.name === body.Name && record.swarm !== true,
  );
  const plugins = await findDrivers(state, body);
  const spec = networkRecordOf(body, {
    id,
    created: new Date(clock.nowMs()).toISOString(),
    pools: state.pools,
    networkSubnets: takenSubnets(state),
    hostSubnets: await hostSubnets(state),
    localIpv6: localIpv6(id),
    plugins,
    configOf: (name) => findLocal(state, name)?.record,
  });
  if (existing) {
    throw new EngineError("already-exists", `network with name ${spec.name} already exists`);
  }
  const record = await withPools(state, spec);
  const network = new LocalNetwork(record);
  let hasInterface = false;
  try {
    const shared = usesPlugins(record);
    await state.networkFiles.save(id, shared ? { ...record, unfinished: true } : record);
    await createRemote(state, record);
    await makeInterface(state, network, bridge.mtu);
    hasInterface = true;
    if (record.ipv6) state.wiring.enableForwarding(true);
    state.networks.set(id, network);
    const rules = rulesetNetwork(network);
    if (rules !== undefined) await changeTable(state, renderNetwork(table, rules, "add"));
    if (shared) await state.networkFiles.save(id, record);
  } catch (error) {
    state.networks.delete(id);
    if (hasInterface) await removeInterface(state, network);
    if (usesPlugins(record)) await forgetRemote(state, record, error);
    await state.networkFiles.remove(id);
    throw error;
  }
  publishEvent(state, "create", record);
  return { id, warning: "" };
}

async function makeInterface(
  state: NetworkState,
  network: LocalNetwork,
  mtu: number,
): Promise<void> {
  const { wiring, networks } = state;
  const { record } = network;
  if (record.bridge === "") return;
  const links = await wiring.links();
  if (hasParent(record.driver)) {
    const other = [...networks.values()].find(({ record: { bridge } }) => bridge === record.bridge);
    if (other !== undefined) {
      throw new EngineError(
        "internal",
        `network ${dummyName(other.record)} is already using parent interface ${record.bridge}`,
      );
    }
    await wiring.ensureParent(record, links);
    return;
  }
  if (links.some(({ ifname }) => ifname === record.bridge)) {
    throw new EngineError(
      "forbidden",
      `networks have same bridge name: ${record.bridge} exists already`,
    );
  }
  await wiring.ensureBridge(bridgePlan(record, network.mtu(mtu)), []);
}

/** Parents that the user made are the user's. */
async function removeInterface(state: NetworkState, { record }: LocalNetwork): Promise<void> {
  const { wiring } = state;
  const link = (await wiring.links()).find(({ ifname }) => ifname === record.bridge);
  if (link !== undefined && wiring.isOurs(link)) await wiring.removeLinks([record.bridge]);
}

/** One whose plug-in is away must not keep a prune from the others. */
export async function removeIfItGoes(state: NetworkState, network: LocalNetwork): Promise<boolean> {
  try {
    await removeNetwork(state, network);
    return true;
  } catch (error) {
    state.log.warn("a network is not pruned", { network: network.record.name, error });
    return false;
  }
}

/** Who keeps a network from being removed. */
function users(state: NetworkState, { endpoints }: LocalNetwork): string {
  const names = [...endpoints.keys()].map((id) => {
    const name = state.attachments.get(id)?.containerName ?? "";
    return `name:"${name}" id:"${id.slice(0, 12)}"`;
  });
  return names.join(", ");
}

export async function removeNetwork(state: NetworkState, network: LocalNetwork): Promise<void> {
  const { record } = network;
  if (PREDEFINED.includes(record.name)) {
    throw new EngineError(
      "forbidden",
      `${record.name} is a pre-defined network and cannot be removed`,
    );
  }
  if (network.endpoints.size > 0) {
    throw new EngineError(
      "forbidden",
      `error while removing network: network ${record.name} has active endpoints (${users(state, network)})`,
    );
  }
  const user = [...state.networks.values()].find(
    (other) => record.configOnly && other.record.configFrom === record.name,
  );
  if (user !== undefined) {
    throw new EngineError("forbidden", `configuration network "${record.name}" is in use`);
  }
  network.removing = true;
  try {
    if (usesPlugins(record)) await settleDebts(state, record.id);
    await deleteRemote(state, record);
    await removeInterface(state, network);
    state.networks.delete(record.id);
    const rules = rulesetNetwork(network);
    if (rules !== undefined) {
      await changeTable(state, renderNetwork(state.options.table, rules, "delete"));
    }
    await releasePools(state, record);
    if (usesPlugins(record)) await forgetDebts(state, record.id);
    await state.networkFiles.remove(record.id);
  } catch (error) {
    network.removing = false;
    throw error;
  }
  publishEvent(state, "destroy", record);
}

/** A unique local /64 that follows from the network's id. */
function localIpv6(id: string): string {
  const hex = createHash("sha256").update(id).digest("hex");
  return `fd${hex.slice(0, 2)}:${hex.slice(2, 6)}:${hex.slice(6, 10)}:${hex.slice(10, 14)}::/64`;
}
