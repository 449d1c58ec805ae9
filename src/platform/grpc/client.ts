/**
 * A typed gRPC client over grpc-js: promises and async iterables instead of callbacks and event
 * emitters, protobuf-es messages on both sides. One `RpcChannel` is one HTTP/2 connection pool and
 * may serve any number of services. Errors are `EngineError`s with the peer's code and message.
 */

import type {
  DescMessage,
  DescMethod,
  DescService,
  MessageInitShape,
  MessageShape,
} from "@bufbuild/protobuf";
import { create } from "@bufbuild/protobuf";
import type { GenService, GenServiceMethods } from "@bufbuild/protobuf/codegenv2";
import {
  type ChannelCredentials,
  Client,
  type ClientOptions,
  credentials,
  Metadata,
} from "@grpc/grpc-js";
import { EngineError } from "#base/error.ts";
import { invariant } from "#base/invariant.ts";
import { GRPC_MESSAGE_MAX_BYTES } from "#base/limits.ts";
import { decodeMessage } from "#wire/decode.ts";
import { encodeMessage } from "#wire/encode.ts";
import { asBuffer } from "./as-buffer.ts";
import { fromServiceError } from "./status.ts";

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
  close(): void;
}

export interface ChannelOptions {
  /** "unix:///path" or "host:port". */
  readonly target: string;
  /** Plain text when absent (unix sockets only). */
  readonly credentials?: ChannelCredentials | undefined;
  /** The name to verify in the server's certificate instead of the address. */
  readonly serverName?: string | undefined;
  /** Sent with every call. */
  readonly metadata?: Readonly<Record<string, string>> | undefined;
}

export function openChannel(options: ChannelOptions): RpcChannel {
  const settings: ClientOptions = {
    "grpc.max_receive_message_length": GRPC_MESSAGE_MAX_BYTES,
    "grpc.max_send_message_length": GRPC_MESSAGE_MAX_BYTES,
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.min_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 2_000,
    "grpc.use_local_subchannel_pool": 1,
    ...(options.serverName === undefined
      ? {}
      : {
          "grpc.ssl_target_name_override": options.serverName,
          "grpc.default_authority": options.serverName,
        }),
  };
  const client = new Client(
    options.target,
    options.credentials ?? credentials.createInsecure(),
    settings,
  );
  return {
    client: (service) => bindService(client, service, options.metadata ?? {}),
    ready: (timeoutMs) =>
      new Promise((resolve, reject) => {
        client.waitForReady(Date.now() + timeoutMs, (error) => {
          if (error === undefined) resolve();
          else reject(new EngineError("unavailable", `no connection to ${options.target}`));
        });
      }),
    close: () => client.close(),
  };
}

function bindService<S extends DescService>(
  client: Client,
  service: S,
  common: Readonly<Record<string, string>>,
): RpcClient<S> {
  const bound: Record<string, unknown> = {};
  for (const method of service.methods)
    bound[method.localName] = bindMethod(client, method, common);
  return bound as RpcClient<S>;
}

function bindMethod(client: Client, method: DescMethod, common: Readonly<Record<string, string>>) {
  const path = `/${method.parent.typeName}/${method.name}`;
  const encode = (value: unknown) =>
    asBuffer(encodeMessage(method.input, create(method.input, value as never)));
  const decode = (bytes: Buffer) => decodeMessage(method.output, bytes) as unknown;
  const start = (options: CallOptions | undefined) => ({
    metadata: metadataOf({ ...common, ...options?.metadata }),
    settings: options?.timeoutMs === undefined ? {} : { deadline: Date.now() + options.timeoutMs },
  });
  switch (method.methodKind) {
    case "unary":
      return (request: unknown, options?: CallOptions) =>
        new Promise<unknown>((resolve, reject) => {
          if (options?.signal?.aborted) return reject(cancelled());
          const { metadata, settings } = start(options);
          const call = client.makeUnaryRequest(
            path,
            encode,
            decode,
            request,
            metadata,
            settings,
            (error, value) => {
              release();
              if (error) reject(fromServiceError(error));
              else resolve(value);
            },
          );
          const release = cancelOn(options?.signal, call);
        });
    case "server_streaming":
      return (request: unknown, options?: CallOptions) => {
        const { metadata, settings } = start(options);
        const call = client.makeServerStreamRequest(
          path,
          encode,
          decode,
          request,
          metadata,
          settings,
        );
        return readAll(call, cancelOn(options?.signal, call));
      };
    case "client_streaming":
      return (requests: AsyncIterable<unknown>, options?: CallOptions) =>
        new Promise<unknown>((resolve, reject) => {
          const { metadata, settings } = start(options);
          const call = client.makeClientStreamRequest(
            path,
            encode,
            decode,
            metadata,
            settings,
            (error, value) => {
              release();
              if (error) reject(fromServiceError(error));
              else resolve(value);
            },
          );
          const release = cancelOn(options?.signal, call);
          void pump(requests, call);
        });
    case "bidi_streaming":
      return (requests: AsyncIterable<unknown>, options?: CallOptions) => {
        const { metadata, settings } = start(options);
        const call = client.makeBidiStreamRequest(path, encode, decode, metadata, settings);
        const release = cancelOn(options?.signal, call);
        void pump(requests, call);
        return readAll(call, release);
      };
  }
}

interface Cancellable {
  cancel(): void;
}

function cancelOn(signal: AbortSignal | undefined, call: Cancellable): () => void {
  if (signal === undefined) return () => undefined;
  const cancel = () => call.cancel();
  if (signal.aborted) cancel();
  signal.addEventListener("abort", cancel, { once: true });
  return () => signal.removeEventListener("abort", cancel);
}

function cancelled(): EngineError {
  return new EngineError("cancelled", "call cancelled");
}

async function* readAll(
  call: AsyncIterable<unknown> & Cancellable & { on(event: "error", fn: () => void): unknown },
  release: () => void,
): AsyncGenerator {
  // A consumer that stops early destroys the stream; the late error must not become an uncaught one.
  call.on("error", () => undefined);
  try {
    yield* call;
  } catch (error) {
    throw fromServiceError(error);
  } finally {
    release();
    call.cancel();
  }
}

interface RequestSink extends Cancellable {
  write(value: unknown, done: (error?: Error | null) => void): unknown;
  end(): unknown;
}

async function pump(requests: AsyncIterable<unknown>, call: RequestSink): Promise<void> {
  try {
    for await (const request of requests) {
      await new Promise<void>((resolve) => call.write(request, () => resolve()));
    }
    call.end();
  } catch {
    call.cancel();
  }
}

function metadataOf(fields: Readonly<Record<string, string>>): Metadata {
  const metadata = new Metadata();
  for (const [key, value] of Object.entries(fields)) metadata.set(key, value);
  invariant(Object.keys(fields).length < 32, "too many metadata fields");
  return metadata;
}
