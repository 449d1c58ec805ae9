/**
 * One leader's dealings with address plug-ins. Each plug-in is served by itself: one that does not answer
 * holds up nobody else, and is tried again less and less often.
 *
 * Of one network, what goes back goes first and alone: an address that the plug-in has back but the
 * store still names must not come again meanwhile, or its second release would take it from whoever
 * has it then.
 */

import { isErrorCode, messageOf } from "#base/error.ts";
import { newId } from "#base/ids.ts";
import type { Clock, Log, Random } from "#base/ports.ts";
import type { GivenPool } from "#model/address-pool.ts";
import { type AddressLease, LeaseState } from "#model/lease.ts";
import { canonicalIp } from "#plan/allocator/lease-stock.ts";
import { addressDriverOf, awaitsPools } from "#plan/allocator/network-table.ts";
import { type Deferred, deferred } from "#platform/async.ts";
import type { ChangeBatch } from "#store/types.ts";
import type { Network } from "#wire/gen/swarmkit/objects_pb.js";
import type { ClusterState } from "../state.ts";
import { giveBackUnwritten } from "./orphans.ts";
import type { AddressDrivers } from "./ports.ts";
import {
  backToWanted,
  type Lease,
  leasesIn,
  markAsking,
  noteAddresses,
  noteNetwork,
  poolsRequestOf,
  recordAddress,
  recordPools,
} from "./records.ts";

/** Calls of one plug-in at a time. */
const CALLS_MAX = 8;
const RETRY_MS = 1_000;
const RETRY_MAX_MS = 30_000;

export interface AddressPluginsOptions {
  readonly state: ClusterState;
  readonly drivers: AddressDrivers;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** Who is tried again later, and when. */
interface Pause {
  atMs: number;
  failures: number;
}

interface Served extends Pause {
  busy: boolean;
  /** It knows, in this reign, what it gave before. */
  told: boolean;
}

interface Work {
  readonly networks: readonly Network[];
  readonly wanted: readonly Lease[];
  readonly releasing: readonly Lease[];
}

export class AddressReign {
  readonly #options: AddressPluginsOptions;
  readonly #signal: AbortSignal;
  readonly #served = new Map<string, Served>();
  /** Networks to which a plug-in has said no. */
  readonly #refused = new Map<string, Pause>();
  #called: Deferred<void> = deferred();
  #failure: { readonly error: unknown } | undefined;

  constructor(options: AddressPluginsOptions, signal: AbortSignal) {
    this.#options = options;
    this.#signal = signal;
  }

