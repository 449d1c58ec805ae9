/**
 * Bytes to protobuf messages, fast: what protobuf-es' `fromBinary` gives, by functions that are made
 * once from each schema (see `encode.ts`). One thing differs on purpose: bytes fields are copies, so
 * that an object does not keep the snapshot or the frame alive that it once came in.
 */

import {
  create,
  type DescField,
  type DescMessage,
  fromBinary,
  type MessageShape,
  ScalarType,
} from "@bufbuild/protobuf";
import { BinaryReader, BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { isWrapperDesc } from "@bufbuild/protobuf/wkt";

type Target = Record<string, unknown>;

/** Reads one occurrence of a field into the message. */
type Read = (message: Target, reader: BinaryReader, wireType: WireType, depth: number) => void;

interface Unknown {
  readonly no: number;
  readonly wireType: WireType;
  readonly data: Uint8Array;
}

const DEPTH_MAX = 100;

const compiled = new WeakMap<DescMessage, ReadonlyMap<number, Read>>();

/** Throws for bytes that are no such message. */
export function decodeMessage<D extends DescMessage>(
  schema: D,
  bytes: Uint8Array,
): MessageShape<D> {
  const message = create(schema);
  readInto(schema, message, new BinaryReader(bytes), bytes.length, 1);
  return message;
}

function readInto(
  schema: DescMessage,
  message: Target,
  reader: BinaryReader,
  length: number,
  depth: number,
): void {
  if (depth > DEPTH_MAX) throw new Error(`${schema.typeName} is nested too deeply`);
  const fields = readersOf(schema);
  const end = reader.pos + length;
  while (reader.pos < end) {
    const [number, wireType] = reader.tag();
    const read = fields.get(number);
    if (read !== undefined) read(message, reader, wireType, depth);
    else keepUnknown(message, number, wireType, reader.skip(wireType, number, DEPTH_MAX - depth));
  }
}

function readersOf(schema: DescMessage): ReadonlyMap<number, Read> {
  let readers = compiled.get(schema);
  if (readers === undefined) {
    readers = new Map(schema.fields.map((field) => [field.number, compileField(field)]));
    compiled.set(schema, readers);
  }
  return readers;
}

function keepUnknown(message: Target, no: number, wireType: WireType, data: Uint8Array): void {
  const unknown = message["$unknown"] as Unknown[] | undefined;
  const field = { no, wireType, data: copyOf(data) };
  if (unknown === undefined) message["$unknown"] = [field];
  else unknown.push(field);
}

function compileField(field: DescField): Read {
  switch (field.fieldKind) {
    case "list":
      return listReader(field);
    case "map":
      return mapReader(field);
    case "message":
      return messageReader(field);
    case "enum":
      return enumReader(field);
    case "scalar": {
      const put = setter(field);
      const read = scalarReader(field.scalar, field.utf8Validation);
      return (message, reader) => put(message, read(reader));
    }
  }
}

function setter(field: DescField): (message: Target, value: unknown) => void {
  const { localName: name, oneof } = field;
  if (oneof === undefined) {
    return (message, value) => {
      message[name] = value;
    };
  }
  const group = oneof.localName;
  return (message, value) => {
    message[group] = { case: name, value };
  };
}

/** Enums of proto2 are closed: what they do not name is kept as an unknown field. */
function enumReader(field: DescField & { fieldKind: "enum" }): Read {
  const put = setter(field);
  if (field.enum.open) return (message, reader) => put(message, reader.int32());
  const numbers = new Set(field.enum.values.map(({ number }) => number));
  return (message, reader, wireType) => {
    const value = reader.int32();
    if (numbers.has(value)) put(message, value);
    else {
      const data = new BinaryWriter().uint32(value >>> 0).finish();
      keepUnknown(message, field.number, wireType, data);
    }
  };
}

function messageReader(field: DescField & { fieldKind: "message" }): Read {
  const { localName: name, oneof, message: schema } = field;
  const put = setter(field);
  if (isSpecial(field)) {
    return (message, reader) => {
      const bytes = reader.bytes();
      put(message, (fromBinary(schema, bytes) as unknown as { value: unknown }).value);
    };
  }
  // A second occurrence is merged into the first.
  const present = (message: Target): Target | undefined => {
    if (oneof === undefined) return message[name] as Target | undefined;
    const chosen = message[oneof.localName] as { case?: string; value?: unknown };
    return chosen.case === name ? (chosen.value as Target) : undefined;
  };
  return (message, reader, _wireType, depth) => {
    let nested = present(message);
    if (nested === undefined) {
      nested = create(schema) as unknown as Target;
      put(message, nested);
    }
    readInto(schema, nested, reader, reader.uint32(), depth + 1);
  };
}

/** A wrapper that protobuf-es keeps as the value that it wraps. */
function isSpecial(field: DescField & { fieldKind: "message" }): boolean {
  const { typeName } = field.message;
  if (field.delimitedEncoding || typeName === "google.protobuf.Struct") {
    throw new Error(`${field.toString()} is of a kind that is not supported`);
  }
  return field.oneof === undefined && isWrapperDesc(field.message);
}

function listReader(field: DescField & { fieldKind: "list" }): Read {
  const { localName: name } = field;
  if (field.listKind === "message") {
    const schema = field.message;
    return (message, reader, _wireType, depth) => {
      const item = create(schema) as unknown as Target;
      readInto(schema, item, reader, reader.uint32(), depth + 1);
      (message[name] as unknown[]).push(item);
    };
  }
  const type = field.listKind === "enum" ? ScalarType.INT32 : field.scalar;
  const read = scalarReader(type, field.utf8Validation);
  const mayPack = type !== ScalarType.STRING && type !== ScalarType.BYTES;
  return (message, reader, wireType) => {
    const list = message[name] as unknown[];
    if (!mayPack || wireType !== WireType.LengthDelimited) {
      list.push(read(reader));
      return;
    }
    const end = reader.uint32() + reader.pos;
    while (reader.pos < end) list.push(read(reader));
  };
}

function mapReader(field: DescField & { fieldKind: "map" }): Read {
  const { localName: name } = field;
  const readKey = scalarReader(field.mapKey, field.utf8Validation);
  const zeroKey = zeroOf(field.mapKey);
  const readValue = mapValueReader(field);
  return (message, reader, _wireType, depth) => {
    let key: unknown = zeroKey;
    let value: unknown;
    const end = reader.uint32() + reader.pos;
    while (reader.pos < end) {
      const [number] = reader.tag();
      if (number === 1) key = readKey(reader);
      else if (number === 2) value = readValue.read(reader, depth);
    }
    // Any key is a key, also one that objects have a meaning for.
    Object.defineProperty(message[name], String(key), {
      value: value ?? readValue.zero(),
      enumerable: true,
      configurable: true,
      writable: true,
    });
  };
}

function mapValueReader(field: DescField & { fieldKind: "map" }): {
  read(reader: BinaryReader, depth: number): unknown;
  zero(): unknown;
} {
  if (field.mapKind === "message") {
    const schema = field.message;
    return {
      read: (reader, depth) => {
        const item = create(schema) as unknown as Target;
        readInto(schema, item, reader, reader.uint32(), depth + 1);
        return item;
      },
      zero: () => create(schema),
    };
  }
  if (field.mapKind === "enum") {
    const first = field.enum.values[0]?.number;
    return { read: (reader) => reader.int32(), zero: () => first };
  }
  const read = scalarReader(field.scalar, field.utf8Validation);
  const zero = zeroOf(field.scalar);
  return { read: (reader) => read(reader), zero: () => zero };
}

function scalarReader(
  type: ScalarType,
  validateUtf8: boolean | undefined,
): (reader: BinaryReader) => unknown {
  if (type === ScalarType.STRING) return (reader) => reader.string(validateUtf8);
  return SCALARS[type];
}

const SCALARS: Readonly<Record<ScalarType, (reader: BinaryReader) => unknown>> = {
  [ScalarType.DOUBLE]: (reader) => reader.double(),
  [ScalarType.FLOAT]: (reader) => reader.float(),
  [ScalarType.INT64]: (reader) => reader.int64(),
  [ScalarType.UINT64]: (reader) => reader.uint64(),
  [ScalarType.INT32]: (reader) => reader.int32(),
  [ScalarType.FIXED64]: (reader) => reader.fixed64(),
  [ScalarType.FIXED32]: (reader) => reader.fixed32(),
  [ScalarType.BOOL]: (reader) => reader.bool(),
  [ScalarType.STRING]: (reader) => reader.string(),
  [ScalarType.BYTES]: (reader) => copyOf(reader.bytes()),
  [ScalarType.UINT32]: (reader) => reader.uint32(),
  [ScalarType.SFIXED32]: (reader) => reader.sfixed32(),
  [ScalarType.SFIXED64]: (reader) => reader.sfixed64(),
  [ScalarType.SINT32]: (reader) => reader.sint32(),
  [ScalarType.SINT64]: (reader) => reader.sint64(),
};

/** Not `slice`, which for a Buffer is a view. */
function copyOf(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes);
}

function zeroOf(type: ScalarType): unknown {
  switch (type) {
    case ScalarType.STRING:
      return "";
    case ScalarType.BOOL:
      return false;
    case ScalarType.BYTES:
      return new Uint8Array(0);
    case ScalarType.INT64:
    case ScalarType.UINT64:
    case ScalarType.SINT64:
    case ScalarType.FIXED64:
    case ScalarType.SFIXED64:
      return 0n;
    case ScalarType.DOUBLE:
    case ScalarType.FLOAT:
    case ScalarType.INT32:
    case ScalarType.UINT32:
    case ScalarType.SINT32:
    case ScalarType.FIXED32:
    case ScalarType.SFIXED32:
      return 0;
  }
}
