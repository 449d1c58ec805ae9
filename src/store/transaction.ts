/**
 * One transaction of the leader over the newest state, which includes what is still on its way
 * through raft. It checks what may be refused (ids, names, versions, size) and collects what it
 * changed; applying a committed entry later checks nothing.
 *
 * Versions. Entries are proposed synchronously by the one appender of the log, so the index of the
 * entry is known when the transaction starts; every object written gets it as its version at once,
 * and a later transaction that updates the same object before it is committed just sees a version.
 * Within the transaction all writes share that version, so it cannot tell a fresh copy of an object
 * from one read before an earlier write of the same transaction; there, the object must carry the
 * very `meta` of the last write (spreading keeps it). The creator of an object may also go on from
 * the value that it created.
 */

import { create } from "@bufbuild/protobuf";
import { EngineError } from "#base/error.ts";
import { STORE_CHANGES_MAX } from "#base/limits.ts";
import { timestampOf } from "#model/time.ts";
import { MetaSchema } from "#wire/gen/swarmkit/objects_pb.js";
import type { StoreAction } from "#wire/gen/swarmkit/raft_pb.js";
import { actionOf, changeOf, metaAt, versionOf } from "./actions.ts";
import { KIND_RULES, NAME_INDEX, type Stored } from "./kinds.ts";
import { Draft, idsUnder, type State } from "./tables.ts";
import type { Change, IndexNames, Kind, ObjectTypes, Tx } from "./types.ts";
import { objectNamed, objectOf, objectsOf, objectsUnder, objectsWithIdPrefix } from "./view.ts";

export interface TransactionOptions {
  /** Index that the entry will have. */
  readonly index: number;
  /** Wall clock of the proposer, milliseconds since the epoch: `created_at`, `updated_at`. */
  readonly nowMs: number;
  /** Sees each write before it takes effect and may throw: for rules above the store. */
  readonly check?: ((change: Change) => void) | undefined;
}

/** What happened to one object over the whole transaction. */
interface Touched {
  readonly kind: Kind;
  readonly before: Stored | undefined;
  after: Stored | undefined;
  /** The value that the creator passed, whose `meta` it may still hold; creations only. */
  input: Stored | undefined;
}

export class Transaction implements Tx {
  readonly index: number;
  readonly #beneath: () => readonly (readonly Change[])[];
  readonly #options: TransactionOptions;
  readonly #draft: Draft;
  readonly #log: Change[] = [];
  /** By kind and id. A look in here is cheaper than one into a table. */
  readonly #touched = new Map<Kind, Map<string, Touched>>();
  /** The same in the order of first touch. */
  readonly #order: Touched[] = [];

  /** `beneath` tells, while the transaction runs, what was on its way when it began. */
  constructor(
    base: State,
    options: TransactionOptions,
    beneath: () => readonly (readonly Change[])[] = () => [],
  ) {
    this.index = options.index;
    this.#beneath = beneath;
    this.#options = options;
    this.#draft = new Draft(base);
  }

  get nowMs(): number {
    return this.#options.nowMs;
  }

  /** What was on its way when the transaction began, oldest first: it sees all of that. */
  get beneath(): readonly (readonly Change[])[] {
    return this.#beneath();
  }

  /** Every write so far, in order, one by one; for readers that follow along. */
  get log(): readonly Change[] {
    return this.#log;
  }

  /** What the transaction does as a whole: one change per object, in order of first touch. */
  changes(): readonly Change[] {
    const changes: Change[] = [];
    for (const { kind, before, after } of this.#order) {
      const change = changeOf(kind, before, after);
      if (change !== undefined) changes.push(change);
    }
    return changes;
  }

  actions(): StoreAction[] {
    return this.changes().map(actionOf);
  }

  /** The state after the transaction. */
  result(): State {
    return this.#draft.state;
  }

