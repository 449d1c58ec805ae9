/** A buffer that is written from its end towards its front; see `encode.ts`. */

import { ScalarType } from "@bufbuild/protobuf";

const FIRST_BYTES = 64 * 1024;
/** A buffer that had to grow beyond this is not kept for the next message. */
const KEPT_BYTES = 4 * 1024 * 1024;
/** Strings up to this length are tried byte by byte, as most are short and ASCII. */
const SHORT_STRING = 80;
const TWO_32 = 2 ** 32;

const utf8 = new TextEncoder();

export class Tail {
  #bytes = new Uint8Array(FIRST_BYTES);
  /** Where the last written byte is; what is written lies from here to the end. */
  #position = FIRST_BYTES;

  /** Counts down while bytes are written. */
  get position(): number {
    return this.#position - this.#bytes.length;
  }

  begin(): void {
    this.#position = this.#bytes.length;
  }

  /** A copy of all that was written. */
  finish(): Uint8Array<ArrayBuffer> {
    const result = this.#bytes.slice(this.#position);
    if (this.#bytes.length > KEPT_BYTES) this.#bytes = new Uint8Array(FIRST_BYTES);
    return result;
  }

  /** Copies all that was written. */
  copyTo(bytes: Uint8Array, at: number): void {
    bytes.set(this.#bytes.subarray(this.#position), at);
  }

  raw(bytes: Uint8Array): void {
    const at = this.#take(bytes.length);
    this.#bytes.set(bytes, at);
  }

  bytes(value: Uint8Array): void {
    this.raw(value);
    this.varint(value.length);
  }

  string(value: string): void {
    if (value.length > SHORT_STRING || !this.#ascii(value)) {
      this.bytes(utf8.encode(value));
    }
  }

  /** A non-negative integer up to 2^53. */
  varint(value: number): void {
    if (value < 128) {
      const at = this.#take(1);
      this.#bytes[at] = value;
      return;
    }
    let size = 1;
    for (let rest = value; rest >= 128; rest = Math.floor(rest / 128)) size += 1;
    let at = this.#take(size);
    let rest = value;
    for (; size > 1; size -= 1) {
      this.#bytes[at] = (rest % 128) | 128;
      rest = Math.floor(rest / 128);
      at += 1;
    }
    this.#bytes[at] = rest;
  }

  uint32(value: number): void {
    if (value >>> 0 !== value) throw new Error(`${value} is not an unsigned 32-bit integer`);
    this.varint(value);
  }

  int32(value: number): void {
    if ((value | 0) !== value) throw new Error(`${value} is not a 32-bit integer`);
    if (value >= 0) this.varint(value);
    else this.int64(BigInt(value));
  }

  /** A 64-bit integer, signed or not. */
  int64(value: bigint): void {
    const small = Number(value);
    if (small >= 0 && small <= Number.MAX_SAFE_INTEGER) {
      this.varint(small);
      return;
    }
    if (BigInt.asIntN(64, value) !== value && BigInt.asUintN(64, value) !== value) {
      throw new Error(`${value} is not a 64-bit integer`);
    }
    let rest = BigInt.asUintN(64, value);
    const groups: number[] = [];
    for (; rest > 127n; rest >>= 7n) groups.push(Number(rest & 127n) | 128);
    groups.push(Number(rest));
    this.raw(Uint8Array.from(groups));
  }

  /** The types of fixed width. */
  fixed(type: ScalarType, value: number | bigint): void {
    const isWide =
      type === ScalarType.DOUBLE || type === ScalarType.FIXED64 || type === ScalarType.SFIXED64;
    const at = this.#take(isWide ? 8 : 4);
    const view = new DataView(this.#bytes.buffer, at);
    if (type === ScalarType.DOUBLE) view.setFloat64(0, Number(value), true);
    else if (type === ScalarType.FLOAT) view.setFloat32(0, Number(value), true);
    else if (isWide) view.setBigUint64(0, BigInt.asUintN(64, BigInt(value)), true);
    else view.setUint32(0, (Number(value) + TWO_32) % TWO_32, true);
  }

  /** Writes the string if it is ASCII throughout. */
  #ascii(value: string): boolean {
    const { length } = value;
    const at = this.#take(length);
    for (let i = 0; i < length; i++) {
      const code = value.charCodeAt(i);
      if (code > 127) {
        this.#position += length;
        return false;
      }
      this.#bytes[at + i] = code;
    }
    this.varint(length);
    return true;
  }

  /** Makes room in front of what is written; where it begins. */
  #take(size: number): number {
    if (size > this.#position) this.#grow(size);
    this.#position -= size;
    return this.#position;
  }

  #grow(size: number): void {
    const used = this.#bytes.length - this.#position;
    let length = this.#bytes.length * 2;
    while (length - used < size) length *= 2;
    const grown = new Uint8Array(length);
    grown.set(this.#bytes.subarray(this.#position), length - used);
    this.#bytes = grown;
    this.#position = length - used;
  }
}
