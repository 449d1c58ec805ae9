/**
 * Protobuf messages to bytes, fast: the bytes that protobuf-es' `toBinary` gives, which walks the
 * schema by reflection for every message. Here each schema is turned into functions once.
 *
 * A message is written from its end towards its front, so that the length of everything nested is
 * known when its prefix is due, and nothing is measured beforehand or copied afterwards.
 */

import {
  type DescField,
  type DescMessage,
  type MessageShape,
  ScalarType,
  toBinary,
} from "@bufbuild/protobuf";
import { WireType } from "@bufbuild/protobuf/wire";
import { isWrapperDesc, FeatureSet_FieldPresence as Presence } from "@bufbuild/protobuf/wkt";
import { Tail } from "./tail.ts";

/** The fields of a message by name, as protobuf-es keeps them. */
type Fields = Readonly<Record<string, unknown>>;
type Write<T> = (value: T) => void;

const LENGTH_DELIMITED = WireType.LengthDelimited;

const WIRE_TYPES: Readonly<Record<ScalarType, WireType>> = {
  [ScalarType.DOUBLE]: WireType.Bit64,
  [ScalarType.FLOAT]: WireType.Bit32,
  [ScalarType.INT64]: WireType.Varint,
  [ScalarType.UINT64]: WireType.Varint,
  [ScalarType.INT32]: WireType.Varint,
  [ScalarType.FIXED64]: WireType.Bit64,
  [ScalarType.FIXED32]: WireType.Bit32,
  [ScalarType.BOOL]: WireType.Varint,
  [ScalarType.STRING]: WireType.LengthDelimited,
  [ScalarType.BYTES]: WireType.LengthDelimited,
  [ScalarType.UINT32]: WireType.Varint,
  [ScalarType.SFIXED32]: WireType.Bit32,
  [ScalarType.SFIXED64]: WireType.Bit64,
  [ScalarType.SINT32]: WireType.Varint,
  [ScalarType.SINT64]: WireType.Varint,
};

const tail = new Tail();
const compiled = new WeakMap<DescMessage, Write<Fields>>();

/** Throws for values that their field cannot hold. */
export function encodeMessage<D extends DescMessage>(
  schema: D,
  message: MessageShape<D>,
): Uint8Array<ArrayBuffer> {
  tail.begin();
  writerOf(schema)(message);
  return tail.finish();
}

/**
 * As `encodeMessage`, for whoever copies the bytes at once: `use` is given the size, and a function
 * that writes them to a place. Both are good until it returns, and no other message is encoded by then.
 */
export function encodeOnto<D extends DescMessage, T>(
  schema: D,
  message: MessageShape<D>,
  use: (size: number, write: (bytes: Uint8Array, at: number) => void) => T,
): T {
  tail.begin();
  writerOf(schema)(message);
  return use(-tail.position, COPY);
}

const COPY = (bytes: Uint8Array, at: number): void => tail.copyTo(bytes, at);

/** Messages that are let go of in the order in which they were made share rooms of this size. */
const ROOM_BYTES = 64 * 1024;
let room = new Uint8Array(0);
let roomUsed = 0;

/**
 * As `encodeMessage`, for messages that are all kept for about as long, as the entries of a log are:
 * small ones share the memory behind them, which is let go of with the last of them.
 */
export function encodeIntoRoom<D extends DescMessage>(
  schema: D,
  message: MessageShape<D>,
): Uint8Array {
  return encodeOnto(schema, message, (size, write) => {
    if (size * 8 > ROOM_BYTES) return tail.finish();
    if (roomUsed + size > room.length) {
      room = new Uint8Array(ROOM_BYTES);
      roomUsed = 0;
    }
    write(room, roomUsed);
    roomUsed += size;
    return room.subarray(roomUsed - size, roomUsed);
  });
}

function writerOf(schema: DescMessage): Write<Fields> {
  let write = compiled.get(schema);
  if (write === undefined) {
    // Schemas refer to themselves: the functions of nested ones are looked up when first needed.
    write = compile(schema);
    compiled.set(schema, write);
  }
  return write;
}

