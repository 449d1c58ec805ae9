/** Address plug-ins of this manager's host, as its reign asks them. */

export interface PoolWish {
  /** "" = the plug-in's choice, here and below. */
  readonly subnet: string;
  readonly range: string;
  readonly gateway: string;
  readonly reserved: Readonly<Record<string, string>>;
}

export interface PoolsRequest {
  readonly options: Readonly<Record<string, string>>;
  readonly pools: readonly PoolWish[];
  readonly ipv6: boolean;
}

export interface GivenPool {
  readonly poolId: string;
  readonly addressSpace: string;
  readonly subnet: string;
  readonly range: string;
  readonly gateway: string;
  /** Given beside the router, by name of the wish. */
  readonly reserved: readonly string[];
}

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
  ): Promise<{ readonly address: string } | { readonly refused: string }>;
  /** What it refuses to take back it does not have. */
  releaseAddress(
    name: string,
    poolId: string,
    address: string,
    signal?: AbortSignal,
  ): Promise<void>;
  releasePool(name: string, pool: GivenPool): Promise<void>;
}
