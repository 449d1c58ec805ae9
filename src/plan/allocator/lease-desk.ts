/**
 * Whose addresses a plug-in gives wait here. The desk knows what each network's plug-in has given, and
 * who needs how much of it; it writes what is to be asked for, and what may be given back. Asking and
 * giving back is the leader's (`manager/address-plugins.ts`), outside of any transaction.
 *
 * What no object holds and nobody needs goes back: as long as a lease is in the store, the plug-in has
 * not heard that it is over.
 */

import { type AddressLease, changedLease, LeaseState, leaseOf, newLease } from "#model/lease.ts";
import type { Tx } from "#store/types.ts";
import type { Resource } from "#wire/gen/swarmkit/objects_pb.js";
import type { Delta } from "../delta.ts";
import type { PlanContext } from "../planner.ts";
import { LeaseStock } from "./lease-stock.ts";
import { addressDriverOf } from "./network-table.ts";

/** One address of a network that somebody cannot go on without. */
export interface Need {
  readonly networkId: string;
  readonly family: 4 | 6;
  /** This very one, as leases write it. */
  readonly wish?: string;
}

/** What a change of a lease means to those who wait. */
export interface LeaseNews {
  readonly networkId: string;
  /** An address came: one may go on; "all" if it is not anybody's, or the plug-in said something else. */
  readonly room: "one" | "all" | "none";
}

interface NetworkLeases {
  readonly stock: LeaseStock;
  /** Not given yet, by id. */
  readonly wanted: Map<string, AddressLease>;
  readonly given: Map<string, AddressLease>;
  readonly releasing: Map<string, AddressLease>;
  readonly pools: Map<string, AddressLease>;
  readonly needs: Map<string, readonly Need[]>;
}

export class LeaseDesk {
  readonly #networks = new Map<string, NetworkLeases>();
  /** On which networks somebody needs something. */
  readonly #needers = new Map<string, ReadonlySet<string>>();
  readonly #dirty = new Set<string>();

  stock(networkId: string): LeaseStock {
    return this.#of(networkId).stock;
  }

  /** Leases of all networks, for checks that nothing leaks. */
  get count(): number {
    let count = 0;
    for (const { wanted, given, releasing, pools } of this.#networks.values()) {
      count += wanted.size + given.size + releasing.size + pools.size;
    }
    return count;
  }

  take({ before, after }: Delta<Resource>): LeaseNews | undefined {
    const was = before === undefined ? undefined : leaseOf(before);
    const is = after === undefined ? undefined : leaseOf(after);
    const id = (after ?? before)?.id ?? "";
    const networkId = (is ?? was)?.networkId;
    if (networkId === undefined) return undefined;
    const leases = this.#of(networkId);
    this.#dirty.add(networkId);
    if (was !== undefined) this.#forget(leases, id, was);
    if (is !== undefined) this.#remember(leases, id, is);
    return { networkId, room: roomOf(was, is) };
  }

  /** Replaces what somebody needs; nothing ends it. */
  need(waiterId: string, needs: readonly Need[]): void {
    for (const networkId of this.#needers.get(waiterId) ?? []) {
      this.#of(networkId).needs.delete(waiterId);
      this.#dirty.add(networkId);
    }
    const networkIds = new Set(needs.map(({ networkId }) => networkId));
    if (networkIds.size === 0) this.#needers.delete(waiterId);
    else this.#needers.set(waiterId, networkIds);
    for (const networkId of networkIds) {
      const own = needs.filter((need) => need.networkId === networkId);
      this.#of(networkId).needs.set(waiterId, own);
      this.#dirty.add(networkId);
    }
  }

  networkChanged(networkId: string): void {
    if (this.#networks.has(networkId)) this.#dirty.add(networkId);
  }

  /** Writes what follows from what came since, as far as there is room. */
  settle(context: PlanContext): void {
    for (const networkId of this.#dirty) {
      if (!context.hasRoom()) return;
      const leases = this.#networks.get(networkId);
      if (leases === undefined || this.#settle(context, networkId, leases)) {
        this.#dirty.delete(networkId);
      }
      if (leases !== undefined && isOver(leases)) this.#networks.delete(networkId);
    }
  }

  /** False when there was no room for all of it. */
  #settle(context: PlanContext, networkId: string, leases: NetworkLeases): boolean {
    const { tx } = context;
    const network = tx.get("network", networkId);
    if (network === undefined) {
      for (const waiterId of leases.needs.keys()) this.need(waiterId, []);
    }
    const balance = balanceOf(leases);
    for (const { family, wish } of balance.missing) {
      if (network === undefined || !context.hasRoom()) return network === undefined;
      const lease = { state: LeaseState.WANTED, driver: addressDriverOf(network), networkId };
      tx.create("resource", newLease(context.newId(), { ...lease, family, wish: wish ?? "" }));
    }
    for (const id of balance.unwanted) {
      if (!context.hasRoom()) return false;
      tx.delete("resource", id);
    }
    for (const id of balance.spare) {
      if (!context.hasRoom()) return false;
      giveBack(tx, id);
    }
    if (network !== undefined || !hasPoolsOnly(leases) || balance.spare.length > 0) return true;
    for (const [id, { state }] of leases.pools) {
      if (state !== LeaseState.RELEASING) giveBack(tx, id);
    }
    return true;
  }

