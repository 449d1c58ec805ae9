/**
 * HPACK (RFC 7541): the header fields of HTTP/2. Reading knows everything, with bounds; writing is
 * plain literals that leave the reader's table alone, because what gRPC sends is short or written
 * once, and a block that depends on no other can be kept and sent again.
 */

import { err, ok, type Result } from "#base/result.ts";
import { decodeHuffman } from "./huffman.ts";

export type HeaderField = readonly [name: string, value: string];

/** The table that this side allows, bytes; HTTP/2's default. */
const TABLE_BYTES = 4_096;
/** What RFC 7541 counts for an entry beside its characters. */
const ENTRY_OVERHEAD = 32;
/** Longest integer that makes sense: no string and no table is longer. */
const INTEGER_MAX = 2 ** 24;

const STATIC: readonly HeaderField[] = [
  [":authority", ""],
  [":method", "GET"],
  [":method", "POST"],
  [":path", "/"],
  [":path", "/index.html"],
  [":scheme", "http"],
  [":scheme", "https"],
  [":status", "200"],
  [":status", "204"],
  [":status", "206"],
  [":status", "304"],
  [":status", "400"],
  [":status", "404"],
  [":status", "500"],
  ["accept-charset", ""],
  ["accept-encoding", "gzip, deflate"],
  ["accept-language", ""],
  ["accept-ranges", ""],
  ["accept", ""],
  ["access-control-allow-origin", ""],
  ["age", ""],
  ["allow", ""],
  ["authorization", ""],
  ["cache-control", ""],
  ["content-disposition", ""],
  ["content-encoding", ""],
  ["content-language", ""],
  ["content-length", ""],
  ["content-location", ""],
  ["content-range", ""],
  ["content-type", ""],
  ["cookie", ""],
  ["date", ""],
  ["etag", ""],
  ["expect", ""],
  ["expires", ""],
  ["from", ""],
  ["host", ""],
  ["if-match", ""],
  ["if-modified-since", ""],
  ["if-none-match", ""],
  ["if-range", ""],
  ["if-unmodified-since", ""],
  ["last-modified", ""],
  ["link", ""],
  ["location", ""],
  ["max-forwards", ""],
  ["proxy-authenticate", ""],
  ["proxy-authorization", ""],
  ["range", ""],
  ["referer", ""],
  ["refresh", ""],
  ["retry-after", ""],
  ["server", ""],
  ["set-cookie", ""],
  ["strict-transport-security", ""],
  ["transfer-encoding", ""],
  ["user-agent", ""],
  ["vary", ""],
  ["via", ""],
  ["www-authenticate", ""],
];
const STATIC_INDEX = new Map(STATIC.map(([name, value], i) => [`${name}\n${value}`, i + 1]));
const STATIC_NAME_INDEX = new Map(STATIC.map(([name], i) => [name, i + 1]));

/** Reads the header blocks of one direction of one connection, in their order. */
export class HeaderReader {
  /** The newest entry first in HPACK's counting, last in here. */
  #table: HeaderField[] = [];
  #tableBytes = 0;
  #capacity = TABLE_BYTES;
  readonly #listMax: number;
  #bytes: Uint8Array = new Uint8Array(0);
  #at = 0;
  #end = 0;

  /** `listMax`: largest list, characters with 32 for each field. */
  constructor(listMax: number) {
    this.#listMax = listMax;
  }

