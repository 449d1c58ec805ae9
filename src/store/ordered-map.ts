/**
 * The persistent ordered map under every table: `sorted-btree`, whose clone costs O(1) and copies
 * nodes on write. Its CommonJS default export arrives as the class itself or inside a namespace,
 * depending on who loads it (node, a bundler, a test runner); this is the one place that knows.
 */

import BTreeModule, { simpleComparator } from "sorted-btree";

type BTreeClass = typeof BTreeModule.default;
export type OrderedMap<V> = InstanceType<typeof BTreeModule.default<string, V>>;

const BTree: BTreeClass = BTreeModule.default ?? (BTreeModule as unknown as BTreeClass);

/** An empty map ordered by UTF-16 code units, the same on every machine. */
export function orderedMap<V>(): OrderedMap<V> {
  return new BTree<string, V>(undefined, simpleComparator);
}

/** Entries whose key starts with `prefix`, in order. The map must not change meanwhile. */
export function* entriesFrom<V>(map: OrderedMap<V>, prefix: string): Generator<[string, V]> {
  for (const entry of map.entries(prefix)) {
    if (!entry[0].startsWith(prefix)) return;
    // The tree reuses nothing here: `entries` makes a fresh pair for each step.
    yield [entry[0], entry[1]];
  }
}
