/**
 * The replicated state of the simulation: one number that every entry folds into, so that two nodes
 * with the same number applied the same entries in the same order.
 */

import type { Entry } from "#raft/index.ts";

const NUMBER_BYTES = 4;

/** A client's request as an entry: its number, then padding that makes sizes differ. */
export function payloadOf(number: number, padding: number): Uint8Array {
  const payload = new Uint8Array(NUMBER_BYTES + padding);
  new DataView(payload.buffer).setUint32(0, number);
  return payload;
}

export function numberOf(payload: Uint8Array): number {
  if (payload.length < NUMBER_BYTES) return 0;
  return new DataView(payload.buffer, payload.byteOffset).getUint32(0);
}

export function foldState(state: number, { term, index, data }: Entry): number {
  let next = Math.imul(state ^ term, 0x01000193) ^ index;
  for (const byte of data) next = Math.imul(next ^ byte, 0x01000193);
  return next >>> 0;
}

export function stateBytes(state: number): Uint8Array {
  return payloadOf(state, 0);
}

export function stateOf(data: Uint8Array): number {
  return numberOf(data);
}
