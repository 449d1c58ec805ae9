/**
 * A bounded channel from any number of producers to one consumer. Unlike `AsyncQueue`, a producer
 * that finds it full waits, so that a slow reader slows the writers down instead of losing items.
 */

import { type Deferred, deferred } from "./async.ts";

export class Channel<T> implements AsyncIterable<T> {
  readonly #items: T[] = [];
  readonly #max: number;
  readonly #senders: Deferred<void>[] = [];
  #receiver: Deferred<void> | undefined;
  #ended = false;
  #error: unknown;

  constructor(max: number) {
    this.#max = max;
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** Waits for room; false when the channel has ended or the signal was aborted first. */
  async send(item: T, signal?: AbortSignal): Promise<boolean> {
    while (!this.#ended && this.#items.length >= this.#max) {
      if (signal?.aborted) return false;
      const room = deferred();
      const wake = () => room.resolve();
      this.#senders.push(room);
      signal?.addEventListener("abort", wake, { once: true });
      await room.promise;
      signal?.removeEventListener("abort", wake);
      const left = this.#senders.indexOf(room);
      if (left >= 0) this.#senders.splice(left, 1);
    }
    if (this.#ended || signal?.aborted) return false;
    this.#items.push(item);
    this.#receiver?.resolve();
    return true;
  }

  /** No more items; the consumer reads what is left, then ends, or throws `error`. */
  end(error?: unknown): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error;
    this.#receiver?.resolve();
    for (const sender of this.#senders.splice(0)) sender.resolve();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T> {
    try {
      for (;;) {
        while (this.#items.length > 0) {
          const item = this.#items.shift() as T;
          this.#senders.shift()?.resolve();
          yield item;
        }
        if (this.#ended) {
          if (this.#error !== undefined) throw this.#error;
          return;
        }
        this.#receiver = deferred();
        await this.#receiver.promise;
        this.#receiver = undefined;
      }
    } finally {
      this.#items.length = 0;
      this.end();
    }
  }
}