  /** The fields in order. After an error the table is unknown: the connection must end. */
  read(block: Uint8Array): Result<readonly HeaderField[]> {
    this.#bytes = block;
    this.#at = 0;
    this.#end = block.length;
    const fields: HeaderField[] = [];
    let size = 0;
    while (this.#at < this.#end) {
      const first = block[this.#at] ?? 0;
      if ((first & 0xe0) === 0x20) {
        // A change of the table's size comes before the first field.
        if (fields.length > 0 || !this.#resize()) return err("a table size out of place");
        continue;
      }
      const field = (first & 0x80) !== 0 ? this.#indexed() : this.#literal(first);
      if (field === undefined) return err("a header field that makes no sense");
      size += sizeOf(field);
      if (size > this.#listMax) return err("a list of header fields that is too long");
      fields.push(field);
    }
    return ok(fields);
  }

  #resize(): boolean {
    const capacity = this.#integer(5);
    if (capacity === undefined || capacity > TABLE_BYTES) return false;
    this.#capacity = capacity;
    this.#evict(0);
    return true;
  }

  #indexed(): HeaderField | undefined {
    const index = this.#integer(7);
    return index === undefined ? undefined : this.#entry(index);
  }

  #literal(first: number): HeaderField | undefined {
    const isAdded = (first & 0x40) !== 0;
    const index = this.#integer(isAdded ? 6 : 4);
    if (index === undefined) return undefined;
    const name = index === 0 ? this.#string() : this.#entry(index)?.[0];
    const value = name === undefined ? undefined : this.#string();
    if (name === undefined || value === undefined) return undefined;
    const field: HeaderField = [name, value];
    if (isAdded) this.#add(field);
    return field;
  }

  #entry(index: number): HeaderField | undefined {
    if (index <= STATIC.length) return STATIC[index - 1];
    return this.#table[this.#table.length - (index - STATIC.length)];
  }

  #add(field: HeaderField): void {
    const size = sizeOf(field);
    this.#evict(size);
    // An entry that is larger than the table empties it, and is not kept.
    if (size > this.#capacity) return;
    this.#table.push(field);
    this.#tableBytes += size;
  }

  #evict(room: number): void {
    let gone = 0;
    while (this.#tableBytes + room > this.#capacity && gone < this.#table.length) {
      const oldest = this.#table[gone];
      if (oldest !== undefined) this.#tableBytes -= sizeOf(oldest);
      gone += 1;
    }
    if (gone > 0) this.#table = this.#table.slice(gone);
  }

  #string(): string | undefined {
    const isHuffman = ((this.#bytes[this.#at] ?? 0) & 0x80) !== 0;
    const length = this.#integer(7);
    if (length === undefined || this.#at + length > this.#end) return undefined;
    const from = this.#at;
    this.#at += length;
    if (isHuffman) return decodeHuffman(this.#bytes, from, this.#at);
    let text = "";
    for (let at = from; at < this.#at; at++) text += String.fromCharCode(this.#bytes[at] ?? 0);
    return text;
  }

  #integer(prefixBits: number): number | undefined {
    if (this.#at >= this.#end) return undefined;
    const mask = 2 ** prefixBits - 1;
    let value = (this.#bytes[this.#at++] ?? 0) & mask;
    if (value < mask) return value;
    for (let scale = 1; ; scale *= 128) {
      if (this.#at >= this.#end) return undefined;
      const byte = this.#bytes[this.#at++] ?? 0;
      value += (byte & 127) * scale;
      if (value > INTEGER_MAX || scale > INTEGER_MAX) return undefined;
      if (byte < 128) return value;
    }
  }
}

function sizeOf([name, value]: HeaderField): number {
  return name.length + value.length + ENTRY_OVERHEAD;
}

/** The fields as a block of their own. Names are lower case, values one byte per character. */
export function writeHeaders(fields: readonly HeaderField[]): Uint8Array {
  const bytes: number[] = [];
  for (const [name, value] of fields) {
    const whole = STATIC_INDEX.get(`${name}\n${value}`);
    if (whole !== undefined) {
      pushInteger(bytes, 0x80, 7, whole);
      continue;
    }
    const known = STATIC_NAME_INDEX.get(name) ?? 0;
    pushInteger(bytes, 0, 4, known);
    if (known === 0) pushString(bytes, name);
    pushString(bytes, value);
  }
  return Uint8Array.from(bytes);
}

function pushString(bytes: number[], text: string): void {
  pushInteger(bytes, 0, 7, text.length);
  for (let i = 0; i < text.length; i++) bytes.push(text.charCodeAt(i) & 0xff);
}

function pushInteger(bytes: number[], flags: number, prefixBits: number, value: number): void {
  const mask = 2 ** prefixBits - 1;
  if (value < mask) {
    bytes.push(flags | value);
    return;
  }
  bytes.push(flags | mask);
  let rest = value - mask;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128);
  bytes.push(rest);
}
