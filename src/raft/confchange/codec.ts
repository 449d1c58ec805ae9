/**
 * Membership changes as the bytes of a log entry: the protobuf encoding of raftpb.ConfChange and
 * raftpb.ConfChangeV2, field for field, so that a log written here reads the same in other
 * implementations. Written out by hand because the core may not import a codec.
 *
 * Reads refuse what the core cannot hold: node ids above 2^53, unknown enum values, cut input.
 */

import { err, ok, type Result } from "#base/result.ts";
import { EMPTY_BYTES } from "../message.ts";
import {
  CONF_CHANGE_TRANSITION_NUMBERS,
  CONF_CHANGE_TYPE_NUMBERS,
  type ConfChange,
  type ConfChangeSingle,
  type ConfChangeTransition,
  type ConfChangeType,
  type ConfChangeV1,
  type ConfChangeV2,
  type Entry,
  type EntryType,
} from "../types.ts";
import { type Field, isBytes, isVarint, readFields, Writer } from "./protobuf.ts";

export interface EncodedConfChange {
  readonly type: EntryType;
  readonly data: Uint8Array;
}

/** `undefined` is the empty change that leaves a joint state; it has no bytes at all. */
export function encodeConfChange(change: ConfChange | undefined): EncodedConfChange {
  if (change === undefined) return { type: "confChangeV2", data: EMPTY_BYTES };
  return change.version === 1
    ? { type: "confChange", data: encodeV1(change) }
    : { type: "confChangeV2", data: encodeV2(change) };
}

/** The change of a membership entry; refuses normal entries. */
export function decodeConfChange(entry: Entry): Result<ConfChange> {
  switch (entry.type) {
    case "normal":
      return err("a normal entry holds no membership change");
    case "confChange":
      return decodeV1(entry.data);
    case "confChangeV2":
      return decodeV2(entry.data);
  }
}

/** Either form as the richer one. */
export function asV2(change: ConfChange): ConfChangeV2 {
  if (change.version === 2) return change;
  const { type, nodeId, context } = change;
  return { version: 2, transition: "auto", changes: [{ type, nodeId }], context };
}

// raftpb's own encoder (proto2, never null) writes zero values too; so do we.
function encodeV1(change: ConfChangeV1): Uint8Array {
  const writer = new Writer();
  writer.varint(1, change.id);
  writer.varint(2, BigInt(CONF_CHANGE_TYPE_NUMBERS[change.type]));
  writer.varint(3, BigInt(change.nodeId));
  if (change.context.length > 0) writer.bytes(4, change.context);
  return writer.finish();
}

function encodeV2(change: ConfChangeV2): Uint8Array {
  const writer = new Writer();
  writer.varint(1, BigInt(CONF_CHANGE_TRANSITION_NUMBERS[change.transition]));
  for (const { type, nodeId } of change.changes) {
    const single = new Writer();
    single.varint(1, BigInt(CONF_CHANGE_TYPE_NUMBERS[type]));
    single.varint(2, BigInt(nodeId));
    writer.bytes(2, single.finish());
  }
  if (change.context.length > 0) writer.bytes(3, change.context);
  return writer.finish();
}

function decodeV1(data: Uint8Array): Result<ConfChangeV1> {
  const fields = readFields(data);
  if (!fields.ok) return fields;
  const type = changeTypeOf(last(fields.value, 2));
  const nodeId = nodeIdOf(last(fields.value, 3));
  if (!type.ok) return type;
  if (!nodeId.ok) return nodeId;
  const id = varintOf(last(fields.value, 1));
  const context = bytesOf(last(fields.value, 4));
  return ok({ version: 1, id, type: type.value, nodeId: nodeId.value, context });
}

function decodeV2(data: Uint8Array): Result<ConfChangeV2> {
  const fields = readFields(data);
  if (!fields.ok) return fields;
  const transition = named<ConfChangeTransition>(
    CONF_CHANGE_TRANSITION_NUMBERS,
    varintOf(last(fields.value, 1)),
  );
  if (transition === undefined) return err("unknown transition");
  const changes: ConfChangeSingle[] = [];
  for (const field of fields.value) {
    if (field.number !== 2 || !isBytes(field)) continue;
    const single = decodeSingle(field.value);
    if (!single.ok) return single;
    changes.push(single.value);
  }
  return ok({ version: 2, transition, changes, context: bytesOf(last(fields.value, 3)) });
}

function decodeSingle(data: Uint8Array): Result<ConfChangeSingle> {
  const fields = readFields(data);
  if (!fields.ok) return fields;
  const type = changeTypeOf(last(fields.value, 1));
  const nodeId = nodeIdOf(last(fields.value, 2));
  if (!type.ok) return type;
  return nodeId.ok ? ok({ type: type.value, nodeId: nodeId.value }) : nodeId;
}

/** Protobuf: of a field given twice, the last one counts. */
function last(fields: readonly Field[], number: number): Field | undefined {
  return fields.findLast((field) => field.number === number);
}

function varintOf(field: Field | undefined): bigint {
  return field !== undefined && isVarint(field) ? field.value : 0n;
}

function bytesOf(field: Field | undefined): Uint8Array {
  return field !== undefined && isBytes(field) ? field.value : EMPTY_BYTES;
}

function nodeIdOf(field: Field | undefined): Result<number> {
  const id = varintOf(field);
  return id <= BigInt(Number.MAX_SAFE_INTEGER) ? ok(Number(id)) : err("node id exceeds 2^53");
}

function changeTypeOf(field: Field | undefined): Result<ConfChangeType> {
  const type = named<ConfChangeType>(CONF_CHANGE_TYPE_NUMBERS, varintOf(field));
  return type === undefined ? err("unknown change type") : ok(type);
}

function named<Name extends string>(
  numbers: Readonly<Record<Name, number>>,
  value: bigint,
): Name | undefined {
  // Object.keys forgets the key type; the table's own keys are its names.
  const names = Object.keys(numbers) as Name[];
  return names.find((name) => BigInt(numbers[name]) === value);
}
