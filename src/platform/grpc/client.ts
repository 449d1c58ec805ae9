/**
 * A typed gRPC client over our own HTTP/2: promises and async iterables, protobuf-es messages on
 * both sides. One `RpcChannel` is one connection and may serve any number of services. Errors are
 * `EngineError`s with the peer's code and message.
 */

import type {
  DescMessage,
  DescMethod,
  DescService,
  MessageInitShape,
  MessageShape,
} from "@bufbuild/protobuf";
import type { GenService, GenServiceMethods } from "@bufbuild/protobuf/codegenv2";
import { EngineError, isErrorCode, messageOf } from "#base/error.ts";
import { decodeMessage } from "#wire/decode.ts";
import { type HeaderField, writeHeaders } from "#wire/http2/hpack.ts";
import { ClientCall } from "./client-call.ts";
import { formatTimeout, metadataFields } from "./fields.ts";
import { encodeFramed } from "./messages.ts";
import { UnsentError } from "./status.ts";
import { Transport, type TransportOptions } from "./transport.ts";

/** Times that a call is begun that the server has not touched. */
const ATTEMPTS_MAX = 3;

export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
  /** Gives up with `deadline-exceeded` after this long, milliseconds. */
  readonly timeoutMs?: number | undefined;
  readonly metadata?: Readonly<Record<string, string>> | undefined;
}

type Input<M> = M extends { input: infer I extends DescMessage } ? I : never;
type Output<M> = M extends { output: infer O extends DescMessage } ? O : never;

type ClientMethod<M> = M extends { methodKind: "unary" }
  ? (request: MessageInitShape<Input<M>>, options?: CallOptions) => Promise<MessageShape<Output<M>>>
  : M extends { methodKind: "server_streaming" }
    ? (
        request: MessageInitShape<Input<M>>,
        options?: CallOptions,
      ) => AsyncIterable<MessageShape<Output<M>>>
    : M extends { methodKind: "client_streaming" }
      ? (
          requests: AsyncIterable<MessageInitShape<Input<M>>>,
          options?: CallOptions,
        ) => Promise<MessageShape<Output<M>>>
      : (
          requests: AsyncIterable<MessageInitShape<Input<M>>>,
          options?: CallOptions,
        ) => AsyncIterable<MessageShape<Output<M>>>;

/** The client's view of a service: one function per method. */
export type RpcClient<S> =
  S extends GenService<infer Methods extends GenServiceMethods>
    ? { readonly [K in keyof Methods]: ClientMethod<Methods[K]> }
    : never;

export interface RpcChannel {
  /** A client for one service, sharing this channel's connection. */
  client<S extends DescService>(service: S): RpcClient<S>;
  /**
   * Resolves once the connection stands; rejects with `unavailable` after `timeoutMs`. A call made
   * before this resolved may fail without having been sent, one made after it may have been.
   */
  ready(timeoutMs: number): Promise<void>;
  /** Ends the connection; calls under way fail. */
  close(): void;
}

export interface ChannelOptions extends TransportOptions {
  /** Sent with every call. */
  readonly metadata?: Readonly<Record<string, string>> | undefined;
}

export function openChannel(options: ChannelOptions): RpcChannel {
  const transport = new Transport(options);
  return {
    client: (service) => {
      const bound: Record<string, unknown> = {};
      for (const method of service.methods) {
        bound[method.localName] = bindMethod(new Caller(transport, method, options));
      }
      return bound as RpcClient<typeof service>;
    },
    ready: (timeoutMs) => transport.ready(timeoutMs),
    close: () => transport.close(),
  };
}

/** Makes the calls of one method. */
class Caller {
  readonly method: DescMethod;
  readonly #transport: Transport;
  /** The header fields that are the same for every call. */
  readonly #common: Uint8Array;

