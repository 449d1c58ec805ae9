/**
 * Byte strings as fixed-width numbers in base 36, the notation of join tokens: big-endian, lower
 * case, padded with zeros on the left.
 */

import { bytesToBigInt } from "#base/ids.ts";
import { err, ok, type Result } from "#base/result.ts";

const DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz";

export function toBase36(bytes: Uint8Array, width: number): string {
  return bytesToBigInt(bytes).toString(36).padStart(width, "0");
}

/** The `length` bytes that `text` stands for; refuses other characters and numbers too large. */
export function fromBase36(text: string, length: number): Result<Uint8Array> {
  let value = 0n;
  for (const character of text) {
    const digit = DIGITS.indexOf(character);
    if (digit < 0) return err(`${JSON.stringify(character)} is not a digit of base 36`);
    value = value * 36n + BigInt(digit);
  }
  const bytes = new Uint8Array(length);
  for (let at = length - 1; at >= 0; at -= 1) {
    bytes[at] = Number(value & 0xffn);
    value >>= 8n;
  }
  return value === 0n ? ok(bytes) : err(`the number does not fit ${length} bytes`);
}
