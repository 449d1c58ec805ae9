/**
 * What a node knows of its networks after a message: the tables it had, and what the message says
 * is new. A node that starts from a complete message and takes every incremental one in order holds
 * what a complete message of the newest revision would give it, to the byte: rows are in order of
 * their ids, whatever the order in which they came.
 *
 * Tables are values; one that a message does not touch stays the same object.
 */

import {
  type NetworkChange,
  type NetworkTable,
  type TablesMessage,
  TablesMessage_Type as Type,
} from "#wire/gen/skep/dataplane_pb.js";

/** Tables by the id of their network. */
export type NetworkTables = ReadonlyMap<string, NetworkTable>;

/** So many changes of a table are made one by one; for more it is cheaper to sort anew. */
const FEW = 16;

export function applyMessage(tables: NetworkTables, message: TablesMessage): NetworkTables {
  const complete = message.type === Type.COMPLETE;
  const next = new Map(complete ? [] : tables);
  for (const id of message.removedNetworks) next.delete(id);
  for (const table of message.networks) next.set(table.networkId, inOrder(table));
  for (const change of message.changes) {
    // A change of a network that the node was never told of has nothing to change.
    const table = next.get(change.networkId);
    if (table !== undefined) next.set(change.networkId, applyChange(table, change));
  }
  return next;
}

function applyChange(table: NetworkTable, change: NetworkChange): NetworkTable {
  return {
    ...table,
    peers: mergeRows(table.peers, change.peers, change.removedPeers, peerKey),
    endpoints: mergeRows(
      table.endpoints,
      change.endpoints,
      change.removedEndpoints,
      ({ taskId }) => taskId,
    ),
    services: mergeRows(
      table.services,
      change.services,
      change.removedServices,
      ({ serviceId }) => serviceId,
    ),
  };
}

function inOrder(table: NetworkTable): NetworkTable {
  return {
    ...table,
    peers: sorted(table.peers, peerKey),
    endpoints: sorted(table.endpoints, ({ taskId }) => taskId),
    services: sorted(table.services, ({ serviceId }) => serviceId),
  };
}

function peerKey({ nodeId }: { readonly nodeId: string }): string {
  return nodeId;
}

/** Rows that come replace those of the same id; one that comes and is removed is there. */
function mergeRows<T>(
  rows: T[],
  fresh: readonly T[],
  removed: readonly string[],
  keyOf: (row: T) => string,
): T[] {
  if (fresh.length === 0 && removed.length === 0) return rows;
  if (fresh.length + removed.length > FEW) {
    const byKey = new Map(rows.map((row) => [keyOf(row), row]));
    for (const key of removed) byKey.delete(key);
    for (const row of fresh) byKey.set(keyOf(row), row);
    return sorted([...byKey.values()], keyOf);
  }
  const merged = [...rows];
  const find = (key: string) => {
    const at = lowerBound(merged, key, keyOf);
    const row = merged[at];
    return { at, there: row !== undefined && keyOf(row) === key };
  };
  for (const key of removed) {
    const { at, there } = find(key);
    if (there) merged.splice(at, 1);
  }
  for (const row of fresh) {
    const { at, there } = find(keyOf(row));
    merged.splice(at, there ? 1 : 0, row);
  }
  return merged;
}

/** The first place whose row is not before `key`; rows are in order. */
function lowerBound<T>(rows: readonly T[], key: string, keyOf: (row: T) => string): number {
  let low = 0;
  let high = rows.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const row = rows[middle];
    if (row !== undefined && compare(keyOf(row), key) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

function sorted<T>(rows: readonly T[], keyOf: (row: T) => string): T[] {
  return [...rows].sort((a, b) => compare(keyOf(a), keyOf(b)));
}

function compare(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}
