/**
 * Address plug-ins that remember nothing say so (`RequiresRequestReplay`): when the engine starts they
 * are asked again for all that they had given, by name, before anything is given back.
 */

import { messageOf } from "#base/error.ts";
import type { LocalNetwork } from "./network.ts";
import type { IpamRecord, NetworkRecord } from "./records.ts";
import { HASTY, type Remote, remoteOf } from "./remote-call.ts";
import { capabilities, GATEWAY_REQUEST, hasRemoteIpam } from "./remote-ipam.ts";
import type { NetworkState } from "./state.ts";

export async function replayRequests(state: NetworkState): Promise<void> {
  const concerned = [...state.networks.values()].filter(
    ({ record }) => hasRemoteIpam(record) && record.configOnly !== true,
  );
  await Promise.all(
    concerned.map((network) =>
      replayNetwork(state, network).catch((error: unknown) =>
        state.log.error(
          "an address plugin may give addresses twice: it could not be told of those in use",
          {
            plugin: network.record.ipamDriver,
            network: network.record.name,
            reason: messageOf(error),
          },
        ),
      ),
    ),
  );
}

async function replayNetwork(state: NetworkState, network: LocalNetwork): Promise<void> {
  const { record, endpoints } = network;
  const remote = remoteOf(state, record.ipamDriver, "IpamDriver");
  if (!(await capabilities(remote, HASTY)).forgets) return;
  for (const pool of record.ipam) await replayPool(remote, record, pool);
  for (const { poolId, address } of [...endpoints.values()].flatMap(({ held }) => held ?? [])) {
    const body = { PoolID: poolId, Address: address, Options: {} };
    await remote.call("RequestAddress", body, HASTY);
  }
}

export async function replayPool(
  remote: Remote,
  { ipamOptions }: Pick<NetworkRecord, "ipamOptions">,
  { addressSpace, subnet, range, poolId, gateway, auxiliary }: IpamRecord,
): Promise<void> {
  const V6 = subnet.includes(":");
  const pool = { AddressSpace: addressSpace, Pool: subnet, SubPool: range ?? "", V6 };
  await remote.call("RequestPool", { ...pool, Options: ipamOptions ?? {} }, HASTY);
  const request = async (Address: string, Options: Readonly<Record<string, string>>) => {
    await remote.call("RequestAddress", { PoolID: poolId, Address, Options }, HASTY);
  };
  if (gateway !== undefined) await request(gateway, GATEWAY_REQUEST);
  for (const address of Object.values(auxiliary ?? {})) await request(address, {});
}
