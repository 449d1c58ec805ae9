/** Pools of addresses as the swarm asks address plug-ins for them, and as those answer. */

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
  /** "" = none, here and below. */
  readonly range: string;
  /** Without mask. */
  readonly gateway: string;
  /** Given beside the router, by name of the wish. */
  readonly reserved: readonly string[];
}

export type AddressAnswer = { readonly address: string } | { readonly refused: string };
