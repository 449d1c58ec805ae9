/** One call as the server sees it: its context, its requests as they arrive, its answers. */

import type { DescMessage } from "@bufbuild/protobuf";
import { create } from "@bufbuild/protobuf";
import { EngineError } from "#base/error.ts";
import { decodeMessage } from "#wire/decode.ts";
import { encodeOnto } from "#wire/encode.ts";
import { CODE } from "#wire/http2/frames.ts";
import { type HeaderField, writeHeaders } from "#wire/http2/hpack.ts";
import { type Deferred, deferred } from "../async.ts";
import type { Connection } from "../http2/connection.ts";
import type { Stream, StreamEvents } from "../http2/stream.ts";
import { encodeText, field, metadataOf, parseTimeout } from "./fields.ts";
import { encodeFramed, Incoming, MessageCutter, PREFIX_BYTES, putPrefix } from "./messages.ts";
import type { PeerIdentity, RpcContext } from "./server.ts";
import { statusOf } from "./status.ts";

const FIRST_FIELDS: readonly HeaderField[] = [
  [":status", "200"],
  ["content-type", "application/grpc"],
];
const HEAD = writeHeaders(FIRST_FIELDS);
const TAIL_OK = writeHeaders([["grpc-status", "0"]]);

export type AnyHandler = (request: never, context: RpcContext) => unknown;

export interface BoundMethod {
  readonly path: string;
  readonly input: DescMessage;
  readonly output: DescMessage;
  readonly handler: AnyHandler;
  readonly readsStream: boolean;
  readonly writesStream: boolean;
}

/** The connection that a call came on, as far as calls are concerned. */
export interface Caller {
  readonly connection: Connection;
  readonly local: boolean;
  readonly address: string;
  peer(): PeerIdentity | undefined;
  /** Largest request, bytes. */
  readonly messageMax: number;
  /** A handler of the method ended; calls that were cancelled count until then. */
  ended(method: BoundMethod): void;
}

export class ServerCall implements StreamEvents {
  readonly #stream: Stream;
  readonly #caller: Caller;
  readonly #method: BoundMethod;
  /** The requests, where there may be many. */
  readonly #incoming: Incoming<unknown> | undefined;
  /** The one request, where there is one. */
  readonly #one: MessageCutter;
  readonly #context: RpcContext;
  #abort: AbortController | undefined;
  /** Why nobody waits for the answer any more. */
  #cancelled: EngineError | undefined;
  #hasHead = false;
  #isFinished = false;
  #hasRun = false;
  #request: unknown;
  #requests = 0;
  #deadline: NodeJS.Timeout | undefined;
  #draining: Deferred<void> | undefined;

