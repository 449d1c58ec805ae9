/**
 * Service logs: brings the wishes of clients (Logs) to the nodes that run the tasks, and their lines
 * (LogBroker) back to the clients. Nothing is stored; lines of different nodes come in no order. A
 * client that reads slowly slows its nodes down and nobody else. Who follows is told in the stream
 * which nodes fall silent. Leader only, as the dispatcher.
 */

import { create } from "@bufbuild/protobuf";
import { EngineError, messageOf } from "#base/error.ts";
import { newId } from "#base/ids.ts";
import type { Clock, Log, Random } from "#base/ports.ts";
import { logNotice } from "#model/log-notice.ts";
import { isDown } from "#model/node.ts";
import { AsyncQueue, sleep } from "#platform/async.ts";
import type { RpcContext, RpcHandlers } from "#platform/grpc/server.ts";
import type { Change } from "#store/types.ts";
import {
  type LogBroker,
  type Logs,
  type PublishLogsMessage,
  type SubscribeLogsMessage,
  SubscribeLogsMessageSchema,
  type SubscribeLogsRequest,
  type SubscriptionMessage,
} from "#wire/gen/swarmkit/logbroker_pb.js";
import { callingNode } from "../authz/caller.ts";
import { holdReign, type Reign } from "../reign.ts";
import type { ClusterState } from "../state.ts";
import { Subscription } from "./subscription.ts";

export interface LogBrokerOptions {
  readonly state: ClusterState;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** This manager's node id: who calls over the local socket. */
  readonly nodeId: string;
}

export interface LogBrokerServer {
  readonly logs: RpcHandlers<typeof Logs>;
  readonly logBroker: RpcHandlers<typeof LogBroker>;
  /** Serves until the signal is aborted; to be handed to `ClusterState.onLeadership`. */
  lead(signal: AbortSignal): Promise<void>;
}

/** Subscriptions that may wait for one node to read of them. */
const NODE_QUEUE_MAX = 1_024;
/** Subscriptions open at once. */
const SUBSCRIPTIONS_MAX = 1_024;
/** How long a node may be away before those who follow its tasks are told: an engine restarts faster. */
const SILENT_MS = 5_000;

export function createLogBroker(options: LogBrokerOptions): LogBrokerServer {
  const { current, lead } = holdReign(
    (signal) => new BrokerReign(options, signal),
    "broker is not running",
  );
  const caller = (context: RpcContext) => callingNode(context, options.nodeId);
  return {
    logs: { subscribeLogs: (request, context) => current().subscribe(request, context) },
    logBroker: {
      listenSubscriptions: (_request, context) => current().listen(caller(context), context),
      publishLogs: (requests, context) => current().publish(requests, caller(context), context),
    },
    lead,
  };
}

class BrokerReign implements Reign {
  readonly #options: LogBrokerOptions;
  readonly #signal: AbortSignal;
  readonly #subscriptions = new Map<string, Subscription>();
  /** What connected nodes have to be told. */
  readonly #nodes = new Map<string, AsyncQueue<SubscriptionMessage>>();

  constructor(options: LogBrokerOptions, signal: AbortSignal) {
    this.#options = options;
    this.#signal = signal;
  }

