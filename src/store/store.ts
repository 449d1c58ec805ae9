/**
 * The store of one manager: the committed state, and ahead of it the head, which also holds the
 * transactions that the leader has proposed and raft has not committed yet. That way many proposals
 * are on their way at once while each transaction still sees all those before it.
 *
 * Invariants: the head is the committed state plus the transactions in flight, in the order of
 * their indexes; applying the same entries gives the same state on every manager, whether they pass
 * through the head (`commitHead`) or not (`apply`). Nothing in flight is ever visible in `view`.
 *
 * Synchronous, with a single owner, and without IO: raft and the watchers' waiting are the driver's.
 */

import { invariant, must } from "#base/invariant.ts";
import type { StoreAction } from "#wire/gen/swarmkit/raft_pb.js";
import type { StoreSnapshot } from "#wire/gen/swarmkit/snapshot_pb.js";
import { changeOf, effectOf, stamped } from "./actions.ts";
import { ChangeRing } from "./change-ring.ts";
import type { Stored } from "./kinds.ts";
import { difference, storeSnapshotOf } from "./snapshot.ts";
import { Draft, emptyState, type State } from "./tables.ts";
import { Transaction, type TransactionOptions } from "./transaction.ts";
import type { Change, ChangeBatch, Kind, ReadView } from "./types.ts";
import { StateView } from "./view.ts";

interface InFlight {
  readonly index: number;
  readonly changes: readonly Change[];
  /** The state after it, all earlier ones included. */
  readonly state: State;
}

/** What an entry does to one object as a whole. */
interface Effects {
  readonly kind: Kind;
  readonly before: Stored | undefined;
  after: Stored | undefined;
}

export interface StoreOptions {
  /** Most object changes that are kept for watchers that resume. */
  readonly watchChangesMax?: number;
}

export interface Store {
  /** The committed state. */
  view(): ReadView;
  /** The committed state plus all that is in flight; its index is that of the last one in flight. */
  head(): ReadView;
  /** The newest stamp (`updated_at`) of any committed object, milliseconds; 0 if there is none. */
  readonly newestMs: number;
  /** How many transactions are in flight. */
  readonly inFlight: number;
  /** Starts a transaction over the head; nothing is kept unless it is given to `push`. */
  begin(options: TransactionOptions): Transaction;
  /** Makes a proposed transaction part of the head. No other may have been pushed since it began. */
  push(transaction: Transaction): void;
  /** The oldest transaction in flight was committed at its index. */
  commitHead(index: number): ChangeBatch;
  /** Forgets the transactions in flight from `index` on (all by default); they may yet be applied. */
  dropHead(index?: number): void;
  /** Applies a committed entry that is not in flight here. Refuses nothing, so that all agree. */
  apply(actions: readonly StoreAction[], index: number): ChangeBatch;
  /** An entry was applied that changes no object. */
  skip(index: number): void;
  snapshot(): StoreSnapshot;
  /** Replaces everything by a snapshot's state; watchers see the differences as one batch. */
  restore(state: State, index: number): ChangeBatch;
  /** The first batch after `index`, if it is there yet. */
  batchAfter(index: number): ChangeBatch | "unavailable" | undefined;
}

export function createStore(options: StoreOptions = {}): Store {
  return new MemoryStore(options);
}

class MemoryStore implements Store {
  #index = 0;
  #committed: State = emptyState();
  /**
   * Where entries of others are applied, as long as nobody looks in between: what many of them write
   * in one turn is copied once. Taken into `#committed` by whoever looks.
   */
  #draft: Draft | undefined;
  #view: ReadView | undefined;
  #ring: ChangeRing;
  #flying: InFlight[] = [];
  #newestMs = 0;
  readonly #watchChangesMax: number | undefined;

  constructor(options: StoreOptions) {
    this.#watchChangesMax = options.watchChangesMax;
    this.#ring = new ChangeRing(0, this.#watchChangesMax);
  }

  get newestMs(): number {
    return this.#newestMs;
  }

  get inFlight(): number {
    return this.#flying.length;
  }

  view(): ReadView {
    this.#view ??= new StateView(this.#index, this.#settled());
    return this.#view;
  }

