/** Reads over tables, typed by kind: what views and transactions have in common. */

import { KIND_RULES, NAME_INDEX, nameKey } from "./kinds.ts";
import { entriesFrom } from "./ordered-map.ts";
import { idsUnder, type State, type Table } from "./tables.ts";
import type { IndexNames, Kind, ObjectTypes, ReadView } from "./types.ts";

/** A picture that never changes. */
export class StateView implements ReadView {
  readonly index: number;
  readonly #state: State;

  constructor(index: number, state: State) {
    this.index = index;
    this.#state = state;
  }

  get<K extends Kind>(kind: K, id: string): ObjectTypes[K] | undefined {
    return objectOf(this.#state[kind], kind, id);
  }

  byName<K extends Kind>(kind: K, name: string): ObjectTypes[K] | undefined {
    return objectNamed(this.#state[kind], kind, name);
  }

  all<K extends Kind>(kind: K): Iterable<ObjectTypes[K]> {
    return objectsOf(this.#state[kind], kind);
  }

  byIdPrefix<K extends Kind>(kind: K, prefix: string): Iterable<ObjectTypes[K]> {
    return objectsWithIdPrefix(this.#state[kind], kind, prefix);
  }

  find<K extends Kind>(kind: K, index: IndexNames[K], key: string): Iterable<ObjectTypes[K]> {
    return objectsUnder(this.#state[kind], kind, index, key);
  }

  count(kind: Kind): number {
    return this.#state[kind].objects.size;
  }
}

// A table holds objects of its kind only (`Draft.put` is called with matching pairs), which the
// type of a table does not say: hence one cast here, and none anywhere else.
export function objectOf<K extends Kind>(
  table: Table,
  _kind: K,
  id: string,
): ObjectTypes[K] | undefined {
  return table.objects.get(id) as ObjectTypes[K] | undefined;
}

export function objectNamed<K extends Kind>(
  table: Table,
  kind: K,
  name: string,
): ObjectTypes[K] | undefined {
  if (!(NAME_INDEX in KIND_RULES[kind].indexes)) return undefined;
  for (const id of idsUnder(table, NAME_INDEX, nameKey(name))) return objectOf(table, kind, id);
  return undefined;
}

/** A fresh iterator at each `for`, so that a result may be walked more than once. */
export function objectsOf<K extends Kind>(table: Table, _kind: K): Iterable<ObjectTypes[K]> {
  return { [Symbol.iterator]: () => table.objects.values() as Iterator<ObjectTypes[K]> };
}

export function objectsWithIdPrefix<K extends Kind>(
  table: Table,
  _kind: K,
  prefix: string,
): Iterable<ObjectTypes[K]> {
  return {
    *[Symbol.iterator]() {
      for (const [, object] of entriesFrom(table.objects, prefix)) yield object as ObjectTypes[K];
    },
  };
}

export function objectsUnder<K extends Kind>(
  table: Table,
  kind: K,
  index: IndexNames[K],
  key: string,
): Iterable<ObjectTypes[K]> {
  return {
    *[Symbol.iterator]() {
      for (const id of idsUnder(table, index, key)) {
        const object = objectOf(table, kind, id);
        if (object !== undefined) yield object;
      }
    },
  };
}