  get<K extends Kind>(kind: K, id: string): ObjectTypes[K] | undefined {
    const touched = this.#touchedOf(kind, id);
    // What is touched under a kind is of that kind.
    if (touched !== undefined) return touched.after as ObjectTypes[K] | undefined;
    return objectOf(this.#draft.peek(kind), kind, id);
  }

  byName<K extends Kind>(kind: K, name: string): ObjectTypes[K] | undefined {
    return objectNamed(this.#draft.peek(kind), kind, name);
  }

  // Iterations see the state of the moment they were asked for, whatever is written meanwhile.
  all<K extends Kind>(kind: K): Iterable<ObjectTypes[K]> {
    return objectsOf(this.#draft.share(kind), kind);
  }

  byIdPrefix<K extends Kind>(kind: K, prefix: string): Iterable<ObjectTypes[K]> {
    return objectsWithIdPrefix(this.#draft.share(kind), kind, prefix);
  }

  find<K extends Kind>(kind: K, index: IndexNames[K], key: string): Iterable<ObjectTypes[K]> {
    return objectsUnder(this.#draft.share(kind), kind, index, key);
  }

  count(kind: Kind): number {
    return this.#draft.peek(kind).objects.size;
  }

  create<K extends Kind>(kind: K, object: ObjectTypes[K]): void {
    if (object.id === "") throw new EngineError("invalid-argument", "object has no id");
    if (this.get(kind, object.id) !== undefined) {
      throw new EngineError("already-exists", "object already exists");
    }
    this.#refuseTakenName(kind, object);
    this.#write(kind, undefined, { ...object, meta: this.#meta(object, undefined) });
    const touched = this.#touchedOf(kind, object.id);
    if (touched !== undefined) touched.input = object;
  }

  update<K extends Kind>(kind: K, object: ObjectTypes[K]): void {
    const stored: ObjectTypes[K] | undefined = this.get(kind, object.id);
    if (stored === undefined) throw notFound();
    if (!this.#isCurrent(kind, stored, object)) throw outOfSequence();
    this.#refuseTakenName(kind, object);
    this.#write(kind, stored, { ...object, meta: this.#meta(object, stored) });
    const touched = this.#touchedOf(kind, object.id);
    if (touched !== undefined) touched.input = undefined;
  }

  delete(kind: Kind, id: string): void {
    const stored: Stored | undefined = this.get(kind, id);
    if (stored === undefined) throw notFound();
    this.#write(kind, stored, undefined);
  }

  #isCurrent(kind: Kind, stored: Stored, object: Stored): boolean {
    const touched = this.#touchedOf(kind, stored.id);
    if (touched === undefined) return versionOf(stored) === versionOf(object);
    if (object.meta === stored.meta) return true;
    return touched.input !== undefined && object.meta === touched.input.meta;
  }

  #refuseTakenName(kind: Kind, object: Stored): void {
    const { uniqueName, indexes } = KIND_RULES[kind];
    const rule = indexes[NAME_INDEX];
    if (!uniqueName || rule === undefined) return;
    // The rule is that of the object's own kind.
    for (const name of rule.keys(object as never)) {
      for (const id of idsUnder(this.#draft.peek(kind), NAME_INDEX, name)) {
        if (id === object.id) continue;
        throw new EngineError("already-exists", "name conflicts with an existing object");
      }
    }
  }

  #meta(object: Stored, stored: Stored | undefined) {
    const now = timestampOf(this.#options.nowMs);
    const createdAt = object.meta?.createdAt ?? stored?.meta?.createdAt ?? now;
    const meta = object.meta ?? create(MetaSchema);
    return { ...metaAt(meta, this.index), createdAt, updatedAt: now };
  }

  #write(kind: Kind, before: Stored | undefined, after: Stored | undefined): void {
    const change = changeOf(kind, before, after);
    const id = (after ?? before)?.id ?? "";
    if (change === undefined) return;
    const known = this.#touchedOf(kind, id);
    if (known === undefined && this.#order.length >= STORE_CHANGES_MAX) {
      const message = `transaction changes more than ${STORE_CHANGES_MAX} objects`;
      throw new EngineError("resource-exhausted", message);
    }
    this.#options.check?.(change);
    const touched = known ?? this.#touch(kind, id, before);
    touched.after = after;
    this.#log.push(change);
    this.#draft.replace(kind, before, after);
  }

  #touchedOf(kind: Kind, id: string): Touched | undefined {
    return this.#touched.get(kind)?.get(id);
  }

  #touch(kind: Kind, id: string, before: Stored | undefined): Touched {
    const touched: Touched = { kind, before, after: undefined, input: undefined };
    const ofKind = this.#touched.get(kind);
    if (ofKind === undefined) this.#touched.set(kind, new Map([[id, touched]]));
    else ofKind.set(id, touched);
    this.#order.push(touched);
    return touched;
  }
}

/**
 * The writes that a running transaction has made so far, one by one in order: for whoever runs
 * several planners over one transaction and tells each what the others wrote.
 */
export function changesInFlight(tx: Tx): readonly Change[] {
  if (tx instanceof Transaction) return tx.log;
  throw new EngineError("internal", "not a transaction of this store");
}

/**
 * The changes that the transaction sees although nobody was told of them yet: they are proposed and
 * not committed. Whoever decides by what he was told, and writes by this transaction, must take
 * them in first.
 */
export function* changesBeneath(tx: Tx): Iterable<Change> {
  if (!(tx instanceof Transaction)) {
    throw new EngineError("internal", "not a transaction of this store");
  }
  for (const changes of tx.beneath) yield* changes;
}

/** True for the refusal of an update whose object is not the newest. */
export function isOutOfSequence(thrown: unknown): boolean {
  return thrown instanceof OutOfSequence;
}

/**
 * SwarmKit's ErrSequenceConflict has no gRPC status of its own, so clients see "rpc error: code =
 * Unknown desc = update out of sequence" (HTTP 500); the code is `unknown` for that reason. Inside,
 * tell it by `isOutOfSequence`.
 */
class OutOfSequence extends EngineError {
  constructor() {
    super("unknown", "update out of sequence", { retryable: true });
  }
}

function outOfSequence(): EngineError {
  return new OutOfSequence();
}

function notFound(): EngineError {
  return new EngineError("not-found", "object does not exist");
}
