/**
 * Brings this host's networks of plug-ins to those that the tables name: made when they come, removed
 * when they go, tried again for as long as a plug-in is not there. Beside the passes of the kernel,
 * which no plug-in may hold up.
 */

import { messageOf } from "#base/error.ts";
import type { Clock, Log, Timer } from "#base/ports.ts";
import { msOfTimestamp } from "#model/time.ts";
import { isPluginDriver } from "#plan/allocator/network-table.ts";
import type { NetworkTable } from "#wire/gen/skep/dataplane_pb.js";
import { ZERO_TIME } from "../containers/record.ts";
import type { NetworkStore } from "../networks/service.ts";
import type { SwarmNetwork } from "../networks/swarm-networks.ts";

const RETRY_MS = 1_000;
const RETRY_MAX_MS = 30_000;

export interface PluginNetworksOptions {
  readonly networks: Pick<NetworkStore, "ensureSwarm" | "dropSwarm" | "swarmIds">;
  /** One has come, or could not. */
  readonly onChange: () => void;
  readonly clock: Clock;
  readonly log: Log;
}

export class PluginNetworks {
  readonly #options: PluginNetworksOptions;
  readonly #failures = new Map<string, string>();
  #wanted: ReadonlyMap<string, NetworkTable> = new Map();
  /** Those that the work has begun for; what fails then is the timer's. */
  #ids: string | undefined;
  #running: Promise<void> | undefined;
  #again = false;
  #timer: Timer | undefined;
  #retryMs = RETRY_MS;
  #closed = false;

  constructor(options: PluginNetworksOptions) {
    this.#options = options;
  }

  /** The plug-ins' networks of the tables shall be here, and no others. */
  want(tables: ReadonlyMap<string, NetworkTable>): void {
    this.#wanted = new Map([...tables].filter(([, { driver }]) => isPluginDriver(driver)));
    const ids = [...this.#wanted.keys()].sort().join();
    if (ids === this.#ids) return;
    this.#ids = ids;
    this.#work();
  }

  /** Those that containers can be attached to now. */
  here(): readonly NetworkTable[] {
    const ids = this.#options.networks.swarmIds();
    return [...this.#wanted.values()].filter(({ networkId }) => ids.has(networkId));
  }

  /** Why the network is not here. */
  failure(networkId: string): string | undefined {
    return this.#failures.get(networkId);
  }

  /** Removes all; what cannot be removed now stays known, and is tried in the next swarm. */
  async clear(): Promise<void> {
    this.#wanted = new Map();
    this.#ids = undefined;
    this.#work();
    await this.#running;
    this.#timer?.cancel();
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    await this.#running;
  }

  #work(): void {
    if (this.#closed) return;
    this.#again = true;
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
    });
  }

  async #run(): Promise<void> {
    let failed = false;
    while (this.#again && !this.#closed) {
      this.#again = false;
      failed = !(await this.#bring());
    }
    this.#timer?.cancel();
    if (!failed || this.#closed) {
      this.#retryMs = RETRY_MS;
      return;
    }
    this.#timer = this.#options.clock.setTimer(this.#retryMs, () => this.#work());
    this.#retryMs = Math.min(this.#retryMs * 2, RETRY_MAX_MS);
  }

  /** False when something has to be tried again. */
  async #bring(): Promise<boolean> {
    const { networks } = this.#options;
    const wanted = this.#wanted;
    let done = true;
    for (const id of networks.swarmIds()) {
      if (wanted.has(id)) continue;
      this.#failures.delete(id);
      done = (await this.#attempt(id, networks.dropSwarm(id), "is not removed")) && done;
    }
    for (const [id, table] of wanted) {
      if (networks.swarmIds().has(id)) continue;
      const made = await this.#attempt(id, networks.ensureSwarm(recordOf(table)), "is not made");
      if (made) this.#failures.delete(id);
      done = made && done;
      this.#options.onChange();
    }
    return done;
  }

  async #attempt(id: string, work: Promise<void>, what: string): Promise<boolean> {
    try {
      await work;
      return true;
    } catch (error) {
      const reason = messageOf(error);
      this.#failures.set(id, reason);
      this.#options.log.warn(`a network of a plugin ${what}, it is tried again`, {
        network: id,
        reason,
      });
      return false;
    }
  }
}

function recordOf(table: NetworkTable): SwarmNetwork {
  const { networkId, name, driver, options, subnets, internal, attachable, labels } = table;
  const createdMs = msOfTimestamp(table.createdAt);
  return {
    id: networkId,
    name,
    driver,
    created: createdMs === undefined ? ZERO_TIME : new Date(createdMs).toISOString(),
    internal,
    attachable,
    ipam: subnets.map(({ subnet, gateway }) => ({
      subnet,
      addressSpace: "GlobalDefault",
      ...(gateway === "" ? {} : { gateway }),
    })),
    options,
    labels,
  };
}
