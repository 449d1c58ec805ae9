/**
 * One registration with a manager. It lives as long as all of its parts do: the session stream
 * (what the manager says about the cluster), heartbeats, assignments, log subscriptions and tables. When
 * one of them fails, all end and the agent starts another session.
 *
 * A changed node description is announced by opening a second session stream under the same
 * session id; heartbeats and assignments go on meanwhile. A gap in the numbering of assignments
 * makes the session ask for a complete one.
 */

import { equals } from "@bufbuild/protobuf";
import { durationMs } from "@bufbuild/protobuf/wkt";
import { EngineError, isErrorCode, messageOf } from "#base/error.ts";
import type { Clock, Log } from "#base/ports.ts";
import { type Deferred, deferred, sleep } from "#platform/async.ts";
import type { RpcChannel } from "#platform/grpc/client.ts";
import {
  type AssignmentChange,
  AssignmentsMessage_Type as AssignmentsType,
  Dispatcher,
  type SessionMessage,
} from "#wire/gen/swarmkit/dispatcher_pb.js";
import { LogBroker, type SubscriptionMessage } from "#wire/gen/swarmkit/logbroker_pb.js";
import { type NodeDescription, NodeDescriptionSchema } from "#wire/gen/swarmkit/types_pb.js";
import { isRefusal, type StatusSender } from "./reporter.ts";
import { followTables, type TablesSessionOptions } from "./tables-session.ts";

export interface SessionOptions {
  readonly channel: RpcChannel;
  /** Of the session before, so that a manager that still knows it goes on with it; else empty. */
  readonly sessionId: string;
  readonly clock: Clock;
  readonly log: Log;
  /** Milliseconds between looks at the node description. */
  readonly describePeriodMs: number;
  readonly describe: () => Promise<NodeDescription>;
  /** Resolves when the description should be looked at before its time; asked anew each time. */
  readonly describeEarlier: () => Promise<void>;
  readonly onRegistered: (sessionId: string, send: StatusSender) => void;
  readonly onMessage: (message: SessionMessage) => Promise<void>;
  readonly onAssignments: (changes: readonly AssignmentChange[], complete: boolean) => void;
  readonly onSubscription: (subscription: SubscriptionMessage) => void;
  /** Takes tables of the data path in; absent where there is none. */
  readonly tables?: Pick<TablesSessionOptions, "apply" | "onSource"> | undefined;
}

/** How long a manager may take to answer a call or to begin a session. */
const RPC_TIMEOUT_MS = 5_000;

/** Runs a session until it fails (always rejects) or the signal is aborted. */
export async function runSession(options: SessionOptions, signal: AbortSignal): Promise<void> {
  const end = new AbortController();
  const stop = () => end.abort(signal.reason);
  if (signal.aborted) stop();
  signal.addEventListener("abort", stop, { once: true });
  const session = new Session(options, end);
  try {
    await session.run();
  } finally {
    signal.removeEventListener("abort", stop);
    end.abort(new EngineError("cancelled", "the session has ended"));
  }
}

class Session {
  readonly #options: SessionOptions;
  readonly #end: AbortController;
  readonly #dispatcher;
  #id: string;
  #described: NodeDescription | undefined;
  /** Ends the session stream that carries the newest description. */
  #stream: AbortController | undefined;

  constructor(options: SessionOptions, end: AbortController) {
    this.#options = options;
    this.#end = end;
    this.#id = options.sessionId;
    this.#dispatcher = options.channel.client(Dispatcher);
  }

