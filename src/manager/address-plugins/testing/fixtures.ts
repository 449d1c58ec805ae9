import type { GivenPool } from "#model/address-pool.ts";

/** A pool as a plug-in gives one. */
export const POOL: GivenPool = {
  poolId: "p",
  addressSpace: "everywhere",
  subnet: "10.60.0.0/24",
  range: "",
  gateway: "10.60.0.254",
  reserved: [],
};
