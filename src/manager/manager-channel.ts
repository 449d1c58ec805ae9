/**
 * Calls to the services of this process without a socket: what the Engine API and the node's own
 * agent use when the manager runs here. It takes and gives the same messages and errors as a remote
 * channel, so that callers do not know the difference. Local callers are trusted.
 */

import { create, type DescMethod, type DescService } from "@bufbuild/protobuf";
import { EngineError } from "#base/error.ts";
import type { CallOptions, RpcChannel, RpcClient } from "#platform/grpc/client.ts";
import type { PeerIdentity, RpcContext, RpcHandlers } from "#platform/grpc/server.ts";
import type { InFlight } from "#platform/in-flight.ts";

/** Why a call's signal is aborted after its end: one for all, as it says nothing of the call. */
const CALL_OVER = new EngineError("cancelled", "the call is over");

export interface ServiceDirectory {
  handlersOf<S extends DescService>(service: S): RpcHandlers<S> | undefined;
}

/** How the calls of a channel end: no new ones first, then those that are under way. */
export interface ChannelEnd {
  /** Why new calls are refused. */
  readonly draining: AbortSignal;
  /** Why those under way are ended. */
  readonly closed: AbortSignal;
  /** Calls with one answer that have none yet. */
  readonly unanswered: InFlight;
}

/** `self` is who the calls come from. */
export function createManagerChannel(
  services: ServiceDirectory,
  self: () => PeerIdentity,
  end: ChannelEnd,
): RpcChannel {
  const { closed } = end;
  return {
    client: <S extends DescService>(service: S) => {
      const handlers = services.handlersOf(service) as Record<string, AnyHandler> | undefined;
      const bound: Record<string, unknown> = {};
      for (const method of service.methods) {
        const handler = handlers?.[method.localName] ?? missing(method);
        bound[method.localName] = bind(method, handler, self, end);
      }
      return bound as RpcClient<S>;
    },
    ready: () =>
      closed.aborted ? Promise.reject(cancellation(closed)) : Promise.resolve(undefined),
    // The services belong to the manager, which ends them; others may share this channel.
    close: () => undefined,
  };
}

type AnyHandler = (request: unknown, context: RpcContext) => unknown;

function bind(
  method: DescMethod,
  handler: AnyHandler,
  self: () => PeerIdentity,
  { draining, closed, unanswered }: ChannelEnd,
) {
  const begin = (options: CallOptions | undefined) => {
    if (draining.aborted) throw cancellation(draining);
    const call = new AbortController();
    const signals = [closed];
    if (options?.signal !== undefined) signals.push(options.signal);
    const release = abortWith(call, signals, options?.timeoutMs);
    const context: RpcContext = {
      peer: self(),
      peerAddress: "unix",
      signal: call.signal,
      metadata: options?.metadata ?? {},
      path: `/${method.parent.typeName}/${method.name}`,
      local: true,
    };
    return { context, release };
  };
  // What the caller hands over becomes a message, as if it had been decoded.
  const decode = (request: unknown) => create(method.input, request as never);
  const input = (request: unknown) =>
    method.methodKind === "unary" || method.methodKind === "server_streaming"
      ? decode(request)
      : decodeEach(request as AsyncIterable<unknown>, decode);
  const output = (value: unknown) => create(method.output, value as never);

  if (method.methodKind === "unary" || method.methodKind === "client_streaming") {
    return async (request: unknown, options?: CallOptions) => {
      const { context, release } = begin(options);
      unanswered.begin();
      try {
        const answer = (async () => handler(input(request), context))();
        return output(await orAborted(answer, context.signal));
      } catch (error) {
        throw EngineError.from(error);
      } finally {
        release();
        unanswered.end();
      }
    };
  }
  return async function* (request: unknown, options?: CallOptions) {
    const { context, release } = begin(options);
    const answers = (handler(input(request), context) as AsyncIterable<unknown>)[
      Symbol.asyncIterator
    ]();
    try {
      for (;;) {
        const next = await orAborted(answers.next(), context.signal);
        if (next.done === true) return;
        yield output(next.value);
      }
    } catch (error) {
      throw EngineError.from(error);
    } finally {
      release();
      // A handler that waits for something else than its signal ends in its own time.
      void answers.return?.(undefined).catch(() => undefined);
    }
  };
}

async function* decodeEach(requests: AsyncIterable<unknown>, decode: (value: unknown) => unknown) {
  for await (const request of requests) yield decode(request);
}

/** Aborts `call` when one of the signals or the timeout does; the result undoes the listening. */
function abortWith(
  call: AbortController,
  signals: readonly AbortSignal[],
  timeoutMs: number | undefined,
): () => void {
  const timer =
    timeoutMs === undefined
      ? undefined
      : setTimeout(
          () => call.abort(new EngineError("deadline-exceeded", "Deadline exceeded")),
          timeoutMs,
        );
  const stops = signals.map((signal) => {
    const stop = () => call.abort(cancellation(signal));
    if (signal.aborted) stop();
    signal.addEventListener("abort", stop, { once: true });
    return () => signal.removeEventListener("abort", stop);
  });
  return () => {
    clearTimeout(timer);
    for (const stop of stops) stop();
    call.abort(CALL_OVER);
  };
}

function orAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const stop = () => reject(signal.reason as Error);
    if (signal.aborted) stop();
    signal.addEventListener("abort", stop, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", stop));
  });
}

function cancellation(signal: AbortSignal): EngineError {
  return signal.reason instanceof EngineError
    ? signal.reason
    : new EngineError("cancelled", "call cancelled");
}

function missing(method: DescMethod): AnyHandler {
  return () => {
    throw new EngineError("unimplemented", `unknown method ${method.name}`);
  };
}
