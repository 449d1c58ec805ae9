/**
 * Follows the tables of the swarm's data path under one dispatcher session: hands every message to
 * the executor in order, and acknowledges what the executor has made so. While a message is being
 * applied the next is not read, so that the manager gathers what changes meanwhile.
 *
 * A stream that fails, or a message that could not be applied, means starting over with complete
 * tables after a pause. A manager that does not know the protocol (Docker's) is left in peace.
 */

import { EngineError, isErrorCode, messageOf } from "#base/error.ts";
import type { Clock, Log } from "#base/ports.ts";
import { sleep } from "#platform/async.ts";
import type { RpcChannel } from "#platform/grpc/client.ts";
import { DataPlane, type TablesMessage } from "#wire/gen/skep/dataplane_pb.js";
import { joinParts } from "#wire/tables-parts.ts";
import type { TablesSource } from "./executor.ts";

export interface TablesSessionOptions {
  readonly channel: RpcChannel;
  /** Of the dispatcher session, as it is now. */
  readonly sessionId: () => string;
  readonly clock: Clock;
  readonly log: Log;
  /** Resolves when the kernel is what the message says. */
  readonly apply: (message: TablesMessage) => Promise<void>;
  readonly onSource: (source: TablesSource) => void;
}

const RPC_TIMEOUT_MS = 5_000;
const BACKOFF_FIRST_MS = 100;
const BACKOFF_MAX_MS = 5_000;
/** Parts of one message; a manager that sends more is not one of ours. */
const PARTS_MAX = 1_000;

/** Ends, by rejecting, only with the signal. */
export async function followTables(
  options: TablesSessionOptions,
  signal: AbortSignal,
): Promise<never> {
  // At once, and never later: a message may still be on its way into the kernel when the next session
  // has long begun to follow.
  const lost = () => options.onSource("lost");
  signal.addEventListener("abort", lost, { once: true });
  return new TablesSession(options, signal).run();
}

class TablesSession {
  readonly #options: TablesSessionOptions;
  readonly #signal: AbortSignal;
  readonly #client;
  #backoffMs = 0;
  /** Newest revision to be acknowledged, and whether somebody is about it. */
  #applied = 0n;
  #acknowledging = false;

  constructor(options: TablesSessionOptions, signal: AbortSignal) {
    this.#options = options;
    this.#signal = signal;
    this.#client = options.channel.client(DataPlane);
  }

  async run(): Promise<never> {
    const { clock, log, onSource } = this.#options;
    for (;;) {
      try {
        await this.#follow();
      } catch (error) {
        this.#signal.throwIfAborted();
        if (isErrorCode(error, "unimplemented")) {
          onSource("unsupported");
          await aborted(this.#signal);
        }
        onSource("lost");
        this.#backoffMs = Math.min(BACKOFF_FIRST_MS + 2 * this.#backoffMs, BACKOFF_MAX_MS);
        log.warn("following the network tables failed; the data path stays as it is", {
          reason: messageOf(error),
          backoffMs: this.#backoffMs,
        });
      }
      await sleep(clock, this.#backoffMs, this.#signal);
    }
  }

  async #follow(): Promise<void> {
    const request = { sessionId: this.#options.sessionId() };
    const stream = new AbortController();
    const signal = AbortSignal.any([this.#signal, stream.signal]);
    let parts: TablesMessage[] = [];
    try {
      for await (const message of this.#client.watch(request, { signal })) {
        parts.push(message);
        if (message.continued && parts.length < PARTS_MAX) continue;
        const [first = message, ...rest] = parts;
        parts = [];
        await this.#options.apply(joinParts(first, rest));
        this.#signal.throwIfAborted();
        this.#backoffMs = 0;
        this.#options.onSource("following");
        this.#acknowledge(message.revision);
      }
    } finally {
      stream.abort();
    }
    throw new EngineError("unavailable", "the manager closed the network tables");
  }

  /** One call at a time; revisions that come meanwhile are covered by the newest. */
  #acknowledge(revision: bigint): void {
    this.#applied = revision;
    if (this.#acknowledging) return;
    this.#acknowledging = true;
    void this.#sendAcknowledgements();
  }

  async #sendAcknowledgements(): Promise<void> {
    const { clock, log, sessionId } = this.#options;
    for (let acknowledged = -1n; acknowledged < this.#applied; ) {
      const revision = this.#applied;
      try {
        await this.#client.acknowledge(
          { sessionId: sessionId(), revision },
          { signal: this.#signal, timeoutMs: RPC_TIMEOUT_MS },
        );
        acknowledged = revision;
      } catch (error) {
        if (this.#signal.aborted) return;
        log.warn("acknowledging network tables failed", { reason: messageOf(error) });
        await sleep(clock, BACKOFF_FIRST_MS, this.#signal).catch(() => undefined);
      }
    }
    this.#acknowledging = false;
  }
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    const stop = () => reject(signal.reason as Error);
    if (signal.aborted) stop();
    else signal.addEventListener("abort", stop, { once: true });
  });
}