function compile(schema: DescMessage): Write<Fields> {
  // From the end towards the front: the highest number comes first.
  const fields = schema.fields.toSorted((a, b) => b.number - a.number).map(compileField);
  return (message) => {
    writeUnknown(message);
    for (const write of fields) write(message);
  };
}

interface Unknown {
  readonly no: number;
  readonly wireType: number;
  readonly data: Uint8Array;
}

/** What a newer version put there is kept. */
function writeUnknown(message: Fields): void {
  const unknown = message["$unknown"] as readonly Unknown[] | undefined;
  if (unknown === undefined) return;
  for (let i = unknown.length - 1; i >= 0; i--) {
    const field = unknown[i];
    if (field === undefined) continue;
    tail.raw(field.data);
    tail.varint(field.no * 8 + field.wireType);
  }
}

function compileField(field: DescField): Write<Fields> {
  const { localName: name, oneof } = field;
  const write = valueWriter(field);
  if (oneof !== undefined) {
    return (message) => {
      const chosen = message[oneof.localName] as { case: string | undefined; value?: unknown };
      if (chosen.case === name) write(chosen.value);
    };
  }
  if (field.fieldKind === "message" && field.presence === Presence.EXPLICIT) {
    return (message) => {
      const value = message[name];
      if (value !== undefined) write(value);
    };
  }
  if (field.presence !== Presence.IMPLICIT) {
    // Defaults of explicitly present fields live on the prototype.
    const isRequired = field.presence === Presence.LEGACY_REQUIRED;
    return (message) => {
      const value = message[name];
      if (value !== undefined && Object.hasOwn(message, name)) write(value);
      else if (isRequired) throw new Error(`${field.toString()} is required and not set`);
    };
  }
  const isZero = zeroTest(field);
  return (message) => {
    const value = message[name];
    if (!isZero(value)) write(value);
  };
}

function zeroTest(field: DescField): (value: unknown) => boolean {
  if (field.fieldKind === "list") return (value) => (value as readonly unknown[]).length === 0;
  if (field.fieldKind === "map") return () => false;
  if (field.fieldKind === "enum") {
    const first = field.enum.values[0]?.number;
    return (value) => value === first;
  }
  if (field.scalar === ScalarType.BYTES) return (value) => (value as Uint8Array).length === 0;
  // Minus zero counts as a value.
  if (field.scalar === ScalarType.DOUBLE || field.scalar === ScalarType.FLOAT) {
    return (value) => Object.is(value, 0);
  }
  if (field.scalar === ScalarType.STRING) return (value) => value === "";
  return (value) => value === false || value === 0 || value === 0n || value === "0";
}

/** Writes the value and, before it, the tag. */
function valueWriter(field: DescField): Write<unknown> {
  switch (field.fieldKind) {
    case "scalar":
      return tagged(field.number, field.scalar);
    case "enum":
      return tagged(field.number, ScalarType.INT32);
    case "message":
      return nested(field.number, field.message, field.oneof === undefined);
    case "list":
      return listWriter(field);
    case "map":
      return mapWriter(field);
  }
}

function tagged(number: number, type: ScalarType): Write<unknown> {
  const tag = number * 8 + WIRE_TYPES[type];
  const write = SCALARS[type];
  return (value) => {
    write(value as never);
    tail.varint(tag);
  };
}

function nested(number: number, schema: DescMessage, maybeBare: boolean): Write<unknown> {
  const tag = number * 8 + LENGTH_DELIMITED;
  if (schema.typeName === "google.protobuf.Struct" || (maybeBare && isWrapperDesc(schema))) {
    return bare(tag, schema);
  }
  let write: Write<Fields> | undefined;
  return (value) => {
    write ??= writerOf(schema);
    const end = tail.position;
    write(value as Fields);
    tail.varint(end - tail.position);
    tail.varint(tag);
  };
}

/** A wrapper such as BoolValue, which protobuf-es keeps as the value that it wraps. */
function bare(tag: number, schema: DescMessage): Write<unknown> {
  if (!isWrapperDesc(schema)) throw new Error(`${schema.typeName} is not supported`);
  return (value) => {
    const bytes = toBinary(schema, { $typeName: schema.typeName, value } as never);
    tail.raw(bytes);
    tail.varint(bytes.length);
    tail.varint(tag);
  };
}