  async run(): Promise<void> {
    const { state, clock } = this.#options;
    const { batches } = state.viewAndWatch({ signal: this.#signal });
    void this.#follow(batches);
    await this.#takeOver();
    while (!this.#signal.aborted) {
      if (this.#failure !== undefined) throw this.#failure.error;
      this.#called = deferred();
      const timer = clock.setTimer(this.#look(), () => this.#called.resolve());
      await this.#called.promise;
      timer.cancel();
    }
  }

  async #follow(batches: AsyncIterable<ChangeBatch>): Promise<void> {
    try {
      for await (const { changes } of batches) {
        if (changes.some(({ kind }) => kind === "resource" || kind === "network")) {
          this.#called.resolve();
        }
      }
    } catch (error) {
      this.#failure = { error };
    }
    this.#called.resolve();
  }

  /** What a leader before this one was asking for is asked for again. */
  async #takeOver(): Promise<void> {
    const { state, log } = this.#options;
    const asking = leasesIn(state.view()).filter(({ lease }) => lease.state === LeaseState.ASKING);
    if (asking.length === 0) return;
    await state.update("allocator", (tx) => {
      for (const { id } of asking) backToWanted(tx, id, "");
    });
    const counts = new Map<string, number>();
    for (const { lease } of asking) {
      const key = `${lease.driver} ${lease.networkId}`;
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
    for (const [key, count] of counts) {
      const [plugin, network] = key.split(" ");
      log.warn(
        "a leader ended while it asked an address plugin: the plugin may hold addresses for the swarm that nobody uses",
        { plugin, network, addresses: count },
      );
    }
  }

  /** Serves whom it is time for; milliseconds until it is somebody's time. */
  #look(): number {
    const { clock } = this.#options;
    let dueMs = RETRY_MAX_MS;
    for (const [driver, work] of this.#work()) {
      const served = this.#served.get(driver) ?? { atMs: 0, failures: 0, busy: false, told: false };
      this.#served.set(driver, served);
      if (served.busy) continue;
      const atMs = Math.max(served.atMs, this.#firstDue(work));
      const inMs = atMs - clock.monotonicMs();
      if (inMs > 0) {
        dueMs = Math.min(dueMs, inMs);
        continue;
      }
      served.busy = true;
      void this.#serve(driver, served);
    }
    return dueMs;
  }

  #firstDue({ networks, wanted, releasing }: Work): number {
    if (releasing.length > 0) return 0;
    const ids = [...networks.map(({ id }) => id), ...wanted.map(({ lease }) => lease.networkId)];
    return Math.min(...ids.map((id) => this.#refused.get(id)?.atMs ?? 0));
  }

  /** What there is to do, by plug-in; those who have been refused included. */
  #work(): ReadonlyMap<string, Work> {
    const { state } = this.#options;
    const work = new Map<string, { networks: Network[]; wanted: Lease[]; releasing: Lease[] }>();
    const of = (driver: string) => {
      const one = work.get(driver) ?? { networks: [], wanted: [], releasing: [] };
      work.set(driver, one);
      return one;
    };
    const view = state.view();
    for (const network of view.all("network")) {
      if (awaitsPools(network)) of(addressDriverOf(network)).networks.push(network);
    }
    const leases = leasesIn(view);
    const returning = new Set(
      leases
        .filter(({ lease }) => lease.state === LeaseState.RELEASING)
        .map(({ lease }) => lease.networkId),
    );
    for (const one of leases) {
      const { state: now, driver, networkId } = one.lease;
      if (now === LeaseState.RELEASING) of(driver).releasing.push(one);
      if (now === LeaseState.WANTED && !returning.has(networkId)) of(driver).wanted.push(one);
    }
    return work;
  }

  /** Never rejects. */
  async #serve(driver: string, served: Served): Promise<void> {
    const { clock, log } = this.#options;
    try {
      if (!served.told) await this.#tell(driver);
      served.told = true;
      await this.#round(driver);
      served.failures = 0;
      served.atMs = 0;
    } catch (error) {
      served.told = false;
      served.failures += 1;
      served.atMs = clock.monotonicMs() + pauseOf(served.failures);
      const reason = this.#reasonOf(error);
      if (!this.#signal.aborted) {
        log.warn("an address plugin cannot be used, it is tried again", { plugin: driver, reason });
        await this.#note(driver, reason);
      }
    }
    served.busy = false;
    this.#called.resolve();
  }

  #reasonOf(error: unknown): string {
    const reason = messageOf(error);
    return isErrorCode(error, "not-found")
      ? `${reason} on the manager that leads: each manager needs it`
      : reason;
  }

  /** The plug-in learns again what it gave, if it says that it forgets. */
  async #tell(driver: string): Promise<void> {
    const { state, drivers } = this.#options;
    const leases = leasesIn(state.view()).filter(({ lease }) => lease.driver === driver);
    const pools = leases.filter(({ lease }) => lease.pool);
    if (pools.length === 0 || !(await drivers.forgets(driver))) return;
    for (const { lease: pool } of pools) {
      const addresses = leases.flatMap(({ lease }) =>
        lease.networkId === pool.networkId && lease.poolId === pool.poolId && lease.address !== ""
          ? [lease.address]
          : [],
      );
      await drivers.replay(driver, givenPool(pool), pool.options, addresses);
    }
  }

