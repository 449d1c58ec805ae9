/**
 * Address plug-ins of this host as managers ask them for networks of the swarm (docker's `IpamDriver`, in
 * its global address space). A plug-in that cannot be reached is told of at once: managers try again.
 */

import { EngineError, messageOf } from "#base/error.ts";
import type { Log } from "#base/ports.ts";
import type { AddressAnswer, GivenPool, PoolsRequest } from "#model/address-pool.ts";
import { PluginRefusal } from "../plugins/client.ts";
import type { PluginRegistry } from "../plugins/registry.ts";
import type { IpamRecord } from "./records.ts";
import { type Patience, type Remote, remoteOf } from "./remote-call.ts";
import {
  capabilities,
  type PluginHost,
  releasePool,
  requestAddress,
  requestPools,
} from "./remote-ipam.ts";
import { replayPool } from "./remote-replay.ts";

const PROMPT: Patience = { timeoutMs: 30_000, connectWithinMs: 0 };

export class GlobalIpam {
  readonly #host: PluginHost;

  constructor(plugins: PluginRegistry, log: Log) {
    this.#host = { options: { plugins }, log };
  }

  /** Throws why the plug-in cannot give addresses to the swarm, if so. */
  async check(name: string): Promise<void> {
    const { needsMac } = await capabilities(this.#remote(name), PROMPT);
    if (!needsMac) return;
    throw new EngineError(
      "invalid-argument",
      "it gives addresses to MAC addresses, and on networks of the swarm those follow from the address",
    );
  }

  /** Whether it must be told again of all that it gave, by every new leader. */
  async forgets(name: string): Promise<boolean> {
    return (await capabilities(this.#remote(name), PROMPT)).forgets;
  }

  /** All of the pools with their routers and reserved addresses, or none. */
  async requestPools(name: string, request: PoolsRequest): Promise<readonly GivenPool[]> {
    const ipam = request.pools.map(({ subnet, range, gateway, reserved }) => ({
      subnet,
      ...(range === "" ? {} : { range }),
      ...(gateway === "" ? {} : { gateway }),
      ...(Object.keys(reserved).length === 0 ? {} : { auxiliary: reserved }),
    }));
    // It says whether it is there before anything is asked for.
    await this.forgets(name);
    const record = { ipamDriver: name, ipamOptions: request.options, ipam, ipv6: request.ipv6 };
    const given = await requestPools(this.#host, record, "Global");
    return given.map((pool) => ({
      poolId: pool.poolId ?? "",
      addressSpace: pool.addressSpace ?? "",
      subnet: pool.subnet,
      range: pool.range ?? "",
      gateway: pool.gateway ?? "",
      reserved: Object.values(pool.auxiliary ?? {}),
    }));
  }

  /**
   * Any address of the pool, or the wished one, with the plug-in's mask. Throws `unavailable` or `not-found` when the plug-in has
   * not heard of it; after any other error it may have given one all the same.
   */
  async requestAddress(
    name: string,
    pool: { readonly poolId: string; readonly subnet: string },
    wish: string,
  ): Promise<AddressAnswer> {
    try {
      const { held } = await requestAddress(this.#remote(name), pool, wish, {});
      return { address: held.address };
    } catch (error) {
      if (!(error instanceof PluginRefusal)) throw error;
      return { refused: messageOf(error) };
    }
  }

  /** Throws when the plug-in may not have heard of it; what it refuses to take back it does not have. */
  async releaseAddress(
    name: string,
    poolId: string,
    address: string,
    signal?: AbortSignal,
  ): Promise<void> {
    try {
      const body = { PoolID: poolId, Address: address };
      await this.#remote(name, signal).call("ReleaseAddress", body);
    } catch (error) {
      if (!(error instanceof PluginRefusal)) throw error;
      this.#host.log.warn("an address plugin does not take back an address", {
        plugin: name,
        address,
        reason: messageOf(error),
      });
    }
  }

  /** Router, reserved addresses and pool. Throws as `releaseAddress` does. */
  async releasePool(name: string, pool: GivenPool): Promise<void> {
    if (await releasePool(this.#host, this.#remote(name), recordOf(pool))) return;
    throw new EngineError("unavailable", `the plugin "${name}" has not heard of it`);
  }

  /** Asks again for a pool and its addresses that the plug-in has forgotten. */
  async replay(
    name: string,
    pool: GivenPool,
    options: Readonly<Record<string, string>>,
    addresses: readonly string[],
  ): Promise<void> {
    const remote = this.#remote(name);
    await replayPool(remote, { ipamOptions: options }, recordOf(pool));
    for (const Address of addresses) {
      await remote.call("RequestAddress", { PoolID: pool.poolId, Address, Options: {} });
    }
  }

  #remote(name: string, signal?: AbortSignal): Remote {
    const remote = remoteOf(this.#host, name, "IpamDriver");
    const usual = signal === undefined ? PROMPT : { ...PROMPT, signal };
    return {
      ...remote,
      call: (method, body, patience = usual) => remote.call(method, body, patience),
    };
  }
}

function recordOf({
  poolId,
  addressSpace,
  subnet,
  range,
  gateway,
  reserved,
}: GivenPool): IpamRecord {
  return {
    subnet,
    poolId,
    addressSpace,
    ...(range === "" ? {} : { range }),
    ...(gateway === "" ? {} : { gateway }),
    auxiliary: Object.fromEntries(reserved.map((address) => [address, address])),
  };
}
