/**
 * How a snapshot goes from one manager to another. SwarmKit's StreamRaftMessage carries it: a MsgSnap
 * again and again, each with the next piece of the data. Two things are ours, and others ignore them:
 *
 *   context   length u64 and CRC-32 of the whole data, in the message's context, which MsgSnap leaves
 *             free; older managers of ours compare it.
 *   metadata  "skep-snapshot: <content id> <offset>": the content is known by its id, and the pieces
 *             begin at the offset, which the receiver has told by `RaftSnapshots.Held`.
 */

import type { RpcContext } from "#platform/grpc/server.ts";
import type { Announced, SnapshotContent } from "#platform/wal/snapshot-files.ts";

export const SNAPSHOT_METADATA = "skep-snapshot";
const CONTEXT_BYTES = 12;

export function encodeChecksum({
  length,
  crc,
}: Pick<SnapshotContent, "length" | "crc">): Uint8Array {
  const bytes = Buffer.alloc(CONTEXT_BYTES);
  bytes.writeBigUInt64LE(BigInt(length));
  bytes.writeUInt32LE(crc, 8);
  return bytes;
}

export function encodeResumption(content: SnapshotContent, from: number): string {
  return `${content.id} ${from}`;
}

/** What a stream says of the snapshot that it brings. */
export interface Announcement {
  /** Undefined from managers that are not ours; without an id from older ones of ours. */
  readonly announced: Announced | undefined;
  /** Where the pieces begin in the data. */
  readonly from: number;
}

export function readAnnouncement(
  context: Uint8Array,
  metadata: RpcContext["metadata"],
): Announcement {
  if (context.length !== CONTEXT_BYTES) return { announced: undefined, from: 0 };
  const bytes = Buffer.from(context.buffer, context.byteOffset, context.byteLength);
  const facts = { length: Number(bytes.readBigUInt64LE()), crc: bytes.readUInt32LE(8) };
  const match = /^([0-9a-f]{32}) (\d{1,15})$/.exec(metadata[SNAPSHOT_METADATA] ?? "");
  return { announced: { id: match?.[1], ...facts }, from: Number(match?.[2] ?? 0) };
}
