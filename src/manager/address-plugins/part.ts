/**
 * Addresses of plug-ins for networks of the swarm (`docker network create --ipam-driver`). The leader asks
 * and gives back, outside of any transaction, what the store says (`plan/allocator/lease-desk.ts`):
 * WANTED leases become ASKING before the plug-in hears of them and GIVEN with its answer; RELEASING ones
 * are gone when it has acknowledged. So no address is in use that the plug-in did not give or has
 * taken back, whoever leads. What it gave to a leader that lost its place goes back (`orphans.ts`).
 */

import { EngineError, messageOf } from "#base/error.ts";
import type { ManagerPart } from "../manager-ports.ts";
import type { AddressDrivers } from "./ports.ts";
import { type AddressPluginsOptions, AddressReign } from "./reign.ts";

export function addressPluginsPart(options: AddressPluginsOptions): ManagerPart {
  return {
    name: "address-plugins",
    lead: async (signal) => {
      try {
        await new AddressReign(options, signal).run();
      } catch (error) {
        if (!signal.aborted) throw error;
      }
    },
  };
}

/** Throws why no network of the swarm can have addresses of the plug-in, if so. */
export async function requireAddresses(drivers: AddressDrivers, name: string): Promise<void> {
  try {
    await drivers.check(name);
  } catch (error) {
    throw new EngineError(
      "invalid-argument",
      `error during lookup of IPAM plugin ${name} on the manager that leads: ${messageOf(error)}`,
      { cause: error },
    );
  }
}
