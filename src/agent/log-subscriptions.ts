/**
 * Answers log subscriptions: reads the logs of every matching task of this node and publishes them
 * to the manager that asked. A subscription that follows also takes up tasks that start later, and
 * ends only when the manager closes it or the session is over. Lines are gathered into batches; a
 * manager that takes them slowly slows the reading down.
 */

import { create } from "@bufbuild/protobuf";
import { messageOf } from "#base/error.ts";
import type { Log } from "#base/ports.ts";
import { Channel } from "#platform/channel.ts";
import type { RpcChannel } from "#platform/grpc/client.ts";
import {
  LogBroker,
  type LogMessage,
  type LogSubscriptionOptions,
  LogSubscriptionOptionsSchema,
  type SubscriptionMessage,
} from "#wire/gen/swarmkit/logbroker_pb.js";
import type { TaskManager } from "./task-manager.ts";
import type { Worker } from "./worker.ts";

export interface LogSubscriptions {
  /** A message of the manager: opens a subscription, or closes it. Repeats are ignored. */
  handle(message: SubscriptionMessage): void;
  /** Ends all of them. */
  close(): void;
}

/** Batches on their way to the manager, and lines and bytes of one batch. */
const CHANNEL_MAX = 16;
const BATCH_MAX_LINES = 256;
const BATCH_MAX_BYTES = 64 * 1024;

/** The subscriptions of one session, published through its channel. */
export function createLogSubscriptions(
  worker: Worker,
  channel: RpcChannel,
  log: Log,
): LogSubscriptions {
  const open = new Map<string, AbortController>();
  const broker = channel.client(LogBroker);

  const serve = async (message: SubscriptionMessage, over: AbortController): Promise<void> => {
    const { signal } = over;
    const batches = new Channel<readonly LogMessage[]>(CHANNEL_MAX);
    const stop = () => batches.end();
    signal.addEventListener("abort", stop, { once: true });
    const gathering = gather(worker, message, batches, signal);
    try {
      await broker.publishLogs(requests(message.id, batches), { signal });
    } catch (error) {
      if (signal.aborted) return;
      log.warn("publishing logs failed", { subscription: message.id, reason: messageOf(error) });
    } finally {
      signal.removeEventListener("abort", stop);
      batches.end();
      // Whatever still reads for this subscription has nobody to read for.
      over.abort();
      await gathering;
    }
  };

  return {
    handle: (message) => {
      const known = open.get(message.id);
      if (message.close) {
        known?.abort();
        open.delete(message.id);
        return;
      }
      if (known !== undefined) return;
      const over = new AbortController();
      open.set(message.id, over);
      void serve(message, over).finally(() => {
        if (open.get(message.id) === over) open.delete(message.id);
      });
    },
    close: () => {
      for (const over of open.values()) over.abort();
      open.clear();
    },
  };
}

/**
 * The end of the stream closes the subscription. A message of SwarmKit's that says so, too, would have
 * its manager end the call without an answer, which is no way to end one.
 */
async function* requests(subscriptionId: string, batches: AsyncIterable<readonly LogMessage[]>) {
  let isNamed = false;
  for await (const messages of batches) {
    isNamed = true;
    yield { subscriptionId, messages: [...messages] };
  }
  if (!isNamed) yield { subscriptionId, messages: [] };
}

/** Reads all matching tasks into the channel; ends it when nothing more can come. */
async function gather(
  worker: Worker,
  message: SubscriptionMessage,
  batches: Channel<readonly LogMessage[]>,
  signal: AbortSignal,
): Promise<void> {
  const options = message.options ?? create(LogSubscriptionOptionsSchema);
  const read = new Set<TaskManager>();
  const reading: Promise<void>[] = [];
  const take = (manager: TaskManager): void => {
    if (read.has(manager)) return;
    read.add(manager);
    reading.push(readTask(manager, options, batches, signal));
  };
  const forget = options.follow
    ? worker.onTask(() => worker.matching(message).forEach(take))
    : () => undefined;
  try {
    worker.matching(message).forEach(take);
    if (options.follow) {
      await new Promise<void>((resolve) => {
        if (signal.aborted) resolve();
        else signal.addEventListener("abort", () => resolve(), { once: true });
      });
    }
  } finally {
    forget();
    await Promise.all(reading);
    batches.end();
  }
}

/** One task's lines; a task without logs (not created yet, a driver that cannot be read) has none. */
async function readTask(
  manager: TaskManager,
  options: LogSubscriptionOptions,
  batches: Channel<readonly LogMessage[]>,
  signal: AbortSignal,
): Promise<void> {
  const batcher = new Batcher(batches, signal);
  try {
    for await (const line of manager.controller.logs(options, signal)) {
      if (!(await batcher.add(line))) return;
    }
  } catch {
    // The manager hears of missing logs through the nodes and tasks it waits for.
  } finally {
    await batcher.finish();
  }
}

/** Gathers lines while the batch before is on its way; the first one goes out at once. */
class Batcher {
  readonly #batches: Channel<readonly LogMessage[]>;
  readonly #signal: AbortSignal;
  #batch: LogMessage[] = [];
  #bytes = 0;
  #sending: Promise<void> | undefined;

  constructor(batches: Channel<readonly LogMessage[]>, signal: AbortSignal) {
    this.#batches = batches;
    this.#signal = signal;
  }

  /** False when nobody takes lines any more; waits only while a full batch is not yet taken. */
  async add(line: LogMessage): Promise<boolean> {
    this.#batch.push(line);
    this.#bytes += line.data.length;
    this.#sending ??= this.#send();
    if (this.#batch.length >= BATCH_MAX_LINES || this.#bytes >= BATCH_MAX_BYTES) {
      await this.#sending;
    }
    return !this.#batches.ended;
  }

  async finish(): Promise<void> {
    await this.#sending;
  }

  async #send(): Promise<void> {
    // What comes in this turn of the event loop goes out together.
    await new Promise((resolve) => setImmediate(resolve));
    while (this.#batch.length > 0) {
      const batch = this.#batch;
      this.#batch = [];
      this.#bytes = 0;
      await this.#batches.send(batch, this.#signal);
    }
    this.#sending = undefined;
  }
}
