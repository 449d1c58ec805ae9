/**
 * As much of the protobuf wire format as membership changes need: varints and byte strings. Fields
 * of other kinds are skipped, so that newer writers can add some.
 */

import { err, ok, type Result } from "#base/result.ts";

const WIRE_VARINT = 0;
const WIRE_FIXED64 = 1;
const WIRE_BYTES = 2;
const WIRE_FIXED32 = 5;
const VARINT_MAX_BYTES = 10;

interface VarintField {
  readonly number: number;
  readonly value: bigint;
}
interface BytesField {
  readonly number: number;
  readonly value: Uint8Array;
}
export type Field = VarintField | BytesField;

export function isVarint(field: Field): field is VarintField {
  return typeof field.value === "bigint";
}

export function isBytes(field: Field): field is BytesField {
  return field.value instanceof Uint8Array;
}

export class Writer {
  readonly #out: number[] = [];

  varint(field: number, value: bigint): void {
    this.#raw(BigInt((field << 3) | WIRE_VARINT));
    this.#raw(value);
  }

  bytes(field: number, value: Uint8Array): void {
    this.#raw(BigInt((field << 3) | WIRE_BYTES));
    this.#raw(BigInt(value.length));
    for (const byte of value) this.#out.push(byte);
  }

  finish(): Uint8Array {
    return Uint8Array.from(this.#out);
  }

  #raw(value: bigint): void {
    let rest = BigInt.asUintN(64, value);
    while (rest > 0x7fn) {
      this.#out.push(Number(rest & 0x7fn) | 0x80);
      rest >>= 7n;
    }
    this.#out.push(Number(rest));
  }
}

/** All varint and byte-string fields in order of appearance, or why the input is broken. */
export function readFields(data: Uint8Array): Result<readonly Field[]> {
  const fields: Field[] = [];
  let at = 0;
  while (at < data.length) {
    const tag = readVarint(data, at);
    if (tag === undefined) return err("cut varint");
    const number = Number(tag.value >> 3n);
    const body = readBody(data, tag.next, Number(tag.value & 7n));
    if (body === undefined) return err(`broken field ${number}`);
    if (body.value !== undefined) fields.push({ number, value: body.value } as Field);
    at = body.next;
  }
  return ok(fields);
}

interface Body {
  /** Undefined for kinds that are skipped. */
  readonly value: bigint | Uint8Array | undefined;
  readonly next: number;
}

function readBody(data: Uint8Array, at: number, wire: number): Body | undefined {
  switch (wire) {
    case WIRE_VARINT:
      return readVarint(data, at);
    case WIRE_BYTES: {
      const length = readVarint(data, at);
      if (length === undefined) return undefined;
      const end = length.next + Number(length.value);
      return end <= data.length ? { value: data.slice(length.next, end), next: end } : undefined;
    }
    case WIRE_FIXED64:
      return skip(data, at + 8);
    case WIRE_FIXED32:
      return skip(data, at + 4);
    default:
      return undefined;
  }
}

function skip(data: Uint8Array, next: number): Body | undefined {
  return next <= data.length ? { value: undefined, next } : undefined;
}

function readVarint(
  data: Uint8Array,
  at: number,
): { readonly value: bigint; readonly next: number } | undefined {
  let value = 0n;
  for (let i = 0; i < VARINT_MAX_BYTES; i++) {
    const byte = data[at + i];
    if (byte === undefined) return undefined;
    value |= BigInt(byte & 0x7f) << BigInt(7 * i);
    if (byte < 0x80) return { value: BigInt.asUintN(64, value), next: at + i + 1 };
  }
  return undefined;
}
