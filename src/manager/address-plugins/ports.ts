/** Address plug-ins of this manager's host, as its reign asks them. */

import type { AddressAnswer, GivenPool, PoolsRequest } from "#model/address-pool.ts";

/**
 * All of them throw `unavailable` or `not-found` when the plug-in is not there, and surely has not heard
 * of what it was asked; after other errors it may have done it.
 */
export interface AddressDrivers {
  /** Throws why the plug-in cannot give addresses to the swarm, if so. */
  check(name: string): Promise<void>;
  /** Whether it must be told again of what it gave. */
  forgets(name: string): Promise<boolean>;
  replay(
    name: string,
    pool: GivenPool,
    options: Readonly<Record<string, string>>,
    addresses: readonly string[],
  ): Promise<void>;
  requestPools(name: string, request: PoolsRequest): Promise<readonly GivenPool[]>;
  requestAddress(
    name: string,
    pool: { readonly poolId: string; readonly subnet: string },
    wish: string,
  ): Promise<AddressAnswer>;
  /** What it refuses to take back it does not have. */
  releaseAddress(
    name: string,
    poolId: string,
    address: string,
    signal?: AbortSignal,
  ): Promise<void>;
  releasePool(name: string, pool: GivenPool): Promise<void>;
}
