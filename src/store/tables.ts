/**
 * Tables: the objects of one kind by id, and their secondary indexes. A `State` is one table per
 * kind and never changes; a `Draft` starts as a state and copies only what it writes, so that any
 * number of views, transactions and snapshots share the rest.
 *
 * Invariant: every index holds exactly the keys that `kinds.ts` derives from the objects.
 */

import { must } from "#base/invariant.ts";
import { type IndexRule, KIND_RULES, KINDS, type Stored } from "./kinds.ts";
import { entriesFrom, type OrderedMap, orderedMap } from "./ordered-map.ts";
import type { Kind } from "./types.ts";

/** Ends the key part of an index entry; no id and no name contains it. */
const SEPARATOR = "\u0000";

export interface Table {
  readonly objects: OrderedMap<Stored>;
  /** Per index: `key NUL id` → id. */
  readonly indexes: ReadonlyMap<string, OrderedMap<string>>;
}

export type State = Readonly<Record<Kind, Table>>;

export function emptyState(): State {
  const tables: Partial<Record<Kind, Table>> = {};
  for (const kind of KINDS) tables[kind] = emptyTable(kind);
  return tables as State;
}

/** The ids filed under a key, in order. */
export function* idsUnder(table: Table, index: string, key: string): Generator<string> {
  const entries = must(table.indexes.get(index), `index ${index}`);
  for (const [, id] of entriesFrom(entries, key + SEPARATOR)) yield id;
}

/** One state in the making. Not shared: its owner alone writes, then takes `state`. */
export class Draft {
  readonly #tables: Record<Kind, Table>;
  /** Trees that this draft copied since it last gave them out, and so may write to. */
  readonly #owned = new Set<OrderedMap<unknown>>();

  constructor(base: State) {
    this.#tables = { ...base };
  }

  /** Everything written so far; later writes do not show in it. */
  get state(): State {
    this.#owned.clear();
    return { ...this.#tables };
  }

  /** For a read that ends before the next write. */
  peek(kind: Kind): Table {
    return this.#tables[kind];
  }

  /** For a read that may go on while the draft is written: it sees the table of this moment. */
  share(kind: Kind): Table {
    const table = this.#tables[kind];
    this.#owned.delete(table.objects);
    for (const tree of table.indexes.values()) this.#owned.delete(tree);
    return table;
  }

  put(kind: Kind, object: Stored): void {
    this.replace(kind, this.peek(kind).objects.get(object.id), object);
  }

  remove(kind: Kind, id: string): void {
    this.replace(kind, this.peek(kind).objects.get(id), undefined);
  }

  /** Puts `after` in the place of `before`, which is what the table holds under that id. */
  replace(kind: Kind, before: Stored | undefined, after: Stored | undefined): void {
    const id = (after ?? before)?.id;
    if (id === undefined) return;
    if (after === undefined) this.#writable(kind).delete(id);
    else this.#writable(kind).set(id, after);
    for (const [index, rule] of rulesOf(kind)) {
      if (before !== undefined && after !== undefined && rule.unchanged(before, after)) continue;
      const gone = before && rule.keys(before);
      this.#refile(kind, index, gone, after === undefined ? [] : rule.keys(after), id);
    }
  }

  #refile(
    kind: Kind,
    index: string,
    before: readonly string[] | undefined,
    after: readonly string[],
    id: string,
  ): void {
    const gone = (before ?? []).filter((key) => !after.includes(key));
    const fresh = after.filter((key) => !before?.includes(key));
    if (gone.length === 0 && fresh.length === 0) return;
    const entries = this.#writableIndex(kind, index);
    for (const key of gone) entries.delete(entryKey(key, id));
    for (const key of fresh) entries.set(entryKey(key, id), id);
  }

  #writable(kind: Kind): OrderedMap<Stored> {
    const table = this.#tables[kind];
    if (this.#owned.has(table.objects)) return table.objects;
    const objects = table.objects.clone();
    this.#owned.add(objects);
    this.#tables[kind] = { ...table, objects };
    return objects;
  }

  #writableIndex(kind: Kind, index: string): OrderedMap<string> {
    const table = this.#tables[kind];
    const entries = must(table.indexes.get(index), `index ${index}`);
    if (this.#owned.has(entries)) return entries;
    const copy = entries.clone();
    this.#owned.add(copy);
    this.#tables[kind] = { ...table, indexes: new Map(table.indexes).set(index, copy) };
    return copy;
  }
}

/** Joined, V8 keeps it in one piece, which is quicker to compare than a sum of pieces. */
function entryKey(key: string, id: string): string {
  return [key, id].join(SEPARATOR);
}

function emptyTable(kind: Kind): Table {
  const indexes = new Map<string, OrderedMap<string>>();
  for (const [index] of rulesOf(kind)) indexes.set(index, orderedMap());
  return { objects: orderedMap(), indexes };
}

// A rule takes the objects of its own kind; a table of a kind holds no others, so that the rules may
// be applied to what the table calls `Stored`.
const RULES = new Map(
  KINDS.map((kind) => [
    kind,
    Object.entries(KIND_RULES[kind].indexes) as unknown as readonly [string, IndexRule<Stored>][],
  ]),
);

function rulesOf(kind: Kind): readonly [string, IndexRule<Stored>][] {
  return RULES.get(kind) ?? [];
}