  constructor(transport: Transport, method: DescMethod, options: ChannelOptions) {
    const { target, tls, serverName, metadata = {} } = options;
    const authority = target.startsWith("unix://") ? "localhost" : target;
    this.#transport = transport;
    this.method = method;
    this.#common = writeHeaders([
      [":method", "POST"],
      [":scheme", tls === undefined ? "http" : "https"],
      [":path", `/${method.parent.typeName}/${method.name}`],
      [":authority", serverName ?? authority],
      ["te", "trailers"],
      ["content-type", "application/grpc"],
      ["user-agent", "skep"],
      ...metadataFields(metadata),
    ]);
  }

  encode(value: unknown): Uint8Array {
    return encodeFramed(this.method.input, value as object);
  }

  begin(options: CallOptions): ClientCall<unknown> {
    const { output } = this.method;
    const { signal, timeoutMs } = options;
    return new ClientCall({
      decode: (bytes) => decodeMessage(output, bytes) as unknown,
      signal,
      timeoutMs,
    });
  }

  /** Puts the call on the connection, now or as soon as there is one; never rejects. */
  async start(call: ClientCall<unknown>, options: CallOptions): Promise<void> {
    const block = this.#block(options);
    const ready = this.#transport.current;
    if (ready !== undefined) return call.start(ready, block);
    try {
      while (!call.isOver) {
        const connection = await Promise.race([this.#transport.acquire(), call.ended]);
        // Others may have been quicker.
        if (connection?.hasRoom === true) return call.start(connection, block);
      }
    } catch (error) {
      call.fail(EngineError.from(error));
    }
  }

  async #one(call: ClientCall<unknown>): Promise<unknown> {
    let answer: unknown;
    let count = 0;
    for await (const message of call.read()) {
      answer = message;
      count += 1;
    }
    if (count !== 1) throw new EngineError("internal", `${count} answers instead of one`);
    return answer;
  }

  async unary(request: unknown, options: CallOptions): Promise<unknown> {
    const bytes = this.encode(request);
    for (let attempt = 1; ; attempt++) {
      const call = this.begin(options);
      void this.start(call, options).then(() => call.send(bytes, true));
      try {
        return await this.#one(call);
      } catch (error) {
        if (call.wasRefused && attempt < ATTEMPTS_MAX) continue;
        throw call.wasRefused || !call.wasSent ? unsent(error) : error;
      }
    }
  }

  async clientStream(requests: AsyncIterable<unknown>, options: CallOptions): Promise<unknown> {
    const call = this.begin(options);
    void this.#pump(requests, call, options);
    return await this.#one(call);
  }

  serverStream(
    requests: AsyncIterable<unknown> | Iterable<unknown>,
    options: CallOptions,
  ): AsyncGenerator {
    const call = this.begin(options);
    void this.#pump(requests, call, options);
    return readAll(call);
  }

  async #pump(
    requests: AsyncIterable<unknown> | Iterable<unknown>,
    call: ClientCall<unknown>,
    options: CallOptions,
  ): Promise<void> {
    await this.start(call, options);
    try {
      for await (const request of requests) {
        await call.send(this.encode(request), false);
        if (call.isOver) return;
      }
      call.endRequests();
    } catch {
      call.cancel();
    }
  }

  #block({ timeoutMs, metadata }: CallOptions): Uint8Array {
    if (timeoutMs === undefined && metadata === undefined) return this.#common;
    const fields: HeaderField[] = metadataFields(metadata ?? {});
    if (timeoutMs !== undefined) fields.push(["grpc-timeout", formatTimeout(timeoutMs)]);
    return Buffer.concat([this.#common, writeHeaders(fields)]);
  }
}

/** That nobody began with it says only a failure of the way, not one of the caller's patience. */
function unsent(error: unknown): unknown {
  if (!isErrorCode(error, "unavailable")) return error;
  return new UnsentError("unavailable", messageOf(error));
}

async function* readAll(call: ClientCall<unknown>): AsyncGenerator {
  try {
    yield* call.read();
  } finally {
    call.cancel();
  }
}

function bindMethod(caller: Caller) {
  switch (caller.method.methodKind) {
    case "unary":
      return (request: unknown, options: CallOptions = {}) => caller.unary(request, options);
    case "server_streaming":
      return (request: unknown, options: CallOptions = {}) =>
        caller.serverStream([request], options);
    case "client_streaming":
      return (requests: AsyncIterable<unknown>, options: CallOptions = {}) =>
        caller.clientStream(requests, options);
    case "bidi_streaming":
      return (requests: AsyncIterable<unknown>, options: CallOptions = {}) =>
        caller.serverStream(requests, options);
  }
}