  /** One step for each kind of work. Throws when the plug-in is not there. */
  async #round(driver: string): Promise<void> {
    const work = this.#work().get(driver);
    if (work === undefined || this.#signal.aborted) return;
    const nowMs = this.#options.clock.monotonicMs();
    const isDue = (id: string) => (this.#refused.get(id)?.atMs ?? 0) <= nowMs;
    const networks = work.networks.filter(({ id }) => isDue(id)).slice(0, CALLS_MAX);
    const wanted = work.wanted.filter(({ lease }) => isDue(lease.networkId)).slice(0, CALLS_MAX);
    const releasing = [...work.releasing]
      .sort((a, b) => Number(a.lease.pool) - Number(b.lease.pool))
      .slice(0, CALLS_MAX);
    const asked = wanted.length === 0 ? [] : await this.#markAsking(wanted);
    const done = await Promise.allSettled([
      ...networks.map((network) => this.#givePools(driver, network)),
      ...asked.map((one) => this.#giveAddress(driver, one)),
      ...releasing.map((one) => this.#takeBack(driver, one)),
    ]);
    const failed = done.find((one) => one.status === "rejected");
    if (failed !== undefined) throw failed.reason;
  }

  #markAsking(wanted: readonly Lease[]): Promise<readonly Lease[]> {
    const ids = wanted.map(({ id }) => id);
    return this.#options.state.update("allocator", (tx) => markAsking(tx, ids));
  }

  async #givePools(driver: string, network: Network): Promise<void> {
    const { state, drivers, random } = this.#options;
    let pools: readonly GivenPool[];
    try {
      pools = await drivers.requestPools(driver, poolsRequestOf(network));
    } catch (error) {
      if (isAbsence(error)) throw error;
      await this.#refuse(network.id, messageOf(error));
      await state.update("allocator", (tx) => noteNetwork(tx, network.id, messageOf(error)));
      return;
    }
    try {
      const id = () => newId(random);
      const given = await state.update("allocator", (tx) => recordPools(tx, network, pools, id));
      if (given) this.#refused.delete(network.id);
      else this.#pause(network.id);
    } catch (error) {
      void giveBackUnwritten(this.#options, {
        what: `pools of network ${network.id}`,
        isWritten: (leases) =>
          leases.some(({ pool, networkId }) => pool && networkId === network.id),
        giveBack: async () => {
          for (const pool of pools) await drivers.releasePool(driver, pool);
        },
      });
      throw error;
    }
  }

  /** Of the first pool that has one. */
  async #giveAddress(driver: string, { id, lease }: Lease): Promise<void> {
    const { state, drivers } = this.#options;
    const pools = leasesIn(state.view()).filter(
      ({ lease: one }) =>
        one.pool &&
        one.state === LeaseState.GIVEN &&
        one.networkId === lease.networkId &&
        one.family === lease.family,
    );
    let reason = "it has no pool of that family";
    try {
      for (const { lease: pool } of pools) {
        // Not broken off with the reign: what the plug-in gives then has to go back.
        const answer = await drivers.requestAddress(driver, pool, lease.wish);
        if ("address" in answer)
          return await this.#write(driver, { id, lease }, pool, answer.address);
        reason = answer.refused;
      }
    } catch (error) {
      if (this.#signal.aborted) throw error;
      await state.update("allocator", (tx) => backToWanted(tx, id, this.#reasonOf(error)));
      if (isAbsence(error)) throw error;
      reason = messageOf(error);
      this.#options.log.warn(
        "an address plugin did not say what it did: it may hold an address that nobody uses",
        { plugin: driver, network: lease.networkId, reason },
      );
    }
    this.#pause(lease.networkId);
    await state.update("allocator", (tx) => backToWanted(tx, id, reason));
  }

  async #write(
    driver: string,
    { id, lease }: Lease,
    pool: AddressLease,
    answer: string,
  ): Promise<void> {
    const { state, drivers, random, log } = this.#options;
    // Plug-ins answer with a mask, and are told without.
    const address = canonicalIp(answer) ?? answer;
    try {
      const wrong = await state.update("allocator", (tx) => {
        const unusable = recordAddress(tx, id, lease, pool, address, () => newId(random));
        if (unusable !== undefined) backToWanted(tx, id, unusable);
        return unusable;
      });
      if (wrong === undefined) {
        this.#refused.delete(lease.networkId);
        return;
      }
      this.#pause(lease.networkId);
      log.error("an address plugin's answer cannot be used", { plugin: driver, reason: wrong });
    } catch (error) {
      void giveBackUnwritten(this.#options, {
        what: `address ${address} of network ${lease.networkId}`,
        isWritten: (leases) =>
          leases.some((one) => one.networkId === lease.networkId && one.address === address),
        giveBack: () => drivers.releaseAddress(driver, pool.poolId, address),
      });
      throw error;
    }
  }

  async #takeBack(driver: string, { id, lease }: Lease): Promise<void> {
    const { state, drivers } = this.#options;
    if (lease.pool) await drivers.releasePool(driver, givenPool(lease));
    else await drivers.releaseAddress(driver, lease.poolId, lease.address, this.#signal);
    await state.update("allocator", (tx) => {
      if (tx.get("resource", id) !== undefined) tx.delete("resource", id);
    });
    this.#refused.delete(lease.networkId);
  }

  async #refuse(networkId: string, reason: string): Promise<void> {
    this.#pause(networkId);
    this.#options.log.warn("an address plugin gives a network no pools, it is asked again", {
      network: networkId,
      reason,
    });
  }

  #pause(networkId: string): void {
    const failures = (this.#refused.get(networkId)?.failures ?? 0) + 1;
    const atMs = this.#options.clock.monotonicMs() + pauseOf(failures);
    this.#refused.set(networkId, { failures, atMs });
  }

  /** Says on all that wait for the plug-in why they do. */
  async #note(driver: string, reason: string): Promise<void> {
    const { networks, wanted } = this.#work().get(driver) ?? { networks: [], wanted: [] };
    const ids = new Set(wanted.map(({ lease }) => lease.networkId));
    await this.#options.state
      .update("allocator", (tx) => {
        for (const { id } of networks) noteNetwork(tx, id, reason);
        for (const id of ids) noteAddresses(tx, id, reason);
      })
      .catch(() => undefined);
  }
}

/** It was not there, and has heard nothing. */
export function isAbsence(error: unknown): boolean {
  return isErrorCode(error, "unavailable", "not-found");
}

function pauseOf(failures: number): number {
  return Math.min(RETRY_MS * 2 ** (failures - 1), RETRY_MAX_MS);
}

function givenPool(pool: AddressLease): GivenPool {
  const { poolId, addressSpace, subnet, range, gateway, reserved } = pool;
  return { poolId, addressSpace, subnet, range, gateway, reserved };
}
