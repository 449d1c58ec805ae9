/**
 * The Dispatcher service: where agents of all nodes register, prove that they live, learn what to
 * run and say how it goes. Only the leader answers; calls that reach it before or after its reign
 * are `aborted` ("dispatcher is stopped"), and agents look for the leader again.
 *
 * Who calls is taken from the certificate of the connection (or what a manager that forwards says
 * of it), never from the request. A call over the local socket is this manager's own agent.
 */

import { create } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { EngineError } from "#base/error.ts";
import { sleep } from "#platform/async.ts";
import type { RpcContext, RpcHandlers } from "#platform/grpc/server.ts";
import type { ReadView } from "#store/types.ts";
import {
  type AssignmentsMessage,
  AssignmentsMessageSchema,
  type AssignmentsRequest,
  AssignmentsMessage_Type as AssignmentsType,
  type Dispatcher,
  type SessionMessage,
  type SessionRequest,
  type UpdateTaskStatusRequest,
  type UpdateVolumeStatusRequest,
} from "#wire/gen/swarmkit/dispatcher_pb.js";
import { callingNode } from "../authz/caller.ts";
import type { NodeSession } from "./node-sessions.ts";
import { Reign, type ReignOptions } from "./reign.ts";
import { type ManagerPeer, managersOf, sessionMessage, tellsTheSame } from "./session-message.ts";

export type DispatcherOptions = Omit<ReignOptions, "managers" | "isSilent" | "orphanAfterMs"> & {
  readonly managers?: (view: ReadView) => readonly ManagerPeer[];
  readonly isSilent?: (nodeId: string) => boolean;
  readonly orphanAfterMs?: number;
};

export interface DispatcherServer {
  readonly handlers: RpcHandlers<typeof Dispatcher>;
  /** Serves until the signal is aborted; to be handed to `ClusterState.onLeadership`. */
  lead(signal: AbortSignal): Promise<void>;
  /** The open session of a node, for services that work under it; throws as the Dispatcher does. */
  session(nodeId: string, sessionId: string): NodeSession;
  /** Looks at the list of managers again and tells nodes of changes. */
  managersChanged(): void;
}

const ORPHAN_AFTER_MS = 24 * 60 * 60 * 1000;
/** Most changes and payload bytes of one incremental message. */
const INCREMENT_MAX_CHANGES = 100;
const INCREMENT_MAX_BYTES = 2 * 1024 * 1024;
/** The first change after a pause goes out at once; those that follow gather for this long. */
const INCREMENT_GAP_MS = 10;

export function createDispatcher(options: DispatcherOptions): DispatcherServer {
  const server = new Server({
    ...options,
    managers: options.managers ?? managersOf,
    isSilent: options.isSilent ?? (() => false),
    orphanAfterMs: options.orphanAfterMs ?? ORPHAN_AFTER_MS,
  });
  return {
    lead: (signal) => server.lead(signal),
    session: (nodeId, sessionId) => server.reign().sessions.get(nodeId, sessionId),
    managersChanged: () => server.managersChanged(),
    handlers: {
      session: (request, context) => server.session(request, context),
      heartbeat: ({ sessionId }, context) => {
        const periodMs = server.reign().sessions.beat(server.caller(context), sessionId);
        return { period: durationFromMs(periodMs) };
      },
      updateTaskStatus: (request, context) => server.updateTaskStatus(request, context),
      updateVolumeStatus: (request, context) => server.updateVolumeStatus(request, context),
      assignments: (request, context) => server.assignments(request, context),
      tasks: () => {
        throw new EngineError("unimplemented", "Tasks is gone; use Assignments");
      },
    },
  };
}

class Server {
  readonly #options: ReignOptions;
  #reign: Reign | undefined;

  constructor(options: ReignOptions) {
    this.#options = options;
  }

