/** One stream of a connection: what this side still has to say on it, and how much it may. */

import { CODE } from "#wire/http2/frames.ts";
import type { HeaderField } from "#wire/http2/hpack.ts";

/** Bytes that the other side may send on a stream before its reader has taken some. */
export const STREAM_WINDOW = 1024 * 1024;

/** What the other side says on a stream. */
export interface StreamEvents {
  /** The first header fields or the trailers. */
  headers(fields: readonly HeaderField[], isLast: boolean): void;
  /** To be copied by whoever keeps it. */
  data(bytes: Uint8Array, isLast: boolean): void;
  /** It ended before its time; with the code of RST_STREAM, or undefined if the connection is gone. */
  broken(code: number | undefined, reason: string): void;
  /** All that was waiting is on its way. */
  drained(): void;
}

/** What a stream asks of its connection. */
export interface StreamPort {
  /** How much of `wanted` may be sent as data now, bytes. */
  allowance(wanted: number): number;
  putHeaders(stream: number, block: Uint8Array, isLast: boolean): void;
  putData(stream: number, bytes: Uint8Array, isLast: boolean): void;
  putReset(stream: number, code: number): void;
  putCredit(stream: number, bytes: number): void;
  /** The stream has something to say and may not yet. */
  blocked(stream: Stream): void;
  /** Both sides are done. */
  over(stream: Stream): void;
}

type Pending =
  | { readonly kind: "data"; bytes: Uint8Array; readonly isLast: boolean }
  | { readonly kind: "headers"; readonly block: Uint8Array };

export class Stream {
  readonly id: number;
  readonly #port: StreamPort;
  /** Set by the connection, before anything happens on the stream. */
  events: StreamEvents | undefined;
  /** Bytes that this side may still send. */
  sendWindow: number;
  /** Bytes that the other side may still send. */
  receiveWindow = STREAM_WINDOW;
  #consumed = 0;
  #pending: Pending[] = [];
  #isLocalDone = false;
  #isRemoteDone = false;

  constructor(id: number, sendWindow: number, port: StreamPort) {
    this.id = id;
    this.sendWindow = sendWindow;
    this.#port = port;
  }

  get isOver(): boolean {
    return this.#isLocalDone && this.#isRemoteDone;
  }

  get isRemoteDone(): boolean {
    return this.#isRemoteDone;
  }

  /** Whether everything said so far is on its way. */
  get isDrained(): boolean {
    return this.#pending.length === 0;
  }

  /** Whether an answer with that much data can go out at once. */
  mayPut(bytes: number): boolean {
    return (
      !this.#isLocalDone &&
      this.#pending.length === 0 &&
      bytes <= this.sendWindow &&
      this.#port.allowance(bytes) === bytes
    );
  }

  sendHeaders(block: Uint8Array, isLast: boolean): void {
    if (this.#isLocalDone) return;
    if (this.#pending.length > 0) {
      this.#pending.push({ kind: "headers", block });
      return;
    }
    this.#port.putHeaders(this.id, block, isLast);
    if (isLast) this.localDone();
  }

  /** The bytes are left alone by the caller from now on. */
  sendData(bytes: Uint8Array, isLast: boolean): void {
    if (this.#isLocalDone) return;
    this.#pending.push({ kind: "data", bytes, isLast });
    if (this.#pending.length === 1) this.pump();
  }

  /** Ends this side, after what is waiting. */
  sendTrailers(block: Uint8Array): void {
    this.sendHeaders(block, true);
  }

  /** Sends what waits, as far as the windows allow; called by the connection when they grow. */
  pump(): void {
    for (let first = this.#pending[0]; first !== undefined; first = this.#pending[0]) {
      if (first.kind === "headers") {
        this.#port.putHeaders(this.id, first.block, true);
        this.#pending = [];
        this.localDone();
        break;
      }
      const wanted = first.bytes.length;
      const allowed = Math.min(this.sendWindow, this.#port.allowance(wanted));
      const size = Math.max(0, Math.min(wanted, allowed));
      if (size === 0 && wanted > 0) return this.#port.blocked(this);
      this.sendWindow -= size;
      const isWhole = size === wanted;
      this.#port.putData(this.id, first.bytes.subarray(0, size), isWhole && first.isLast);
      if (!isWhole) {
        first.bytes = first.bytes.subarray(size);
        return this.#port.blocked(this);
      }
      this.#pending.shift();
      if (first.isLast) this.localDone();
    }
    this.events?.drained();
  }

  /** The reader has taken that much: the other side may send more. */
  consumed(bytes: number): void {
    if (this.#isRemoteDone) return;
    this.#consumed += bytes;
    if (this.#consumed * 2 < STREAM_WINDOW) return;
    this.receiveWindow += this.#consumed;
    this.#port.putCredit(this.id, this.#consumed);
    this.#consumed = 0;
  }

  /** Ends both sides at once. */
  reset(code: number = CODE.CANCEL): void {
    if (this.isOver) return;
    this.#port.putReset(this.id, code);
    this.#end();
  }

  /** Part of the connection: this side has said everything. */
  localDone(): void {
    this.#isLocalDone = true;
    if (this.#isRemoteDone) this.#port.over(this);
  }

  /** Part of the connection: the other side has said everything. */
  remoteDone(): void {
    this.#isRemoteDone = true;
    if (this.#isLocalDone) this.#port.over(this);
  }

  /** Part of the connection: nothing more can be said or heard. */
  break(code: number | undefined, reason: string): void {
    if (this.isOver) return;
    this.#end();
    this.events?.broken(code, reason);
  }

  #end(): void {
    this.#pending = [];
    this.#isLocalDone = true;
    this.#isRemoteDone = true;
    this.#port.over(this);
  }
}
