/**
 * Lines on their way to a client: those that come in one turn of the event loop leave in one write,
 * and none waits longer. A write and a buffer for each line were most of what reading a log cost.
 */

import type { Writable } from "node:stream";
import { encodeFrame, type StreamType } from "./stdcopy.ts";

const BATCH_BYTES = 64 * 1024;
const HEADER_BYTES = 8;

export class FrameBatch {
  readonly #out: Writable;
  readonly #raw: boolean;
  #buffer: Buffer | undefined;
  #used = 0;
  #timer: NodeJS.Immediate | undefined;

  /** `raw`: without the frames' heads, as for a terminal. */
  constructor(out: Writable, raw: boolean) {
    this.#out = out;
    this.#raw = raw;
  }

  /** False when the reader is behind. */
  push(stream: StreamType, payload: Uint8Array): boolean {
    const length = payload.length + (this.#raw ? 0 : HEADER_BYTES);
    let keepsUp = true;
    if (this.#used + length > BATCH_BYTES) keepsUp = this.flush();
    if (length > BATCH_BYTES) {
      return this.#out.write(this.#raw ? payload : encodeFrame(stream, payload)) && keepsUp;
    }
    this.#buffer ??= Buffer.allocUnsafeSlow(BATCH_BYTES);
    if (!this.#raw) {
      this.#buffer.writeUInt32BE(stream * 0x1_00_00_00, this.#used);
      this.#buffer.writeUInt32BE(payload.length, this.#used + 4);
      this.#used += HEADER_BYTES;
    }
    this.#buffer.set(payload, this.#used);
    this.#used += payload.length;
    this.#timer ??= setImmediate(() => this.flush());
    return keepsUp;
  }

  flush(): boolean {
    if (this.#timer !== undefined) clearImmediate(this.#timer);
    this.#timer = undefined;
    const bytes = this.#buffer?.subarray(0, this.#used);
    this.#buffer = undefined;
    this.#used = 0;
    if (bytes === undefined || this.#out.destroyed) return true;
    return this.#out.write(bytes);
  }
}
