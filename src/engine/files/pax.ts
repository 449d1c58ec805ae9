/**
 * File capabilities in tar archives: an extended header whose value is bytes, which the tar library
 * takes for text when it reads, and would replace what is no UTF-8.
 */

import type { Extract, Header } from "tar-stream";
import { messageOf } from "#base/error.ts";
import { invariant } from "#base/invariant.ts";

export const CAPABILITY_XATTR = "security.capability";
export const CAPABILITY_KEY = `SCHILY.xattr.${CAPABILITY_XATTR}`;

/** The library's own names, which it does not declare. */
const HEADER = "_header";
const PAX = "_pax";
const DECODE = "_decodeLongHeader";

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

/** What is wrong with an archive, as docker says it where it is not whole. */
export function tarProblem(error: unknown): string {
  const text = messageOf(error);
  return text === "Unexpected end of data" ? "unexpected EOF" : text;
}
