/** One call as the client sees it: requests out, answers and the status in. */

import { EngineError } from "#base/error.ts";
import { CODE } from "#wire/http2/frames.ts";
import type { HeaderField } from "#wire/http2/hpack.ts";
import { type Deferred, deferred } from "../async.ts";
import type { Connection } from "../http2/connection.ts";
import type { Stream, StreamEvents } from "../http2/stream.ts";
import { decodeText, field, isGrpc } from "./fields.ts";
import { Incoming } from "./messages.ts";
import { CallError, errorOfHttp, errorOfReset, errorOfStatus } from "./status.ts";

export interface ClientCallOptions<T> {
  readonly decode: (bytes: Uint8Array) => T;
  readonly signal?: AbortSignal | undefined;
  readonly timeoutMs?: number | undefined;
}

/** Begun as soon as there is a connection; from the start it can be cancelled and be late. */
export class ClientCall<T> implements StreamEvents {
  readonly #options: ClientCallOptions<T>;
  readonly #incoming: Incoming<T>;
  #stream: Stream | undefined;
  #timer: NodeJS.Timeout | undefined;
  #outcome: EngineError | "ok" | undefined;
  #status: HeaderField[] | undefined;
  #draining: Deferred<void> | undefined;
  readonly #ended = deferred();
  #wasRefused = false;

  constructor(options: ClientCallOptions<T>) {
    const { decode, signal, timeoutMs } = options;
    this.#options = options;
    this.#incoming = new Incoming(decode, (bytes) => this.#stream?.consumed(bytes));
    if (signal?.aborted) this.cancel();
    else signal?.addEventListener("abort", this.#onAbort, { once: true });
    if (timeoutMs === undefined) return;
    // Node's timers hold 31 bits.
    this.#timer = setTimeout(
      () => {
        this.#end(new CallError("deadline-exceeded", "deadline exceeded"));
      },
      Math.min(timeoutMs, 2 ** 31 - 1),
    );
  }

  get isOver(): boolean {
    return this.#outcome !== undefined;
  }

  /** Whether the server surely did not begin with it, so that it may be made again. */
  get wasRefused(): boolean {
    return this.#wasRefused;
  }

  /** Whether it was put on a connection. */
  get wasSent(): boolean {
    return this.#stream !== undefined;
  }

  /** The answers; throws when the call fails. */
  read(): AsyncGenerator<T> {
    return this.#incoming.read();
  }

  /** Resolves when the call is over, one way or the other. */
  get ended(): Promise<void> {
    return this.#ended.promise;
  }

  start(connection: Connection, block: Uint8Array): void {
    if (this.isOver) return;
    this.#stream = connection.open(block, false, this);
  }

  /** Sends a request with its prefix; resolves when it is on its way, or will never be. */
  async send(message: Uint8Array, isLast: boolean): Promise<void> {
    const stream = this.#stream;
    if (stream === undefined || this.isOver) return;
    stream.sendData(message, isLast);
    if (stream.isDrained || this.isOver) return;
    this.#draining = deferred();
    await this.#draining.promise;
  }

  /** No more requests. */
  endRequests(): void {
    if (!this.isOver) this.#stream?.sendData(NOTHING, true);
  }

  cancel(): void {
    this.#end(new CallError("cancelled", "call cancelled"));
  }

  /** The call cannot be made, or not go on. */
  fail(error: EngineError): void {
    this.#end(error);
  }

  headers(fields: readonly HeaderField[], isLast: boolean): void {
    if (this.#status === undefined) {
      const http = field(fields, ":status") ?? "";
      // 100 and such come before the answer proper.
      if (http.startsWith("1") && !isLast) return;
      this.#status = [];
      const isSpoken = http === "200" && isGrpc(field(fields, "content-type"));
      if (!isSpoken && field(fields, "grpc-status") === undefined) {
        return this.#end(errorOfHttp(http));
      }
    }
    if (isLast) this.#finish(fields);
  }

  data(bytes: Uint8Array, isLast: boolean): void {
    if (this.isOver) return;
    try {
      this.#incoming.push(bytes);
    } catch (error) {
      this.#end(EngineError.from(error, "internal"));
      return;
    }
    if (isLast) this.#end(new CallError("internal", "the server ended the call without a status"));
  }

  broken(code: number | undefined, reason: string): void {
    this.#wasRefused = code === CODE.REFUSED_STREAM && this.#status === undefined;
    this.#end(errorOfReset(code, reason));
  }

  drained(): void {
    this.#draining?.resolve();
    this.#draining = undefined;
  }

  readonly #onAbort = (): void => this.cancel();

  #finish(fields: readonly HeaderField[]): void {
    const status = Number(field(fields, "grpc-status") ?? "2");
    if (status === 0) this.#end("ok");
    else this.#end(errorOfStatus(status, decodeText(field(fields, "grpc-message") ?? "")));
  }

  #end(outcome: EngineError | "ok"): void {
    if (this.isOver) return;
    this.#outcome = outcome;
    clearTimeout(this.#timer);
    this.#options.signal?.removeEventListener("abort", this.#onAbort);
    this.#incoming.end(outcome === "ok" ? undefined : outcome);
    this.#stream?.reset();
    this.drained();
    this.#ended.resolve();
  }
}

const NOTHING = new Uint8Array(0);
