/**
 * Watching, made asynchronous: waits for the store's next batch. A watcher is a position in the
 * store's ring and a callback while it waits, nothing more; it never holds back the writer.
 */

import { EngineError } from "#base/error.ts";
import type { Store } from "#store/store.ts";
import type { ChangeBatch, ReadView } from "#store/types.ts";
import type { WatchOptions } from "../state.ts";

export class ChangeFeed {
  readonly #store: Store;
  readonly #waiting = new Set<() => void>();
  #closed = false;

  constructor(store: Store) {
    this.#store = store;
  }

  /** Call after the store has advanced. */
  notify(): void {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const wake of waiting) wake();
  }

  /** Ends every watch, after what it has still to read, with `unavailable`. */
  close(): void {
    this.#closed = true;
    this.notify();
  }

  /** Ends quietly when the signal is aborted. */
  watch(options: WatchOptions): AsyncIterable<ChangeBatch> {
    const from = options.resumeFrom ?? this.#store.view().index;
    return { [Symbol.asyncIterator]: () => this.#follow(from, options.signal) };
  }

  viewAndWatch(options: WatchOptions): { view: ReadView; batches: AsyncIterable<ChangeBatch> } {
    const view = this.#store.view();
    return { view, batches: this.watch({ signal: options.signal, resumeFrom: view.index }) };
  }

  async *#follow(from: number, signal: AbortSignal): AsyncGenerator<ChangeBatch> {
    let position = from;
    while (!signal.aborted) {
      const batch = this.#store.batchAfter(position);
      if (batch === "unavailable") {
        throw new EngineError("out-of-range", "watch from version unavailable");
      }
      if (batch !== undefined) {
        position = batch.index;
        yield batch;
      } else if (this.#closed) {
        throw new EngineError("unavailable", "this manager is shutting down");
      } else {
        await this.#change(signal);
      }
    }
  }

  #change(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        this.#waiting.delete(wake);
        signal.removeEventListener("abort", wake);
        resolve();
      };
      this.#waiting.add(wake);
      signal.addEventListener("abort", wake, { once: true });
    });
  }
}