  head(): ReadView {
    const last = this.#flying.at(-1);
    return last === undefined ? this.view() : new StateView(last.index, last.state);
  }

  begin(options: TransactionOptions): Transaction {
    const last = this.#flying.at(-1);
    const base = last?.index ?? this.#index;
    invariant(options.index > base, "a transaction comes after all that is in flight");
    // Few ask, and what flies is many.
    const beneath = () => {
      const below = this.#flying.filter(({ index }) => index <= base);
      return below.map(({ changes }) => changes);
    };
    return new Transaction(last?.state ?? this.#settled(), options, beneath);
  }

  push(transaction: Transaction): void {
    const { index } = transaction;
    invariant(index > (this.#flying.at(-1)?.index ?? this.#index), "pushed in order");
    const changes = transaction.changes();
    this.#flying.push({ index, changes, state: transaction.result() });
  }

  commitHead(index: number): ChangeBatch {
    const oldest = must(this.#flying.shift(), "a transaction in flight");
    invariant(oldest.index === index, "transactions in flight are committed at their own index");
    invariant(this.#draft === undefined, "what is in flight stands on what is committed");
    this.#committed = oldest.state;
    return this.#advance(index, oldest.changes);
  }

  dropHead(index = 0): void {
    this.#flying = this.#flying.filter((one) => one.index < index);
  }

  apply(actions: readonly StoreAction[], index: number): ChangeBatch {
    invariant(this.#flying.length === 0, "what is in flight is dropped before others' entries");
    this.#draft ??= new Draft(this.#committed);
    const draft = this.#draft;
    const touched = new Map<string, Effects>();
    for (const action of actions) {
      const effect = effectOf(action);
      if (effect === undefined) continue;
      const { kind, id, put } = effect;
      const key = `${kind}/${id}`;
      let effects = touched.get(key);
      if (effects === undefined) {
        const before = draft.peek(kind).objects.get(id);
        effects = { kind, before, after: before };
        touched.set(key, effects);
      }
      const after = put === undefined ? undefined : stamped(put, index);
      draft.replace(kind, effects.after, after);
      effects.after = after;
    }
    const changes: Change[] = [];
    for (const { kind, before, after } of touched.values()) {
      const change = changeOf(kind, before, after);
      if (change !== undefined) changes.push(change);
    }
    return this.#advance(index, changes);
  }

  skip(index: number): void {
    this.#advance(index, []);
  }

  snapshot(): StoreSnapshot {
    return storeSnapshotOf(this.view());
  }

  restore(state: State, index: number): ChangeBatch {
    invariant(index >= this.#index, "a snapshot never leads back");
    this.#flying = [];
    const from = this.#index;
    const batch = { index, changes: difference(this.#settled(), state) };
    this.#noteStamps(batch.changes);
    this.#index = index;
    this.#committed = state;
    this.#view = undefined;
    // The first state of a process has no past that anybody could have watched.
    if (from === 0) this.#ring = new ChangeRing(index, this.#watchChangesMax);
    else if (index > from) this.#ring.pushJump(from, batch);
    return batch;
  }

  batchAfter(index: number): ChangeBatch | "unavailable" | undefined {
    return this.#ring.after(index);
  }

  /** The committed state, to be kept. */
  #settled(): State {
    if (this.#draft !== undefined) {
      this.#committed = this.#draft.state;
      this.#draft = undefined;
    }
    return this.#committed;
  }

  #advance(index: number, changes: readonly Change[]): ChangeBatch {
    invariant(index > this.#index, "entries are applied in order, each once");
    this.#index = index;
    this.#view = undefined;
    const batch = { index, changes };
    this.#noteStamps(changes);
    if (changes.length > 0) this.#ring.push(batch);
    return batch;
  }

  #noteStamps(changes: readonly Change[]): void {
    for (const { object } of changes) {
      const stamp = object.meta?.updatedAt;
      if (stamp === undefined) continue;
      const ms = Number(stamp.seconds) * 1_000 + stamp.nanos / 1_000_000;
      if (ms > this.#newestMs) this.#newestMs = ms;
    }
  }
}
