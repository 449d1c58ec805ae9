/**
 * Networks of plug-ins with the scope of the swarm (docker's `NetworkDriver` of scope "global"): the
 * leader gives each to its plug-in (`AllocateNetwork`), and what that answers is the network's driver
 * state, for nodes to make it with. Until then the network waits, and says so. A leader that ends
 * between the call and its result is followed by one that asks again.
 */

import { create } from "@bufbuild/protobuf";
import { EngineError, messageOf } from "#base/error.ts";
import type { Clock, Log } from "#base/ports.ts";
import { awaitsPlugin, driverOf, waitsForPlugin } from "#plan/allocator/network-table.ts";
import { KeyedLock, sleep } from "#platform/async.ts";
import type { Network } from "#wire/gen/swarmkit/objects_pb.js";
import { DriverSchema } from "#wire/gen/swarmkit/types_pb.js";
import { requireAddresses } from "./address-plugins/part.ts";
import type { AddressDrivers } from "./address-plugins/ports.ts";
import type { DriverPlugins } from "./control/context.ts";
import type { ManagerPart } from "./manager-ports.ts";
import type { ClusterState } from "./state.ts";

const LOOK_MS = 300;
const RETRY_MS = 1_000;
const RETRY_MAX_MS = 30_000;

export interface PoolData {
  readonly AddressSpace: string;
  readonly Pool: string;
  /** With prefix length. */
  readonly Gateway?: string;
  readonly AuxAddresses?: Readonly<Record<string, string>>;
}

/** What `AllocateNetwork` is asked with. */
export interface AllocateRequest {
  readonly NetworkID: string;
  readonly Options: Readonly<Record<string, string>>;
  readonly IPv4Data: readonly PoolData[];
  readonly IPv6Data: readonly PoolData[];
}

/** The plug-ins of this manager's host. */
export interface GlobalDrivers {
  /** "local" or "global"; throws when there is no such plug-in, or it does not answer. */
  scope(name: string): Promise<string>;
  /** Gives the network to the plug-in, also when it had it before: the options that it answers. */
  allocate(name: string, request: AllocateRequest): Promise<Readonly<Record<string, string>>>;
  /** Throws when the plug-in may not have heard of it; what it refuses to free it does not have. */
  free(name: string, networkId: string): Promise<void>;
}

export interface NetworkPluginsOptions {
  readonly state: ClusterState;
  readonly drivers: GlobalDrivers;
  readonly addresses: AddressDrivers;
  readonly clock: Clock;
  readonly log: Log;
}

interface Waiting {
  atMs: number;
  failures: number;
  asking: boolean;
}

export class NetworkPlugins implements DriverPlugins {
  readonly #options: NetworkPluginsOptions;
  readonly #lock = new KeyedLock();

  constructor(options: NetworkPluginsOptions) {
    this.#options = options;
  }

  part(): ManagerPart {
    return { name: "network-plugins", lead: (signal) => this.#lead(signal) };
  }

  async require(name: string): Promise<void> {
    const scope = await this.#options.drivers.scope(name).catch((error: unknown) => {
      throw new EngineError(
        "invalid-argument",
        `error during lookup of plugin ${name}: ${messageOf(error)}`,
        { cause: error },
      );
    });
    if (scope === "global") return;
    throw new EngineError(
      "invalid-argument",
      `the plugin "${name}" is for networks of one host (scope local): a network of the swarm needs one of scope global`,
    );
  }

  requireAddresses(name: string): Promise<void> {
    return requireAddresses(this.#options.addresses, name);
  }

  alone<T>(networkId: string, work: () => Promise<T>): Promise<T> {
    return this.#lock.run(networkId, work);
  }

  free(name: string, networkId: string): Promise<void> {
    return this.#options.drivers.free(name, networkId);
  }

  async #lead(signal: AbortSignal): Promise<void> {
    const { state, clock } = this.#options;
    const waiting = new Map<string, Waiting>();
    while (!signal.aborted) {
      const seen = new Set<string>();
      for (const network of state.view().all("network")) {
        if (!awaitsPlugin(network)) continue;
        seen.add(network.id);
        const known = waiting.get(network.id) ?? { atMs: 0, failures: 0, asking: false };
        waiting.set(network.id, known);
        if (known.asking || known.atMs > clock.monotonicMs()) continue;
        known.asking = true;
        void this.#try(network.id, known, signal);
      }
      for (const id of waiting.keys()) if (!seen.has(id)) waiting.delete(id);
      await sleep(clock, LOOK_MS, signal).catch(() => undefined);
    }
  }

  /** Never rejects: what went wrong stands on the network, and is tried again. */
  async #try(id: string, waiting: Waiting, signal: AbortSignal): Promise<void> {
    const { state, clock, log } = this.#options;
    try {
      await this.alone(id, () => this.#allocate(id, signal));
      waiting.failures = 0;
    } catch (error) {
      waiting.failures += 1;
      const reason = messageOf(error);
      if (!signal.aborted) {
        log.warn("a network is not allocated by its plugin, it is tried again", {
          network: id,
          reason,
        });
        await state
          .update("allocator", (tx) => note(tx.get("network", id), reason, tx))
          .catch(() => undefined);
      }
    }
    waiting.atMs = clock.monotonicMs() + Math.min(RETRY_MS * 2 ** waiting.failures, RETRY_MAX_MS);
    waiting.asking = false;
  }

  async #allocate(id: string, signal: AbortSignal): Promise<void> {
    const { state, drivers } = this.#options;
    // It may have been removed, or allocated, while this waited for its turn.
    const network = (await state.linearizable()).get("network", id);
    if (signal.aborted || network === undefined || !awaitsPlugin(network)) return;
    const name = driverOf(network);
    const request = requestOf(network);
    const answered = await drivers.allocate(name, request);
    await state.update("allocator", (tx) => {
      const now = tx.get("network", id);
      if (now === undefined || !awaitsPlugin(now)) return;
      const options = { ...request.Options, ...answered };
      const driverState = create(DriverSchema, { name, options });
      tx.update("network", { ...now, driverState, allocationError: "" });
    });
  }
}

type NetworkTx = Parameters<Parameters<ClusterState["update"]>[1]>[0];

function note(network: Network | undefined, reason: string, tx: NetworkTx): void {
  if (network === undefined || !awaitsPlugin(network)) return;
  const allocationError = `${waitsForPlugin(network)}: ${reason}`;
  if (allocationError !== network.allocationError) {
    tx.update("network", { ...network, allocationError });
  }
}

/** A network as its plug-in is asked to allocate it. */
export function requestOf(network: Network): AllocateRequest {
  const data = (six: boolean) =>
    (network.ipam?.configs ?? [])
      .filter(({ subnet }) => subnet.includes(":") === six)
      .map(({ subnet, gateway, reserved }) => {
        const length = subnet.split("/")[1] ?? "";
        const named = Object.entries(reserved);
        return {
          AddressSpace: "GlobalDefault",
          Pool: subnet,
          ...(gateway === "" ? {} : { Gateway: `${gateway}/${length}` }),
          ...(named.length === 0
            ? {}
            : {
                AuxAddresses: Object.fromEntries(
                  named.map(([key, at]) => [key, `${at}/${length}`]),
                ),
              }),
        };
      });
  return {
    NetworkID: network.id,
    Options: network.spec?.driverConfig?.options ?? {},
    IPv4Data: data(false),
    IPv6Data: data(true),
  };
}
