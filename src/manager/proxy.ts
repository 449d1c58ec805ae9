/**
 * Any manager answers: calls that only the leader can serve are forwarded to it with the identity of
 * their origin, one hop and no more. What has surely not reached a leader is tried again while an
 * election goes on, for a bounded time; what may have been executed is not, its error goes back (reads
 * are tried again in any case).
 */

import type { DescMethod, DescService } from "@bufbuild/protobuf";
import { EngineError, isErrorCode } from "#base/error.ts";
import type { Clock, Timer } from "#base/ports.ts";
import { sleep } from "#platform/async.ts";
import type { CallOptions, RpcChannel } from "#platform/grpc/client.ts";
import type { PeerIdentity, RpcContext, RpcHandlers } from "#platform/grpc/server.ts";
import { UnsentError } from "#platform/grpc/status.ts";
import { authorizeAtLeader } from "./authz/authorize.ts";
import {
  type ClusterIdentity,
  forwardedMetadata,
  originOf,
  refusedAsManager,
  wasRedirected,
} from "./authz/caller.ts";
import { RULES } from "./authz/rules.ts";
import { type ClusterState, type LeaderInfo, NotMade } from "./state.ts";

/** How long a call waits for a leader to be elected. */
const ELECTION_WAIT_MS = 5_000;
const ELECTION_POLL_MS = 50;
/** A leader that is replaced, and not dead, learns within this time what became of its last changes. */
const LAST_ANSWERS_MS = 500;
/** How long to try to reach one leader before looking whether there is another. */
const CONNECT_WAIT_MS = 100;

const NO_LEADER =
  "The swarm does not have a leader. It's possible that too few managers are online. " +
  "Make sure more than half of the managers are online.";
/** How SwarmKit's managers, too, say that they do not lead and would have to forward a second time. */
const SECOND_HOP = "more than one redirect to leader from: ";

export interface LeaderProxyOptions {
  readonly state: Pick<ClusterState, "isLeader" | "leader">;
  readonly cluster: ClusterIdentity;
  readonly self: () => PeerIdentity;
  /** "host:port" under which the other managers know this one. */
  readonly selfAddress: () => string;
  /** A shared connection to a manager; not closed by the proxy. */
  readonly channelTo: (address: string) => RpcChannel;
  readonly clock: Clock;
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
    const { clock } = options;
    return async (request, context) => {
      const end = clock.monotonicMs() + ELECTION_WAIT_MS;
      for (;;) {
        const leader = await election.leaderFor(context);
        try {
          if (leader === "self") return await here(request, context);
          return await election.during(leader, context.signal, (signal) =>
            remote(request, { ...context, signal }, leader),
          );
        } catch (error) {
          if (!mayBeMadeAgain(method, error) || clock.monotonicMs() >= end) {
            throw asCallersSee(error, options.self());
          }
          await sleep(clock, ELECTION_POLL_MS, context.signal);
        }
      }
    };
  }
  if (method.methodKind === "client_streaming") {
    return async (requests, context) => {
      const leader = await election.leaderFor(context);
      return leader === "self" ? here(requests, context) : remote(requests, context, leader);
    };
  }
  return async function* (request, context) {
    for (let began = false; ; ) {
      const leader = await election.leaderFor(context);
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
        await election.anotherThan(leader, error, context.signal);
      }
    }
  };
}

const REPLACED =
  "the leader was replaced while it worked on the request: whether it was carried out is not known";

/** Finds a leader that can be reached, with patience while there is hope for one. */
class Election {
  readonly #options: LeaderProxyOptions;
  /** Set when a whole wait ended without a leader: the next calls do not wait again. */
  #hopeless = false;

  constructor(options: LeaderProxyOptions) {
    this.#options = options;
  }

  async leaderFor(context: RpcContext): Promise<LeaderInfo | "self"> {
    const { state, clock, channelTo } = this.#options;
    const deadline = clock.monotonicMs() + ELECTION_WAIT_MS;
    for (;;) {
      if (state.isLeader()) {
        this.#hopeless = false;
        return "self";
      }
      if (wasRedirected(context)) {
        throw new EngineError(
          "resource-exhausted",
          `${SECOND_HOP}[${context.metadata["redirect"] ?? ""}]`,
        );
      }
      const leader = state.leader();
      if (leader !== undefined) {
        this.#hopeless = false;
        if (await reachable(channelTo(leader.addr))) return leader;
      }
      if (this.#hopeless || clock.monotonicMs() >= deadline) {
        if (leader === undefined) this.#hopeless = true;
        throw new EngineError("unknown", NO_LEADER);
      }
      await sleep(clock, ELECTION_POLL_MS, context.signal);
    }
  }

  /**
   * Runs a forwarded call for as long as its leader leads. A host without power answers nothing, and
   * says nothing of it either: the connection would be waited on long after another leads.
   */
  async during<T>(
    leader: LeaderInfo,
    caller: AbortSignal,
    call: (signal: AbortSignal) => T | Promise<T>,
  ): Promise<T> {
    const { state, clock } = this.#options;
    const over = new AbortController();
    const signal = AbortSignal.any([caller, over.signal]);
    let timer: Timer | undefined;
    const look = () => {
      const now = state.isLeader() ? undefined : state.leader();
      const replaced = state.isLeader() || (now !== undefined && now.nodeId !== leader.nodeId);
      timer = replaced
        ? clock.setTimer(LAST_ANSWERS_MS, () =>
            over.abort(new EngineError("unavailable", REPLACED)),
          )
        : clock.setTimer(ELECTION_POLL_MS, look);
    };
    timer = clock.setTimer(ELECTION_POLL_MS, look);
    try {
      return await call(signal);
    } catch (error) {
      throw over.signal.aborted ? over.signal.reason : error;
    } finally {
      timer.cancel();
    }
  }

  /** Resolves when `leader` is no longer the one; throws `error` when that takes too long. */
  async anotherThan(leader: LeaderInfo, error: unknown, signal: AbortSignal): Promise<void> {
    const { state, clock } = this.#options;
    const deadline = clock.monotonicMs() + ELECTION_WAIT_MS;
    while (!state.isLeader()) {
      const now = state.leader();
      if (now !== undefined && now.nodeId !== leader.nodeId) return;
      if (clock.monotonicMs() >= deadline) throw error;
      await sleep(clock, ELECTION_POLL_MS, signal);
    }
  }
}

async function reachable(channel: RpcChannel): Promise<boolean> {
  try {
    await channel.ready(CONNECT_WAIT_MS);
    return true;
  } catch {
    return false;
  }
}

/** Text is all that SwarmKit's refusal has; the call was not executed. */
function refusedToForward(error: unknown): boolean {
  return (
    isErrorCode(error, "resource-exhausted") && (error as Error).message.startsWith(SECOND_HOP)
  );
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
