/**
 * Keys that are due at a time, at most one live entry per key. Setting a key anew replaces its time;
 * what was replaced is skipped when it surfaces.
 */

import { Heap } from "./heap.ts";

interface Entry<K> {
  readonly key: K;
  readonly timeMs: number;
}

export class WakeQueue<K> {
  readonly #heap = new Heap<Entry<K>>((a, b) => a.timeMs < b.timeMs);
  readonly #times = new Map<K, number>();

  get size(): number {
    return this.#times.size;
  }

  set(key: K, timeMs: number): void {
    if (this.#times.get(key) === timeMs) return;
    this.#times.set(key, timeMs);
    this.#heap.push({ key, timeMs });
  }

  delete(key: K): void {
    this.#times.delete(key);
  }

  /** The earliest time that is waited for. */
  next(): number | undefined {
    this.#skipStale();
    return this.#heap.peek()?.timeMs;
  }

  /** Takes a key whose time has come. */
  take(nowMs: number): K | undefined {
    this.#skipStale();
    const first = this.#heap.peek();
    if (first === undefined || first.timeMs > nowMs) return undefined;
    this.#heap.pop();
    this.#times.delete(first.key);
    return first.key;
  }

  #skipStale(): void {
    for (;;) {
      const first = this.#heap.peek();
      if (first === undefined || this.#times.get(first.key) === first.timeMs) return;
      this.#heap.pop();
    }
  }
}
