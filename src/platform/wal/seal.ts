/**
 * AES-256-GCM with nonces that never repeat under a key: 7 random bytes drawn when the sealer is
 * made and a 40-bit counter. Every opening of a log makes its own sealer, so that a record written
 * again over a torn one has another nonce.
 */

import { createCipheriv, createDecipheriv } from "node:crypto";
import { invariant } from "#base/invariant.ts";
import type { Random } from "#base/ports.ts";

export const NONCE_BYTES = 12;
export const TAG_BYTES = 16;
const SALT_BYTES = 7;
const COUNTER_END = 2 ** 40;

export interface Sealed {
  readonly nonce: Uint8Array;
  /** Ciphertext pieces, none empty, the authentication tag last. */
  readonly pieces: readonly Uint8Array[];
}

export class Sealer {
  readonly #salt: Uint8Array;
  #counter = 0;

  constructor(random: Random) {
    this.#salt = random.bytes(SALT_BYTES);
  }

  seal(key: Uint8Array, plaintext: readonly Uint8Array[], associated: Uint8Array): Sealed {
    const nonce = this.#nonce();
    const cipher = createCipheriv("aes-256-gcm", key, nonce);
    cipher.setAAD(associated);
    const pieces: Uint8Array[] = plaintext.map((piece) => cipher.update(piece));
    pieces.push(cipher.final(), cipher.getAuthTag());
    // Node's crc32 of an empty piece forgets the sum so far.
    return { nonce, pieces: pieces.filter(({ length }) => length > 0) };
  }

  #nonce(): Uint8Array {
    const counter = this.#counter;
    this.#counter += 1;
    invariant(counter < COUNTER_END, "a sealer is replaced before its nonces run out");
    const nonce = Buffer.alloc(NONCE_BYTES);
    nonce.set(this.#salt);
    nonce.writeUIntBE(counter, SALT_BYTES, NONCE_BYTES - SALT_BYTES);
    return nonce;
  }
}

/** The plaintext; undefined if key, nonce, associated data or any byte is not as it was sealed. */
export function unseal(
  key: Uint8Array,
  nonce: Uint8Array,
  sealed: Uint8Array,
  associated: Uint8Array,
): Buffer | undefined {
  if (sealed.length < TAG_BYTES) return undefined;
  const split = sealed.length - TAG_BYTES;
  const decipher = createDecipheriv("aes-256-gcm", key, nonce);
  decipher.setAAD(associated);
  decipher.setAuthTag(sealed.subarray(split));
  try {
    const plaintext = decipher.update(sealed.subarray(0, split));
    decipher.final();
    return plaintext;
  } catch {
    return undefined;
  }
}
