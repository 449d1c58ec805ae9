/**
 * Sizes of entries, and the cut of a list at a size. `entrySize` is the protobuf encoding of raftpb's
 * Entry, so that limits mean the same bytes that travel and are stored.
 */

import type { Entry } from "./types.ts";

/** Identity of an entry: no two entries with the same term and index differ. */
export interface EntryId {
  readonly term: number;
  readonly index: number;
}

export function entryIdOf(entry: Entry): EntryId {
  return { term: entry.term, index: entry.index };
}

/** Encoded bytes of one entry. */
export function entrySize(entry: Entry): number {
  const length = entry.data.length;
  const type = entry.type === "normal" ? 0 : 2;
  const data = length === 0 ? 0 : 1 + varintSize(length) + length;
  return type + 1 + varintSize(entry.term) + 1 + varintSize(entry.index) + data;
}

export function entriesSize(entries: readonly Entry[]): number {
  let size = 0;
  for (const entry of entries) size += entrySize(entry);
  return size;
}

/** Bytes of payload alone: what a proposal counts against the uncommitted limit. */
export function payloadSize(entries: readonly Entry[]): number {
  let size = 0;
  for (const entry of entries) size += entry.data.length;
  return size;
}

/**
 * Entries at positions [from, to) of a list, cut at `maxSize` bytes but at least one. Walks only what
 * it returns, so that reading a long tail piece by piece stays linear.
 */
export function takeWithin(
  entries: readonly Entry[],
  from: number,
  to: number,
  maxSize: number,
): readonly Entry[] {
  let size = 0;
  let end = from;
  while (end < to) {
    const entry = entries[end];
    if (entry === undefined) break;
    size += entrySize(entry);
    if (size > maxSize && end > from) break;
    end++;
  }
  return entries.slice(from, end);
}

/** Whether the indexes run without gap from `first` and the terms never fall. */
export function isContiguous(entries: readonly Entry[], first: number): boolean {
  let expected = first;
  let term = 0;
  for (const entry of entries) {
    if (entry.index !== expected || entry.term < term) return false;
    expected++;
    term = entry.term;
  }
  return true;
}

function varintSize(value: number): number {
  let size = 1;
  for (let rest = value; rest >= 0x80; rest = Math.floor(rest / 0x80)) size++;
  return size;
}
