/**
 * What a heartbeat carries and its answer echoes: the position of the newest waiting read, and with
 * leases the leader's tick. Members of other implementations echo it without looking.
 */

import { EMPTY_BYTES } from "./message.ts";

export interface BeatContext {
  /** See `ReadOnly.position`; 0 if no read waits. */
  readonly reads: number;
  /** See `Lease.stamp`; 0 without leases. */
  readonly lease: number;
}

const NOTHING: BeatContext = { reads: 0, lease: 0 };
const READS_BYTES = 8;
const BOTH_BYTES = 16;

export function encodeBeat({ reads, lease }: BeatContext): Uint8Array {
  if (reads === 0 && lease === 0) return EMPTY_BYTES;
  const context = new Uint8Array(lease === 0 ? READS_BYTES : BOTH_BYTES);
  const view = new DataView(context.buffer);
  view.setBigUint64(0, BigInt(reads));
  if (lease !== 0) view.setBigUint64(READS_BYTES, BigInt(lease));
  return context;
}

/** Nothing, for bytes of another form. */
export function decodeBeat(context: Uint8Array): BeatContext {
  const { length } = context;
  if (length !== READS_BYTES && length !== BOTH_BYTES) return NOTHING;
  const view = new DataView(context.buffer, context.byteOffset, length);
  const reads = Number(view.getBigUint64(0));
  return { reads, lease: length === BOTH_BYTES ? Number(view.getBigUint64(READS_BYTES)) : 0 };
}