  async run(): Promise<void> {
    const description = await this.#options.describe();
    const failed = deferred<never>();
    await this.#register(description, failed);
    this.#options.onRegistered(this.#id, async (updates) => {
      try {
        await this.#dispatcher.updateTaskStatus(
          {
            sessionId: this.#id,
            updates: updates.map(({ taskId, status }) => ({ taskId, status })),
          },
          { signal: this.#end.signal, timeoutMs: RPC_TIMEOUT_MS },
        );
      } catch (error) {
        // The rest of the session may well go on, but nobody would report by it any more.
        if (!isRefusal(error)) failed.reject(error);
        throw error;
      }
    });
    await Promise.race([
      failed.promise,
      this.#heartbeat(),
      this.#assignments(),
      this.#subscriptions(),
      this.#tables(),
      this.#redescribe(failed),
    ]);
  }

  /** Opens a session stream and waits for its first message; the rest is read in the background. */
  async #register(description: NodeDescription, failed: Deferred<never>): Promise<void> {
    const stream = new AbortController();
    const stop = () => stream.abort(this.#end.signal.reason);
    if (this.#end.signal.aborted) stop();
    this.#end.signal.addEventListener("abort", stop, { once: true });
    const first = deferred<SessionMessage>();
    const timer = this.#options.clock.setTimer(RPC_TIMEOUT_MS, () => {
      stream.abort(new EngineError("deadline-exceeded", "session initiation timed out"));
    });
    let replaced = false;
    stream.signal.addEventListener("abort", () => {
      // A stream that a newer one has replaced may end as it likes.
      replaced = this.#stream !== undefined && this.#stream !== stream;
    });
    this.#readStream(description, stream.signal, first)
      .catch((error: unknown) => {
        first.reject(stream.signal.aborted ? stream.signal.reason : error);
        if (!replaced) failed.reject(error);
      })
      .finally(() => this.#end.signal.removeEventListener("abort", stop));
    failed.promise.catch(() => undefined);
    try {
      await first.promise;
    } finally {
      timer.cancel();
    }
    this.#described = description;
    const older = this.#stream;
    this.#stream = stream;
    older?.abort(new EngineError("cancelled", "replaced by a newer description"));
  }

  async #readStream(
    description: NodeDescription,
    signal: AbortSignal,
    first: Deferred<SessionMessage>,
  ): Promise<void> {
    const request = { description, sessionId: this.#id };
    for await (const message of this.#dispatcher.session(request, { signal })) {
      this.#id = message.sessionId;
      // Registered already: what the node makes of the message may take longer than a call may.
      first.resolve(message);
      await this.#options.onMessage(message);
    }
    throw new EngineError("unavailable", "the manager closed the session");
  }

  async #heartbeat(): Promise<never> {
    const { clock } = this.#options;
    const signal = this.#end.signal;
    for (;;) {
      const { period } = await this.#dispatcher.heartbeat(
        { sessionId: this.#id },
        { signal, timeoutMs: RPC_TIMEOUT_MS },
      );
      await sleep(clock, period === undefined ? RPC_TIMEOUT_MS : durationMs(period), signal);
    }
  }

  async #assignments(): Promise<never> {
    const signal = this.#end.signal;
    for (;;) {
      let reference = "";
      let gap = false;
      const request = { sessionId: this.#id };
      for await (const message of this.#dispatcher.assignments(request, { signal })) {
        const complete = message.type === AssignmentsType.COMPLETE;
        if (!complete && message.appliesTo !== reference) {
          this.#options.log.warn("gap in the assignments; asking for a complete one", {
            expected: reference,
            got: message.appliesTo,
          });
          gap = true;
          break;
        }
        reference = message.resultsIn;
        this.#options.onAssignments(message.changes, complete);
      }
      if (!gap) throw new EngineError("unavailable", "the manager closed the assignments");
    }
  }

  async #subscriptions(): Promise<never> {
    const signal = this.#end.signal;
    const broker = this.#options.channel.client(LogBroker);
    try {
      for await (const message of broker.listenSubscriptions({}, { signal })) {
        this.#options.onSubscription(message);
      }
    } catch (error) {
      if (!isErrorCode(error, "unimplemented")) throw error;
      this.#options.log.warn("the manager has no log broker; service logs will not work");
      await aborted(signal);
    }
    throw new EngineError("unavailable", "the manager closed the log subscriptions");
  }

  /** Never fails by itself: without new tables the data path stays as it is. */
  #tables(): Promise<never> {
    const { tables, channel, clock, log } = this.#options;
    if (tables === undefined) return aborted(this.#end.signal);
    const options = { ...tables, channel, clock, log, sessionId: () => this.#id };
    return followTables(options, this.#end.signal);
  }

  async #redescribe(failed: Deferred<never>): Promise<never> {
    const { clock, describePeriodMs } = this.#options;
    const signal = this.#end.signal;
    for (;;) {
      const pause = new AbortController();
      const stop = () => pause.abort();
      signal.addEventListener("abort", stop, { once: true });
      await Promise.race([
        sleep(clock, describePeriodMs, pause.signal).catch(() => undefined),
        this.#options.describeEarlier(),
      ]);
      signal.removeEventListener("abort", stop);
      pause.abort();
      signal.throwIfAborted();
      const description = await this.#describeAgain();
      if (description === undefined) continue;
      if (
        this.#described !== undefined &&
        equals(NodeDescriptionSchema, description, this.#described)
      ) {
        continue;
      }
      this.#options.log.info("the node description has changed");
      await this.#register(description, failed);
    }
  }

  /** Undefined when the host cannot say: what was told before stands. */
  async #describeAgain(): Promise<NodeDescription | undefined> {
    try {
      return await this.#options.describe();
    } catch (error) {
      this.#options.log.warn("the node description is not available", {
        reason: messageOf(error),
      });
      return undefined;
    }
  }
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    const stop = () => reject(signal.reason as Error);
    if (signal.aborted) stop();
    else signal.addEventListener("abort", stop, { once: true });
  });
}