  /** Follows task changes, so that subscriptions reach tasks placed after they were made. */
  async run(): Promise<void> {
    while (!this.#signal.aborted) {
      const batches = this.#options.state.watch({ signal: this.#signal });
      try {
        for await (const { changes } of batches) {
          for (const change of changes) {
            if (change.kind === "node") this.#nodeChanged(change);
          }
          if (this.#subscriptions.size === 0) continue;
          for (const change of changes) {
            if (change.kind !== "task") continue;
            for (const subscription of this.#subscriptions.values()) {
              if (change.action === "delete") {
                subscription.taskDeleted(change.object);
                continue;
              }
              const nodeId = subscription.taskChanged(change.object);
              if (nodeId !== undefined) this.#tell(subscription, nodeId);
            }
          }
        }
      } catch (error) {
        if (this.#signal.aborted) return;
        this.#options.log.warn("log broker fell behind the store", { reason: messageOf(error) });
        for (const { batches } of this.#subscriptions.values()) {
          batches.end(new EngineError("unavailable", "the log stream was interrupted; try again"));
        }
      }
    }
  }

  close(reason: EngineError): void {
    for (const { batches } of this.#subscriptions.values()) batches.end(reason);
    for (const queue of this.#nodes.values()) queue.end(reason);
  }

  async *subscribe(
    { selector, options }: SubscribeLogsRequest,
    context: RpcContext,
  ): AsyncGenerator<SubscribeLogsMessage> {
    if (selector === undefined) {
      throw new EngineError("invalid-argument", "log selector must be provided");
    }
    const { serviceIds, nodeIds, taskIds } = selector;
    if (serviceIds.length + nodeIds.length + taskIds.length === 0) {
      throw new EngineError("invalid-argument", "log selector must not be empty");
    }
    if (this.#subscriptions.size >= SUBSCRIPTIONS_MAX) {
      throw new EngineError("resource-exhausted", "too many log subscriptions are open");
    }
    const subscription = new Subscription(newId(this.#options.random), selector, options);
    const stop = () => subscription.batches.end(context.signal.reason);
    context.signal.addEventListener("abort", stop, { once: true });
    this.#subscriptions.set(subscription.id, subscription);
    try {
      for (const nodeId of subscription.begin(this.#options.state.view())) {
        this.#tell(subscription, nodeId);
      }
      subscription.begun();
      for await (const messages of subscription.batches) {
        yield create(SubscribeLogsMessageSchema, { messages: [...messages] });
      }
    } finally {
      context.signal.removeEventListener("abort", stop);
      this.#subscriptions.delete(subscription.id);
      const closing = { ...subscription.message, close: true };
      for (const [nodeId, queue] of this.#nodes) {
        if (subscription.expects(nodeId)) queue.push(closing);
      }
    }
  }

  async *listen(nodeId: string, context: RpcContext): AsyncGenerator<SubscriptionMessage> {
    const replaced = new EngineError("aborted", "the node listens on another connection");
    this.#nodes.get(nodeId)?.end(replaced);
    const queue = new AsyncQueue<SubscriptionMessage>(NODE_QUEUE_MAX);
    this.#nodes.set(nodeId, queue);
    const stop = () => queue.end(context.signal.reason);
    context.signal.addEventListener("abort", stop, { once: true });
    try {
      const view = this.#options.state.view();
      for (const subscription of this.#subscriptions.values()) {
        if (subscription.nodeConnected(nodeId, view)) this.#tell(subscription, nodeId);
      }
      yield* queue;
    } finally {
      context.signal.removeEventListener("abort", stop);
      if (this.#nodes.get(nodeId) === queue) {
        this.#nodes.delete(nodeId);
        for (const subscription of this.#subscriptions.values()) {
          this.#nodeDone(subscription, nodeId, `node ${nodeId} disconnected unexpectedly`);
        }
      }
    }
  }

  async publish(
    requests: AsyncIterable<PublishLogsMessage>,
    nodeId: string,
    context: RpcContext,
  ): Promise<object> {
    let subscription: Subscription | undefined;
    let problem: string | undefined;
    try {
      for await (const message of requests) {
        subscription ??= this.#find(message.subscriptionId, nodeId);
        if (message.subscriptionId !== subscription.id) {
          throw new EngineError(
            "invalid-argument",
            "different subscription IDs in the same session",
          );
        }
        if (message.close) return {};
        for (const { context: origin } of message.messages) {
          if (origin?.nodeId === nodeId) continue;
          throw new EngineError(
            "permission-denied",
            `invalid NodeID: expected=${nodeId};received=${origin?.nodeId ?? ""}`,
          );
        }
        // Waits for the client: that is what holds the node back.
        const fresh = subscription.admit(nodeId, message.messages);
        if (!(await subscription.batches.send(fresh, context.signal))) return {};
      }
      return {};
    } catch (error) {
      problem = messageOf(error);
      throw error;
    } finally {
      if (subscription !== undefined) this.#nodeDone(subscription, nodeId, problem);
    }
  }

  #find(id: string, nodeId: string): Subscription {
    if (id === "") throw new EngineError("invalid-argument", "missing subscription ID");
    const subscription = this.#subscriptions.get(id);
    if (subscription === undefined || !subscription.expects(nodeId)) {
      throw new EngineError("not-found", "unknown subscription ID");
    }
    return subscription;
  }

  /** A host without power leaves a connection on which nothing comes any more. */
  #nodeChanged({ action, object }: Extract<Change, { kind: "node" }>): void {
    if (action !== "delete" && !isDown(object)) return;
    this.#nodes.get(object.id)?.end(new EngineError("unavailable", `node ${object.id} is down`));
  }

  #tell(subscription: Subscription, nodeId: string): void {
    const told = this.#nodes.get(nodeId)?.push(subscription.messageFor(nodeId)) ?? false;
    if (!told) this.#nodeDone(subscription, nodeId, `node ${nodeId} is not available`);
  }

  #nodeDone(subscription: Subscription, nodeId: string, problem?: string): void {
    const isLost = subscription.nodeDone(nodeId, this.#options.clock.nowMs(), problem);
    if (isLost) void this.#noteSilence(subscription, nodeId);
  }

  /**
   * Tells who follows that lines are missing, unless the node is soon back. One that was there all the
   * time, and failed to deliver, is asked again. Never rejects.
   */
  async #noteSilence(subscription: Subscription, nodeId: string): Promise<void> {
    const { clock, state } = this.#options;
    const since = subscription.lostSince(nodeId);
    await sleep(clock, SILENT_MS, this.#signal).catch(() => undefined);
    const isOpen = this.#subscriptions.get(subscription.id) === subscription;
    // Back, or back and lost anew.
    if (!isOpen || subscription.lostSince(nodeId) !== since || this.#signal.aborted) return;
    const view = state.view();
    if (this.#nodes.has(nodeId)) {
      if (subscription.nodeConnected(nodeId, view)) this.#tell(subscription, nodeId);
      return;
    }
    const task = subscription.taskOn(nodeId, view);
    if (task === undefined) return;
    const hostname = view.get("node", nodeId)?.description?.hostname ?? "";
    const node = hostname === "" ? nodeId : `${hostname} (${nodeId})`;
    const text = `warning: node ${node} does not answer: lines of its tasks are missing until it is back`;
    await subscription.batches.send([logNotice(task, text, clock.nowMs())], this.#signal);
  }
}
