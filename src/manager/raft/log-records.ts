/**
 * What the raft log keeps on disk, as bytes: who the member is, its hard state, entries, and marks
 * of snapshots. One append holds any number of items, each `type u8 · length u32 · body`, numbers
 * little-endian, 64-bit ones as two halves.
 */

import { create } from "@bufbuild/protobuf";
import { err, ok, type Result } from "#base/result.ts";
import { ENTRY_TYPE_NUMBERS, type Entry, type EntryType, type HardState } from "#raft/index.ts";
import { decodeMessage } from "#wire/decode.ts";
import { encodeMessage } from "#wire/encode.ts";
import { type RaftMember, RaftMemberSchema } from "#wire/gen/swarmkit/raft_pb.js";

export interface SnapshotMark {
  readonly index: number;
  readonly term: number;
  /** The snapshot came from the leader and replaced the log; else it covers a part of it. */
  readonly replaces: boolean;
}

export type LogItem =
  | { readonly kind: "identity"; readonly member: RaftMember }
  | { readonly kind: "hardState"; readonly hardState: HardState }
  | { readonly kind: "entry"; readonly entry: Entry }
  | { readonly kind: "snapshot"; readonly mark: SnapshotMark };

const KIND_NUMBERS = { identity: 1, hardState: 2, entry: 3, snapshot: 4 } as const;
const ITEM_HEADER = 5;
const ENTRY_HEADER = 17;
const ENTRY_TYPES: readonly EntryType[] = ["normal", "confChange", "confChangeV2"];

export function encodeItems(items: readonly LogItem[]): Uint8Array {
  const bodies = items.map(bodyOf);
  const size = bodies.reduce((sum, body) => sum + ITEM_HEADER + sizeOf(body), 0);
  const bytes = Buffer.allocUnsafe(size);
  let at = 0;
  items.forEach((item, i) => {
    const body = bodies[i] ?? [];
    bytes.writeUInt8(KIND_NUMBERS[item.kind], at);
    bytes.writeUInt32LE(sizeOf(body), at + 1);
    at += ITEM_HEADER;
    for (const piece of body) {
      bytes.set(piece, at);
      at += piece.length;
    }
  });
  return bytes;
}

export function decodeItems(record: Uint8Array): Result<readonly LogItem[]> {
  const bytes = Buffer.from(record.buffer, record.byteOffset, record.byteLength);
  const items: LogItem[] = [];
  let at = 0;
  while (at < bytes.length) {
    if (at + ITEM_HEADER > bytes.length) return err("an item is cut off");
    const kind = bytes.readUInt8(at);
    const end = at + ITEM_HEADER + bytes.readUInt32LE(at + 1);
    if (end > bytes.length) return err("an item is cut off");
    const item = itemOf(kind, bytes.subarray(at + ITEM_HEADER, end));
    if (item === undefined) return err(`an item of kind ${kind} makes no sense`);
    items.push(item);
    at = end;
  }
  return ok(items);
}

function bodyOf(item: LogItem): readonly Uint8Array[] {
  switch (item.kind) {
    case "identity":
      return [encodeMessage(RaftMemberSchema, item.member)];
    case "hardState":
      return [numbers(item.hardState.term, item.hardState.vote, item.hardState.commit)];
    case "entry": {
      const { type, term, index, data } = item.entry;
      return [Uint8Array.of(ENTRY_TYPE_NUMBERS[type]), numbers(term, index), data];
    }
    case "snapshot": {
      const { index, term, replaces } = item.mark;
      return [numbers(index, term), Uint8Array.of(replaces ? 1 : 0)];
    }
  }
}

function itemOf(kind: number, body: Buffer): LogItem | undefined {
  switch (kind) {
    case KIND_NUMBERS.identity:
      return identityOf(body);
    case KIND_NUMBERS.hardState:
      return hardStateOf(body);
    case KIND_NUMBERS.entry:
      return entryOf(body);
    case KIND_NUMBERS.snapshot:
      return markOf(body);
    default:
      return undefined;
  }
}

function identityOf(body: Buffer): LogItem | undefined {
  try {
    return { kind: "identity", member: decodeMessage(RaftMemberSchema, body) };
  } catch {
    return undefined;
  }
}

function hardStateOf(body: Buffer): LogItem | undefined {
  const term = numberAt(body, 0);
  const vote = numberAt(body, 8);
  const commit = numberAt(body, 16);
  if (term === undefined || vote === undefined || commit === undefined) return undefined;
  return { kind: "hardState", hardState: { term, vote, commit } };
}

function entryOf(body: Buffer): LogItem | undefined {
  const type = ENTRY_TYPES[body[0] ?? ENTRY_TYPES.length];
  const term = numberAt(body, 1);
  const index = numberAt(body, 9);
  if (type === undefined || term === undefined || index === undefined) return undefined;
  // A copy: the entry outlives the segment that it is read from.
  const data = Uint8Array.from(body.subarray(ENTRY_HEADER));
  return { kind: "entry", entry: { type, term, index, data } };
}

function markOf(body: Buffer): LogItem | undefined {
  const index = numberAt(body, 0);
  const term = numberAt(body, 8);
  const replaces = body[16];
  if (index === undefined || term === undefined || replaces === undefined) return undefined;
  return { kind: "snapshot", mark: { index, term, replaces: replaces === 1 } };
}

/** A member record for the log; status is not kept. */
export function identity(raftId: number, nodeId: string, addr: string): RaftMember {
  return create(RaftMemberSchema, { raftId: BigInt(raftId), nodeId, addr });
}

function numbers(...values: readonly number[]): Uint8Array {
  const bytes = Buffer.allocUnsafe(8 * values.length);
  values.forEach((value, i) => {
    bytes.writeUInt32LE(value % 2 ** 32, 8 * i);
    bytes.writeUInt32LE(Math.floor(value / 2 ** 32), 8 * i + 4);
  });
  return bytes;
}

function numberAt(bytes: Buffer, at: number): number | undefined {
  if (at + 8 > bytes.length) return undefined;
  const value = bytes.readUInt32LE(at) + bytes.readUInt32LE(at + 4) * 2 ** 32;
  return Number.isSafeInteger(value) ? value : undefined;
}

function sizeOf(pieces: readonly Uint8Array[]): number {
  return pieces.reduce((sum, { length }) => sum + length, 0);
}
