/**
 * What a refused candidate is told beyond the refusal: how far the log is committed. Not in etcd.
 *
 * It ends a deadlock that membership changes can leave behind. They take effect when applied, so a
 * voter that holds the change but has not learned that it is committed still counts by the old
 * membership; if the leader that committed it has just left by it, nobody may be left to say so, and
 * the old leader refuses its vote for its longer log. A commit is a fact that no term can change:
 * whoever holds the same entry may take it over.
 *
 * Travels in the context of vote answers, which other implementations ignore.
 */

import type { EntryId } from "./entries.ts";
import { EMPTY_BYTES } from "./message.ts";

const HINT_BYTES = 16;

export function encodeCommitHint({ index, term }: EntryId): Uint8Array {
  if (index === 0) return EMPTY_BYTES;
  const hint = new Uint8Array(HINT_BYTES);
  const view = new DataView(hint.buffer);
  view.setBigUint64(0, BigInt(index), true);
  view.setBigUint64(8, BigInt(term), true);
  return hint;
}

export function decodeCommitHint(context: Uint8Array): EntryId | undefined {
  if (context.length !== HINT_BYTES) return undefined;
  const view = new DataView(context.buffer, context.byteOffset, HINT_BYTES);
  const index = Number(view.getBigUint64(0, true));
  const term = Number(view.getBigUint64(8, true));
  return Number.isSafeInteger(index) && Number.isSafeInteger(term) ? { index, term } : undefined;
}