  constructor(stream: Stream, caller: Caller, method: BoundMethod, fields: readonly HeaderField[]) {
    this.#stream = stream;
    this.#caller = caller;
    this.#method = method;
    this.#one = new MessageCutter(caller.messageMax);
    if (method.readsStream) {
      this.#incoming = new Incoming(
        (bytes) => decodeMessage(method.input, bytes) as unknown,
        (bytes) => stream.consumed(bytes),
        caller.messageMax,
      );
    }
    this.#context = this.#contextOf(fields);
  }

  /** Lets the call in, or not; its requests may follow. */
  begin(fields: readonly HeaderField[], authorize: (context: RpcContext) => void): void {
    const timeout = field(fields, "grpc-timeout");
    const timeoutMs = timeout === undefined ? undefined : parseTimeout(timeout);
    if (timeoutMs !== undefined) {
      // Node's timers hold 31 bits.
      const late = () => this.#cancel(new EngineError("deadline-exceeded", "deadline exceeded"));
      this.#deadline = setTimeout(late, Math.min(timeoutMs, 2 ** 31 - 1));
      this.#deadline.unref();
    }
    try {
      authorize(this.#context);
    } catch (error) {
      this.#fail(error);
      return;
    }
    if (this.#incoming !== undefined) this.#run(this.#incoming.read());
  }

  headers(_fields: readonly HeaderField[], isLast: boolean): void {
    if (isLast) this.requestsEnded();
  }

  data(bytes: Uint8Array, isLast: boolean): void {
    if (this.#isFinished) return;
    try {
      if (this.#incoming !== undefined) this.#incoming.push(bytes);
      else this.#takeOne(bytes);
    } catch (error) {
      this.#fail(EngineError.from(error, "internal"));
      return;
    }
    if (isLast) this.requestsEnded();
  }

  /** The caller has sent all its requests. */
  requestsEnded(): void {
    if (this.#isFinished) return;
    if (this.#incoming !== undefined) this.#incoming.end();
    else if (this.#requests === 1) this.#run(this.#request);
    else this.#fail(new EngineError("unimplemented", "a call that takes one request has another"));
  }

  broken(): void {
    this.#cancel(new EngineError("cancelled", "the caller went away"));
  }

  drained(): void {
    this.#draining?.resolve();
    this.#draining = undefined;
    if (this.#isFinished) this.#stopRequests();
  }

  #takeOne(bytes: Uint8Array): void {
    this.#stream.consumed(bytes.length);
    this.#one.push(bytes, (message) => {
      this.#requests += 1;
      this.#request = decodeMessage(this.#method.input, message);
    });
  }

  #run(input: unknown): void {
    this.#hasRun = true;
    let output: unknown;
    try {
      output = this.#method.handler(input as never, this.#context);
    } catch (error) {
      this.#caller.ended(this.#method);
      this.#fail(error);
      return;
    }
    if (this.#method.writesStream) void this.#writeAll(output as AsyncIterable<unknown>);
    else if (output instanceof Promise) output.then(this.#answered, this.#refused);
    else this.#answered(output);
  }

  readonly #answered = (value: unknown): void => {
    this.#caller.ended(this.#method);
    if (this.#isFinished) return;
    try {
      this.#answer(value as object);
    } catch (error) {
      this.#fail(EngineError.from(error, "internal"));
    }
  };

  #answer(value: object): void {
    const { output } = this.#method;
    const { connection } = this.#caller;
    const isDone = encodeOnto(output, create(output, value as never), (size, write) =>
      connection.answer(
        this.#stream,
        HEAD,
        PREFIX_BYTES + size,
        (bytes, at) => {
          putPrefix(bytes, at, size);
          write(bytes, at + PREFIX_BYTES);
        },
        TAIL_OK,
      ),
    );
    if (isDone) {
      this.#finish();
      this.#stopRequests();
      return;
    }
    const message = encodeFramed(output, value);
    this.#stream.sendHeaders(HEAD, false);
    this.#stream.sendData(message, false);
    // Not before: what has gone out at once would be taken for the whole answer.
    this.#finish();
    this.#end(TAIL_OK);
  }

  readonly #refused = (error: unknown): void => {
    this.#caller.ended(this.#method);
    this.#fail(error);
  };

  async #writeAll(output: AsyncIterable<unknown>): Promise<void> {
    try {
      for await (const value of output) {
        if (this.#cancelled !== undefined) return;
        this.#sendHead();
        this.#stream.sendData(encodeFramed(this.#method.output, value as object), false);
        if (!this.#stream.isDrained) {
          this.#draining = deferred();
          await this.#draining.promise;
        }
      }
      if (this.#isFinished) return;
      this.#sendHead();
      this.#finish();
      this.#end(TAIL_OK);
    } catch (error) {
      this.#fail(error);
    } finally {
      this.#caller.ended(this.#method);
    }
  }

  #sendHead(): void {
    if (this.#hasHead) return;
    this.#hasHead = true;
    this.#stream.sendHeaders(HEAD, false);
  }

  #fail(thrown: unknown): void {
    if (this.#isFinished) return;
    this.#finish();
    if (!this.#hasRun) this.#caller.ended(this.#method);
    const error = EngineError.from(thrown);
    const status: readonly HeaderField[] = [
      ["grpc-status", String(statusOf(error.code))],
      ["grpc-message", encodeText(error.message)],
    ];
    this.#end(writeHeaders(this.#hasHead ? status : [...FIRST_FIELDS, ...status]));
  }

  #end(trailers: Uint8Array): void {
    this.#stream.sendTrailers(trailers);
    if (this.#stream.isDrained) this.#stopRequests();
  }

  /** The answer is complete: whoever still sends requests need not go on. */
  #stopRequests(): void {
    if (!this.#stream.isOver) this.#stream.reset(CODE.NO_ERROR);
  }

  #finish(): void {
    this.#isFinished = true;
    clearTimeout(this.#deadline);
    this.#incoming?.end(new EngineError("cancelled", "the call is over"));
  }

  #cancel(reason: EngineError): void {
    if (this.#isFinished) return;
    this.#cancelled = reason;
    this.#incoming?.end(reason);
    this.#fail(reason);
    this.#abort?.abort(reason);
    this.#draining?.resolve();
    this.#draining = undefined;
  }

  /**
   * What a call's context costs to find out is found out when it is asked for. The getters are the
   * object's own, so that a copy by spreading has everything.
   */
  #contextOf(fields: readonly HeaderField[]): RpcContext {
    const caller = this.#caller;
    const signal = () => this.#signal();
    let metadata: Readonly<Record<string, string>> | undefined;
    return {
      path: this.#method.path,
      local: caller.local,
      peerAddress: caller.address,
      get peer() {
        return caller.peer();
      },
      get signal() {
        return signal();
      },
      get metadata() {
        metadata ??= metadataOf(fields);
        return metadata;
      },
    };
  }

  #signal(): AbortSignal {
    if (this.#abort === undefined) {
      this.#abort = new AbortController();
      if (this.#cancelled !== undefined) this.#abort.abort(this.#cancelled);
    }
    return this.#abort.signal;
  }
}
