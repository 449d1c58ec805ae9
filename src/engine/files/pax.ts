/**
 * File capabilities in tar archives: an extended header whose value is bytes, which the tar library
 * takes for text both ways. Reading, it would replace what is no UTF-8; writing, a second header of
 * its own (for a long name) would take this one's place.
 */

import type { Extract, Header, Pack } from "tar-stream";
import { messageOf } from "#base/error.ts";
import { invariant } from "#base/invariant.ts";

export const CAPABILITY_XATTR = "security.capability";
const CAPABILITY_KEY = `SCHILY.xattr.${CAPABILITY_XATTR}`;

/** The library's own names, which it does not declare. */
const HEADER = "_header";
const PAX = "_pax";
const DECODE = "_decodeLongHeader";
const ENCODE = "_encode";
const ENCODE_PAX = "_encodePax";

/** What it does with an extended header. */
interface ExtractInside {
  readonly [HEADER]: { readonly type: string };
  readonly [PAX]: Record<string, string> | null;
  [DECODE](bytes: Uint8Array): void;
}

/** Has the archive's capabilities kept as they are, for `capabilityOf`. */
export function keepCapabilities(extract: Extract): void {
  const inside = extract as unknown as ExtractInside;
  invariant(typeof inside[DECODE] === "function", "tar-stream reads headers otherwise");
  const decode = inside[DECODE].bind(extract);
  inside[DECODE] = (bytes) => {
    decode(bytes);
    if (inside[HEADER].type !== "pax-header" || inside[PAX] === null) return;
    const value = paxValue(bytes, CAPABILITY_KEY);
    if (value !== undefined) inside[PAX][CAPABILITY_KEY] = Buffer.from(value).toString("latin1");
  };
}

export function capabilityOf(header: Header): Uint8Array | undefined {
  const { pax } = header as { readonly pax?: Readonly<Record<string, string>> | null };
  const value = pax?.[CAPABILITY_KEY];
  return value === undefined ? undefined : Buffer.from(value, "latin1");
}

/** The bytes of one of the records "LENGTH KEY=VALUE\n"; undefined when it is not there. */
export function paxValue(bytes: Uint8Array, key: string): Uint8Array | undefined {
  const text = Buffer.from(bytes);
  for (let at = 0; at < text.length; ) {
    const space = text.indexOf(0x20, at);
    const length = space < 0 ? 0 : Number(text.subarray(at, space).toString("latin1"));
    if (!Number.isInteger(length) || length <= space - at + 1) return undefined;
    const record = text.subarray(space + 1, at + length - 1);
    const equals = record.indexOf(0x3d);
    if (equals >= 0 && record.subarray(0, equals).toString("utf8") === key) {
      return record.subarray(equals + 1);
    }
    at += length;
  }
  return undefined;
}

type EntryHeader = Partial<Header> & Pick<Header, "name">;
type Pax = Readonly<Record<string, string>>;

/** What it does with a header that needs an extended one. */
interface PackInside {
  [ENCODE](header: EntryHeader): void;
  [ENCODE_PAX](header: EntryHeader & { readonly pax: Pax }): void;
  push(bytes: Uint8Array): void;
}

/** Has headers with a capability of `withCapability` written as bytes. */
export function writeCapabilities(out: Pack): void {
  const inside = out as unknown as PackInside;
  invariant(typeof inside[ENCODE_PAX] === "function", "tar-stream writes headers otherwise");
  const encodePax = inside[ENCODE_PAX].bind(out);
  inside[ENCODE_PAX] = (header) => {
    if (!Object.hasOwn(header.pax, CAPABILITY_KEY)) return encodePax(header);
    const { pax, ...plain } = header;
    const isPlainName = /^[\x20-\x7e]{1,100}$/.test(header.name);
    const name = isPlainName ? [] : [paxRecord("path", Buffer.from(header.name))];
    const records = Object.entries(pax).map(([key, text]) =>
      paxRecord(key, Buffer.from(text, key === CAPABILITY_KEY ? "latin1" : "utf8")),
    );
    inside.push(paxBlocks(Buffer.concat([...name, ...records])));
    inside[ENCODE]({ ...plain, name: isPlainName ? header.name : "LongName" });
  };
}

export function withCapability(header: EntryHeader, value: Uint8Array): EntryHeader {
  const { pax } = header as { readonly pax?: Pax | null };
  const own = { ...pax, [CAPABILITY_KEY]: Buffer.from(value).toString("latin1") };
  return { ...header, pax: own };
}

const BLOCK_BYTES = 512;

/** An extended header (type "x") and its content, each filled up to whole blocks. */
function paxBlocks(content: Uint8Array): Uint8Array {
  const blocks = 1 + Math.ceil(content.length / BLOCK_BYTES);
  const bytes = Buffer.alloc(blocks * BLOCK_BYTES);
  const octal = (value: number, digits: number) => value.toString(8).padStart(digits, "0");
  bytes.write("PaxHeader", 0);
  bytes.write(octal(0o644, 7), 100);
  bytes.write(octal(0, 7), 108);
  bytes.write(octal(0, 7), 116);
  bytes.write(octal(content.length, 11), 124);
  bytes.write(octal(0, 11), 136);
  bytes.fill(" ", 148, 156);
  bytes.write("x", 156);
  bytes.write("ustar", 257);
  bytes.write("00", 263);
  const sum = bytes.subarray(0, BLOCK_BYTES).reduce((total, byte) => total + byte, 0);
  bytes.write(`${octal(sum, 6)}\0 `, 148);
  bytes.set(content, BLOCK_BYTES);
  return bytes;
}

function paxRecord(key: string, value: Uint8Array): Uint8Array {
  const rest = Buffer.concat([Buffer.from(` ${key}=`), value, Buffer.from("\n")]);
  // The length counts its own digits.
  let digits = 1;
  while (String(rest.length + digits).length > digits) digits += 1;
  return Buffer.concat([Buffer.from(String(rest.length + digits)), rest]);
}

/** What is wrong with an archive, as docker says it where it is not whole. */
export function tarProblem(error: unknown): string {
  const text = messageOf(error);
  return text === "Unexpected end of data" ? "unexpected EOF" : text;
}
