/**
 * Identifiers as the swarm and docker know them.
 *  - swarm objects (node, service, task, network, cluster…): 25 characters of base 36;
 *  - containers, local networks, images: 64 hexadecimal characters.
 */

import type { Random } from "./ports.ts";

const SWARM_ID_LENGTH = 25;

/** A fresh swarm object id: 17 random bytes, top bit set, base 36, the first character dropped. */
export function newId(random: Random): string {
  const bytes = random.bytes(17);
  bytes[0] = (bytes[0] ?? 0) | 0x80;
  const digits = bytesToBigInt(bytes).toString(36);
  // Joined, V8 has it in one piece. A mere slice keeps pointing into what it is a slice of, and to
  // compare such keys of a large table takes six times as long.
  const half = 13;
  return [digits.slice(1, half), digits.slice(half, 1 + SWARM_ID_LENGTH)].join("");
}

/** A fresh container, exec or local network id: 64 hexadecimal characters. */
export function newHexId(random: Random, bytes = 32): string {
  for (;;) {
    const id = toHex(random.bytes(bytes));
    // Docker's own rule: a short id of digits alone would read as a number in shells and filters.
    if (!/^[0-9]{12}$/.test(id.slice(0, 12))) return id;
  }
}

/** The 12 characters that docker prints. */
export function shortId(id: string): string {
  return id.slice(0, 12);
}

export function bytesToBigInt(bytes: Uint8Array): bigint {
  return bytes.length === 0 ? 0n : BigInt(`0x${toHex(bytes)}`);
}

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

export function toHex(bytes: Uint8Array): string {
  let hex = "";
  for (const byte of bytes) hex += HEX[byte] ?? "";
  return hex;
}
