/**
 * The key sequence by which a user leaves an attached terminal and lets the process run on. Pure:
 * input goes in, what the process shall read comes out, until the sequence was typed.
 */

import { EngineError } from "#base/error.ts";

export const DEFAULT_DETACH_KEYS = "ctrl-p,ctrl-q";

/** "ctrl-p,ctrl-q" or single characters, as bytes. */
export function parseDetachKeys(text: string): Uint8Array {
  const bytes: number[] = [];
  for (const key of text.split(",")) {
    const control = /^ctrl-([a-zA-Z@[\\\]^_])$/.exec(key);
    if (control !== null) bytes.push((control[1] ?? "").toUpperCase().charCodeAt(0) - 64);
    else if (key.length === 1 && key.charCodeAt(0) < 128) bytes.push(key.charCodeAt(0));
    else {
      throw new EngineError("invalid-argument", `Invalid detach keys (${text}) provided`);
    }
  }
  return Uint8Array.from(bytes);
}

export class DetachScanner {
  readonly #keys: Uint8Array;
  #matched = 0;

  constructor(keys: Uint8Array) {
    this.#keys = keys;
  }

  /** Input for the process; the start of a sequence is held back until it is none. */
  push(input: Uint8Array): { readonly pass: Uint8Array; readonly detached: boolean } {
    const pass: number[] = [];
    for (const byte of input) {
      if (byte === this.#keys[this.#matched]) {
        this.#matched += 1;
        if (this.#matched === this.#keys.length) {
          return { pass: Uint8Array.from(pass), detached: true };
        }
        continue;
      }
      pass.push(...this.#keys.subarray(0, this.#matched));
      this.#matched = byte === this.#keys[0] ? 1 : 0;
      if (this.#matched === 0) pass.push(byte);
    }
    return { pass: Uint8Array.from(pass), detached: false };
  }
}