  async lead(signal: AbortSignal): Promise<void> {
    const reign = new Reign(this.#options, signal);
    try {
      await reign.begin();
      if (signal.aborted) return;
      this.#reign = reign;
      await reign.run();
    } finally {
      if (this.#reign === reign) this.#reign = undefined;
      reign.close();
    }
  }

  managersChanged(): void {
    this.#reign?.refreshManagers();
  }

  reign(): Reign {
    if (this.#reign === undefined) throw new EngineError("aborted", "dispatcher is stopped");
    return this.#reign;
  }

  caller(context: RpcContext): string {
    return callingNode(context, this.#options.nodeId);
  }

  async *session(request: SessionRequest, context: RpcContext): AsyncGenerator<SessionMessage> {
    const reign = this.reign();
    const nodeId = this.caller(context);
    const addr = addressOf(context) || this.#ownAddress(reign, nodeId);
    const session = await reign.register(nodeId, request.sessionId, request.description, addr);
    const signal = AbortSignal.any([session.signal, context.signal]);
    const listener = reign.listen(nodeId);
    try {
      for (let last: SessionMessage | undefined; ; ) {
        const next = this.#message(reign, session);
        if (last === undefined || !tellsTheSame(last, next)) {
          last = next;
          yield next;
        }
        await listener.bell.wait(signal);
      }
    } finally {
      listener.close();
    }
  }

  async *assignments(
    request: AssignmentsRequest,
    context: RpcContext,
  ): AsyncGenerator<AssignmentsMessage> {
    const { clock } = this.#options;
    const reign = this.reign();
    const nodeId = this.caller(context);
    const session = reign.sessions.get(nodeId, request.sessionId);
    const feed = reign.openFeed(nodeId);
    const signal = AbortSignal.any([session.signal, feed.signal, context.signal]);
    try {
      let sequence = 1;
      const changes = feed.set.take(Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY);
      yield create(AssignmentsMessageSchema, {
        type: AssignmentsType.COMPLETE,
        resultsIn: String(sequence),
        changes,
      });
      for (let sentMs = Number.NEGATIVE_INFINITY; ; ) {
        if (feed.set.pending === 0) {
          await feed.bell.wait(signal);
          const gapMs = sentMs + INCREMENT_GAP_MS - clock.monotonicMs();
          if (gapMs > 0) await sleep(clock, gapMs, signal);
          if (feed.set.pending === 0) continue;
        }
        signal.throwIfAborted();
        sentMs = clock.monotonicMs();
        sequence += 1;
        yield create(AssignmentsMessageSchema, {
          type: AssignmentsType.INCREMENTAL,
          appliesTo: String(sequence - 1),
          resultsIn: String(sequence),
          changes: feed.set.take(INCREMENT_MAX_CHANGES, INCREMENT_MAX_BYTES),
        });
      }
    } finally {
      feed.close();
    }
  }

  updateTaskStatus({ sessionId, updates }: UpdateTaskStatusRequest, context: RpcContext) {
    const reign = this.reign();
    const nodeId = this.caller(context);
    reign.sessions.get(nodeId, sessionId);
    const view = this.#options.state.view();
    // Nothing of a call is taken unless all of it may be.
    const known = updates.filter(({ taskId }) => {
      const task = view.get("task", taskId);
      if (task !== undefined && task.nodeId !== nodeId) {
        throw new EngineError("permission-denied", "cannot update a task not assigned this node");
      }
      return task !== undefined;
    });
    for (const { taskId, status } of known) {
      if (status !== undefined) reign.writer.task(taskId, status);
    }
    return {};
  }

  updateVolumeStatus({ sessionId, updates }: UpdateVolumeStatusRequest, context: RpcContext) {
    const reign = this.reign();
    const nodeId = this.caller(context);
    reign.sessions.get(nodeId, sessionId);
    for (const { id, unpublished } of updates) {
      if (unpublished) reign.writer.volumeUnpublished(id, nodeId);
    }
    return {};
  }

  /** A manager's own agent comes by no network; its address is the one that it is known by. */
  #ownAddress(reign: Reign, nodeId: string): string {
    return hostOf(reign.managers.find((manager) => manager.nodeId === nodeId)?.addr ?? "");
  }

  #message(reign: Reign, session: NodeSession): SessionMessage {
    const view = this.#options.state.view();
    return sessionMessage(view, session.nodeId, session.id, reign.managers);
  }
}

/** The caller's IP address; empty for the local socket, which has none. */
function addressOf({ local, peerAddress }: RpcContext): string {
  return local ? "" : hostOf(peerAddress);
}

/** Of "host:port" or "[v6]:port"; IPv4 in IPv6's clothes is shown as what it is. */
function hostOf(address: string): string {
  const colon = address.lastIndexOf(":");
  if (colon < 0) return "";
  const host = address.slice(0, colon).replace(/^\[(.*)\]$/, "$1");
  return host.replace(/^::ffff:(?=\d+\.)/, "");
}
