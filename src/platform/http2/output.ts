/**
 * What a connection has to say: frames gather while one turn of the event loop lasts and go out as
 * one write. A hundred answers that become ready together cost one system call, and one TLS record
 * or few.
 */

import type { Socket } from "node:net";

const ARENA_BYTES = 64 * 1024;
/** Payloads from this size on are handed over as they are instead of copied. */
const OWN_CHUNK_BYTES = 8 * 1024;
/** Beyond this the other side does not read as fast as we write. */
const BACKLOG_BYTES = 512 * 1024;

export class Output {
  readonly #socket: Socket;
  #chunks: Uint8Array[] = [];
  #waiting = 0;
  /** Where `reserve` made room. */
  bytes: Buffer = Buffer.allocUnsafeSlow(0);
  /** What of it is not yet among the chunks begins at `from` and ends at `to`. */
  #from = 0;
  #to = 0;
  #isScheduled = false;
  readonly #flush: () => void;

  /** `written` is called after what had gathered was written. */
  constructor(socket: Socket, written: () => void) {
    this.#socket = socket;
    this.#flush = () => {
      this.flush();
      written();
    };
  }

  /** Whether what may wait should wait, until the socket has drained. */
  get isBacklogged(): boolean {
    return this.#waiting + this.#socket.writableLength > BACKLOG_BYTES;
  }

  /** Room for `size` bytes in `bytes` at the returned place; the caller fills them at once. */
  reserve(size: number): number {
    if (this.#to + size > this.bytes.length) {
      this.#cut();
      this.bytes = Buffer.allocUnsafeSlow(Math.max(ARENA_BYTES, size));
      this.#from = 0;
      this.#to = 0;
    }
    const at = this.#to;
    this.#to += size;
    this.#waiting += size;
    this.#schedule();
    return at;
  }

  /** Bytes that their owner leaves alone from now on. */
  write(bytes: Uint8Array): void {
    if (bytes.length < OWN_CHUNK_BYTES) {
      const at = this.reserve(bytes.length);
      this.bytes.set(bytes, at);
      return;
    }
    this.#cut();
    this.#chunks.push(bytes);
    this.#waiting += bytes.length;
    this.#schedule();
  }

  flush(): void {
    this.#isScheduled = false;
    this.#cut();
    const chunks = this.#chunks;
    const socket = this.#socket;
    this.#chunks = [];
    this.#waiting = 0;
    if (chunks.length === 0 || !socket.writable) return;
    if (chunks.length > 1) socket.cork();
    for (const chunk of chunks) socket.write(chunk);
    if (chunks.length > 1) socket.uncork();
    if (socket.writableLength === 0) {
      // The kernel has it all: the room can be used again.
      this.#from = 0;
      this.#to = 0;
    }
  }

  #cut(): void {
    if (this.#from === this.#to) return;
    this.#chunks.push(this.bytes.subarray(this.#from, this.#to));
    this.#from = this.#to;
  }

  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    // Behind the promises that are settled in this turn.
    process.nextTick(this.#flush);
  }
}