  #of(networkId: string): NetworkLeases {
    let leases = this.#networks.get(networkId);
    if (leases === undefined) {
      leases = {
        stock: new LeaseStock(() => this.#dirty.add(networkId)),
        wanted: new Map(),
        given: new Map(),
        releasing: new Map(),
        pools: new Map(),
        needs: new Map(),
      };
      this.#networks.set(networkId, leases);
    }
    return leases;
  }

  #remember(leases: NetworkLeases, id: string, lease: AddressLease): void {
    leases.stock.driver = lease.driver;
    if (lease.pool) {
      leases.pools.set(id, lease);
      leases.stock.error = errorOf(leases);
    } else if (lease.state === LeaseState.GIVEN) {
      leases.given.set(id, lease);
      leases.stock.put(id, lease);
    } else if (lease.state === LeaseState.RELEASING) {
      leases.releasing.set(id, lease);
    } else {
      leases.wanted.set(id, lease);
      if (lease.wish !== "") leases.stock.noteWish(lease.wish, lease.error);
    }
  }

  #forget(leases: NetworkLeases, id: string, lease: AddressLease): void {
    if (lease.pool) {
      leases.pools.delete(id);
      leases.stock.error = errorOf(leases);
      return;
    }
    leases.wanted.delete(id);
    leases.releasing.delete(id);
    if (lease.wish !== "") leases.stock.noteWish(lease.wish, undefined);
    if (leases.given.delete(id)) leases.stock.drop(lease.address);
  }
}

interface Balance {
  readonly missing: readonly Omit<Need, "networkId">[];
  /** Ids of leases that nobody has asked for yet, and nobody needs any more. */
  readonly unwanted: readonly string[];
  /** Ids of those that nobody uses or needs. */
  readonly spare: readonly string[];
}

function balanceOf({ stock, wanted, given, releasing, needs }: NetworkLeases): Balance {
  const all = [...needs.values()].flat();
  const wishes = new Set(all.flatMap(({ wish }) => wish ?? []));
  const missing: Omit<Need, "networkId">[] = [];
  const unwanted: string[] = [];
  const spare: string[] = [];
  const leased = new Set([...given.values(), ...releasing.values()].map(({ address }) => address));
  const asked = new Set([...wanted.values()].flatMap(({ wish }) => (wish === "" ? [] : [wish])));
  for (const { wish, family } of all) {
    if (wish === undefined || leased.has(wish) || asked.has(wish)) continue;
    asked.add(wish);
    missing.push({ family, wish });
  }
  for (const [id, { wish, state }] of wanted) {
    if (wish !== "" && !wishes.has(wish) && state === LeaseState.WANTED) unwanted.push(id);
  }
  for (const family of [4, 6] as const) {
    const count = all.filter((need) => need.family === family && need.wish === undefined).length;
    const free = [...stock.free].filter((one) => one.family === family && !wishes.has(one.address));
    const plain = free.filter(({ chosen }) => !chosen);
    spare.push(...free.filter(({ chosen }) => chosen).map(({ leaseId }) => leaseId));
    const coming = [...wanted].filter(([, one]) => one.family === family && one.wish === "");
    const lacking = count - plain.length;
    for (let at = coming.length; at < lacking; at += 1) missing.push({ family });
    // Who is being asked for cannot be called off: what comes of it is given back.
    const idle = coming.filter(([, { state }]) => state === LeaseState.WANTED);
    const surplus = Math.min(coming.length - Math.max(lacking, 0), idle.length);
    if (surplus > 0) unwanted.push(...idle.slice(-surplus).map(([id]) => id));
    spare.push(...plain.slice(0, Math.max(0, -lacking)).map(({ leaseId }) => leaseId));
  }
  return { missing, unwanted, spare };
}

function giveBack(tx: Tx, id: string): void {
  const resource = tx.get("resource", id);
  if (resource === undefined) return;
  tx.update("resource", changedLease(resource, { state: LeaseState.RELEASING, error: "" }));
}

function roomOf(was: AddressLease | undefined, is: AddressLease | undefined): LeaseNews["room"] {
  if (is === undefined) return "none";
  if (is.state === LeaseState.GIVEN && was?.state !== LeaseState.GIVEN) {
    return is.pool || is.wish !== "" ? "all" : "one";
  }
  return is.error === (was?.error ?? "") ? "none" : "all";
}

function errorOf({ pools }: NetworkLeases): string {
  for (const { error } of pools.values()) if (error !== "") return error;
  return "";
}

function hasPoolsOnly({ wanted, given, releasing }: NetworkLeases): boolean {
  return wanted.size === 0 && given.size === 0 && releasing.size === 0;
}

function isOver(leases: NetworkLeases): boolean {
  return (
    hasPoolsOnly(leases) &&
    leases.pools.size === 0 &&
    leases.needs.size === 0 &&
    leases.stock.isEmpty
  );
}
