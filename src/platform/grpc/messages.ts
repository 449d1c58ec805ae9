/** Messages on a stream of gRPC: a byte that tells compression, the length as u32, the bytes. */

import { create, type DescMessage } from "@bufbuild/protobuf";
import { EngineError } from "#base/error.ts";
import { GRPC_MESSAGE_MAX_BYTES } from "#base/limits.ts";
import { encodeOnto } from "#wire/encode.ts";
import { type Deferred, deferred } from "../async.ts";

export const PREFIX_BYTES = 5;

/** Writes what comes before a message of that size. */
export function putPrefix(bytes: Uint8Array, at: number, size: number): void {
  bytes[at] = 0;
  bytes[at + 1] = size >>> 24;
  bytes[at + 2] = size >>> 16;
  bytes[at + 3] = size >>> 8;
  bytes[at + 4] = size;
}

/** The message with its prefix. */
export function framed(message: Uint8Array): Uint8Array {
  const bytes = Buffer.allocUnsafe(PREFIX_BYTES + message.length);
  putPrefix(bytes, 0, message.length);
  bytes.set(message, PREFIX_BYTES);
  return bytes;
}

/** A message of the schema, encoded, with its prefix. */
export function encodeFramed(schema: DescMessage, value: object): Uint8Array {
  return encodeOnto(schema, create(schema, value as never), (size, write) => {
    const bytes = Buffer.allocUnsafe(PREFIX_BYTES + size);
    putPrefix(bytes, 0, size);
    write(bytes, PREFIX_BYTES);
    return bytes;
  });
}

/** Cuts what arrives into messages. */
export class MessageCutter {
  readonly #max: number;
  #pieces: Uint8Array[] = [];
  #bytes = 0;
  /** Size of the message that is arriving, its prefix included; 0 while that is not known. */
  #wanted = 0;

  /** Messages larger than `max` are refused, bytes. */
  constructor(max: number) {
    this.#max = max;
  }

  /** Whether nothing is left over. */
  get isClean(): boolean {
    return this.#bytes === 0;
  }

  /** Hands each message that is complete to `take`, which copies what it keeps. Throws for bad ones. */
  push(bytes: Uint8Array, take: (message: Uint8Array) => void): void {
    let rest = bytes;
    if (this.#bytes > 0) {
      this.#pieces.push(Uint8Array.from(bytes));
      this.#bytes += bytes.length;
      if (this.#bytes < Math.max(this.#wanted, PREFIX_BYTES)) return;
      rest = Buffer.concat(this.#pieces);
      this.#pieces = [];
      this.#bytes = 0;
    }
    while (rest.length >= PREFIX_BYTES) {
      const size = PREFIX_BYTES + this.#length(rest);
      if (rest.length < size) break;
      take(rest.subarray(PREFIX_BYTES, size));
      rest = rest.subarray(size);
    }
    this.#wanted = rest.length < PREFIX_BYTES ? 0 : PREFIX_BYTES + this.#length(rest);
    if (rest.length === 0) return;
    this.#pieces.push(Uint8Array.from(rest));
    this.#bytes = rest.length;
  }

  #length(bytes: Uint8Array): number {
    if (bytes[0] !== 0) {
      throw new EngineError("unimplemented", "a compressed message, which is not understood");
    }
    const [, a = 0, b = 0, c = 0, d = 0] = bytes;
    const length = ((a * 256 + b) * 256 + c) * 256 + d;
    if (length > this.#max) {
      const message = `a message of ${length} bytes is larger than ${this.#max}`;
      throw new EngineError("resource-exhausted", message);
    }
    return length;
  }
}

/**
 * The messages that arrive on a stream, for one reader. While some wait for him the other side gets
 * no credit, so that no more than a window waits.
 */
export class Incoming<T> {
  readonly #decode: (bytes: Uint8Array) => T;
  readonly #credit: (bytes: number) => void;
  readonly #cutter: MessageCutter;
  #ready: T[] = [];
  #uncredited = 0;
  #waiting: Deferred<void> | undefined;
  #isEnded = false;
  #error: EngineError | undefined;

  constructor(
    decode: (bytes: Uint8Array) => T,
    credit: (bytes: number) => void,
    max: number = GRPC_MESSAGE_MAX_BYTES,
  ) {
    this.#decode = decode;
    this.#credit = credit;
    this.#cutter = new MessageCutter(max);
  }

  /** Throws for what is no message. */
  push(bytes: Uint8Array): void {
    if (this.#isEnded) return;
    this.#uncredited += bytes.length;
    this.#cutter.push(bytes, (message) => this.#ready.push(this.#decode(message)));
    if (this.#ready.length === 0) this.#giveCredit();
    this.#wake();
  }

  /** No more messages. What is there is still read, then the error, if there is one. */
  end(error?: EngineError): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    const isCut = error === undefined && !this.#cutter.isClean;
    this.#error = isCut ? new EngineError("internal", "a message is cut off") : error;
    this.#wake();
  }

  async *read(): AsyncGenerator<T> {
    for (;;) {
      const batch = this.#ready;
      if (batch.length > 0) {
        this.#ready = [];
        yield* batch;
        if (this.#ready.length === 0) this.#giveCredit();
      } else if (this.#isEnded) {
        if (this.#error !== undefined) throw this.#error;
        return;
      } else {
        this.#waiting = deferred();
        await this.#waiting.promise;
      }
    }
  }

  #giveCredit(): void {
    const bytes = this.#uncredited;
    this.#uncredited = 0;
    if (bytes > 0) this.#credit(bytes);
  }

  #wake(): void {
    this.#waiting?.resolve();
    this.#waiting = undefined;
  }
}
