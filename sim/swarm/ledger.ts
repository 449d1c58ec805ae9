/**
 * What a swarm has committed, in order, from whichever manager shows it first; laws about single
 * changes are held against it. All managers show the same batches (`SameObjects` sees to that), so
 * that one reading is enough.
 */

import type { Change, ChangeBatch, Kind, ObjectTypes, ReadView } from "#store/types.ts";

/** What became of one object in a batch. */
export type Delta = {
  [K in Kind]: {
    readonly kind: K;
    readonly id: string;
    readonly before: ObjectTypes[K] | undefined;
    readonly after: ObjectTypes[K] | undefined;
  };
}[Kind];

export interface StoreLaw {
  /** The store is `ledger` now, which does not follow from what was seen before. */
  begins(ledger: Ledger): void;
  /** What a batch changed, after it is in the ledger. Throws a `Violation`. */
  sees(deltas: readonly Delta[], ledger: Ledger): void;
}

type Objects = { readonly [K in Kind]: Map<string, ObjectTypes[K]> };

const KINDS: readonly Kind[] = [
  "node",
  "service",
  "task",
  "network",
  "cluster",
  "secret",
  "config",
  "extension",
  "resource",
  "volume",
];

export class Ledger {
  readonly #laws: readonly StoreLaw[];
  #objects = emptyObjects();
  #index = 0;

  constructor(laws: readonly StoreLaw[]) {
    this.#laws = laws;
  }

  get index(): number {
    return this.#index;
  }

  get<K extends Kind>(kind: K, id: string): ObjectTypes[K] | undefined {
    return this.#of(kind).get(id);
  }

  all<K extends Kind>(kind: K): Iterable<ObjectTypes[K]> {
    return this.#of(kind).values();
  }

  /** A manager shows its state: taken over if it is ahead of what was seen. */
  shows(view: ReadView): void {
    if (view.index > this.#index) this.restart(view);
  }

  /** What was seen does not count any more. */
  restart(view: ReadView): void {
    this.#objects = emptyObjects();
    for (const kind of KINDS) {
      for (const object of view.all(kind)) this.#of(kind).set(object.id, object);
    }
    this.#index = view.index;
    for (const law of this.#laws) law.begins(this);
  }

  /** A manager that was at `from` applies a batch. */
  takes(from: number, batch: ChangeBatch): void {
    if (batch.index <= this.#index || from > this.#index) return;
    const deltas = deltasOf(batch.changes);
    for (const { kind, id, after } of deltas) {
      if (after === undefined) this.#of(kind).delete(id);
      else this.#of(kind).set(id, after);
    }
    this.#index = batch.index;
    for (const law of this.#laws) law.sees(deltas, this);
  }

  #of<K extends Kind>(kind: K): Map<string, ObjectTypes[K]> {
    return this.#objects[kind];
  }
}

/** The changes of one object are a chain: what counts is its beginning and its end. */
function deltasOf(changes: readonly Change[]): readonly Delta[] {
  const deltas = new Map<string, Delta>();
  for (const change of changes) {
    const { kind, action, object } = change;
    const key = `${kind}/${object.id}`;
    const known = deltas.get(key);
    const old = action === "update" ? change.old : action === "delete" ? object : undefined;
    const before = known === undefined ? old : known.before;
    const after = action === "delete" ? undefined : object;
    // Kind and objects of one change belong together.
    deltas.set(key, { kind, id: object.id, before, after } as Delta);
  }
  return [...deltas.values()];
}

function emptyObjects(): Objects {
  return {
    node: new Map(),
    service: new Map(),
    task: new Map(),
    network: new Map(),
    cluster: new Map(),
    secret: new Map(),
    config: new Map(),
    extension: new Map(),
    resource: new Map(),
    volume: new Map(),
  };
}
