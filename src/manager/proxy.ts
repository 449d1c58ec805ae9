/**
 * Any manager answers: calls that only the leader can serve are forwarded to it with the identity of
 * their origin, one hop and no more. What has surely not reached a leader is tried again while an
 * election goes on, for a bounded time; what may have been executed is not, its error goes back (reads
 * are tried again in any case).
 */

import type { DescMethod, DescService } from "@bufbuild/protobuf";
import { EngineError, isErrorCode } from "#base/error.ts";
import type { CallOptions } from "#platform/grpc/client.ts";
import type { PeerIdentity, RpcContext, RpcHandlers } from "#platform/grpc/server.ts";
import { UnsentError } from "#platform/grpc/status.ts";
import { authorizeAtLeader } from "./authz/authorize.ts";
import {
  type ClusterIdentity,
  forwardedMetadata,
  originOf,
  refusedAsManager,
} from "./authz/caller.ts";
import { RULES } from "./authz/rules.ts";
import { Election, type ElectionOptions } from "./election.ts";
import { refusedToForward } from "./second-hop.ts";
import { type LeaderInfo, NotMade } from "./state.ts";

export interface LeaderProxyOptions extends ElectionOptions {
  readonly cluster: ClusterIdentity;
  /** "host:port" under which the other managers know this one. */
  readonly selfAddress: () => string;
}

export interface LeaderProxy {
  /** The handlers, with those of the methods that the leader answers forwarded where needed. */
  wrap<S extends DescService>(service: S, handlers: RpcHandlers<S>): RpcHandlers<S>;
}

export function createLeaderProxy(options: LeaderProxyOptions): LeaderProxy {
  const election = new Election(options);
  return {
    wrap: (service, handlers) => {
      const wrapped: Record<string, unknown> = {};
      for (const method of service.methods) {
        const handler = (handlers as Record<string, AnyHandler>)[method.localName];
        if (handler === undefined) continue;
        const rule = RULES.get(pathOf(method));
        wrapped[method.localName] =
          rule?.answeredBy === "leader" ? forward(method, handler, options, election) : handler;
      }
      return wrapped as RpcHandlers<typeof service>;
    },
  };
}

type AnyHandler = (request: unknown, context: RpcContext) => unknown;
type AnyCall = (request: unknown, options: CallOptions) => unknown;

function forward(
  method: DescMethod,
  handler: AnyHandler,
  options: LeaderProxyOptions,
  election: Election,
): AnyHandler {
  const remote = (request: unknown, context: RpcContext, leader: LeaderInfo): unknown => {
    const origin = originOf(context, options.cluster);
    const metadata = forwardedMetadata(origin, options.self(), options.selfAddress());
    const client = options.channelTo(leader.addr).client(method.parent);
    const call = (client as Record<string, AnyCall>)[method.localName] as AnyCall;
    return call(request, { signal: context.signal, metadata });
  };
  const here = (request: unknown, context: RpcContext) => {
    const origin = originOf(context, options.cluster);
    authorizeAtLeader(context, origin, options.cluster);
    return handler(request, origin);
  };

  if (method.methodKind === "unary") {
    return async (request, context) => {
      const search = election.search(context);
      for (;;) {
        const leader = await search.leader();
        try {
          if (leader === "self") return await here(request, context);
          return await election.during(leader, context.signal, (signal) =>
            remote(request, { ...context, signal }, leader),
          );
        } catch (error) {
          if (!mayBeMadeAgain(method, error)) throw asCallersSee(error, options.self());
          await search.again(error, leader);
        }
      }
    };
  }
  if (method.methodKind === "client_streaming") {
    return async (requests, context) => {
      const leader = await election.search(context).leader();
      return leader === "self" ? here(requests, context) : remote(requests, context, leader);
    };
  }
  return async function* (request, context) {
    const search = election.search(context);
    for (let began = false; ; ) {
      const leader = await search.leader();
      if (leader === "self") return yield* here(request, context) as AsyncIterable<unknown>;
      try {
        for await (const item of remote(request, context, leader) as AsyncIterable<unknown>) {
          began = true;
          yield item;
        }
        return;
      } catch (error) {
        // What a bidirectional call has sent is gone with the refusal.
        const again = method.methodKind === "server_streaming" && !began;
        if (!again || !refusedToForward(error)) throw asCallersSee(error, options.self());
        await search.again(error, leader);
      }
    }
  };
}

/** A manager that has been demoted, and has not heard of it yet, is of no use; its callers are. */
function asCallersSee(error: unknown, { nodeId }: PeerIdentity): unknown {
  if (!refusedAsManager(error, nodeId)) return error;
  return new EngineError("unavailable", "this node manages the swarm no more: ask another manager");
}

/** Whether nobody has begun with the call, or it does not matter. */
function mayBeMadeAgain(method: DescMethod, error: unknown): boolean {
  if (refusedToForward(error) || error instanceof UnsentError || error instanceof NotMade) {
    return true;
  }
  return isRead(method) && isErrorCode(error, "unavailable");
}

/** Calls that may be made again although the first may have been executed, by their names. */
function isRead(method: DescMethod): boolean {
  return /^(Get|List)/.test(method.name);
}

function pathOf(method: DescMethod): string {
  return `/${method.parent.typeName}/${method.name}`;
}