type ListField = DescField & { fieldKind: "list" };

function listWriter(field: ListField): Write<unknown> {
  if (field.listKind === "message") return eachOf(nested(field.number, field.message, false));
  const type = field.listKind === "enum" ? ScalarType.INT32 : field.scalar;
  if (!field.packed) return eachOf(tagged(field.number, type));
  const tag = field.number * 8 + LENGTH_DELIMITED;
  const items = eachOf(SCALARS[type]);
  return (value) => {
    const end = tail.position;
    items(value);
    tail.varint(end - tail.position);
    tail.varint(tag);
  };
}

function eachOf(write: Write<never>): Write<unknown> {
  return (value) => {
    const items = value as readonly never[];
    for (let i = items.length - 1; i >= 0; i--) {
      const item = items[i];
      if (item !== undefined) write(item);
    }
  };
}

type MapField = DescField & { fieldKind: "map" };

function mapWriter(field: MapField): Write<unknown> {
  const tag = field.number * 8 + LENGTH_DELIMITED;
  const { mapKey } = field;
  const writeKey = tagged(1, mapKey);
  const writeValue =
    field.mapKind === "message"
      ? nested(2, field.message, false)
      : tagged(2, field.mapKind === "enum" ? ScalarType.INT32 : field.scalar);
  return (value) => {
    const map = value as Fields;
    const keys = Object.keys(map);
    for (let i = keys.length - 1; i >= 0; i--) {
      const key = keys[i] ?? "";
      const end = tail.position;
      writeValue(map[key]);
      writeKey(keyValue(mapKey, key));
      tail.varint(end - tail.position);
      tail.varint(tag);
    }
  };
}

/** Keys of a map are names of properties; the wire knows their types. */
function keyValue(type: ScalarType, key: string): unknown {
  if (type === ScalarType.STRING) return key;
  if (type === ScalarType.BOOL) return key === "true";
  return WIDE.has(type) ? BigInt(key) : Number(key);
}

const WIDE: ReadonlySet<ScalarType> = new Set([
  ScalarType.INT64,
  ScalarType.UINT64,
  ScalarType.SINT64,
  ScalarType.FIXED64,
  ScalarType.SFIXED64,
]);

type Wide = bigint | number | string;

const SCALARS: Readonly<Record<ScalarType, Write<never>>> = {
  [ScalarType.DOUBLE]: (value: number) => tail.fixed(ScalarType.DOUBLE, value),
  [ScalarType.FLOAT]: (value: number) => tail.fixed(ScalarType.FLOAT, value),
  [ScalarType.INT64]: (value: Wide) => tail.int64(BigInt(value)),
  [ScalarType.UINT64]: (value: Wide) => tail.int64(BigInt(value)),
  [ScalarType.INT32]: (value: number) => tail.int32(value),
  [ScalarType.FIXED64]: (value: Wide) => tail.fixed(ScalarType.FIXED64, BigInt(value)),
  [ScalarType.FIXED32]: (value: number) => tail.fixed(ScalarType.FIXED32, value),
  [ScalarType.BOOL]: (value: boolean) => tail.varint(value ? 1 : 0),
  [ScalarType.STRING]: (value: string) => tail.string(value),
  [ScalarType.BYTES]: (value: Uint8Array) => tail.bytes(value),
  [ScalarType.UINT32]: (value: number) => tail.uint32(value),
  [ScalarType.SFIXED32]: (value: number) => tail.fixed(ScalarType.SFIXED32, value),
  [ScalarType.SFIXED64]: (value: Wide) => tail.fixed(ScalarType.SFIXED64, BigInt(value)),
  [ScalarType.SINT32]: (value: number) => tail.varint(((value << 1) ^ (value >> 31)) >>> 0),
  [ScalarType.SINT64]: (value: Wide) => {
    const wide = BigInt(value);
    tail.int64((wide << 1n) ^ (wide >> 63n));
  },
};
