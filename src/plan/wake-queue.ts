/**
 * Keys that are due at a time: a binary heap with at most one live entry per key. Setting a key
 * anew replaces its time; what was replaced is skipped when it surfaces.
 */

interface Entry<K> {
  readonly key: K;
  readonly timeMs: number;
}

export class WakeQueue<K> {
  readonly #heap: Entry<K>[] = [];
  readonly #times = new Map<K, number>();

  get size(): number {
    return this.#times.size;
  }

  set(key: K, timeMs: number): void {
    if (this.#times.get(key) === timeMs) return;
    this.#times.set(key, timeMs);
    this.#heap.push({ key, timeMs });
    this.#up(this.#heap.length - 1);
  }

  delete(key: K): void {
    this.#times.delete(key);
  }

  /** The earliest time that is waited for. */
  next(): number | undefined {
    this.#skipStale();
    return this.#heap[0]?.timeMs;
  }

  /** Takes a key whose time has come. */
  take(nowMs: number): K | undefined {
    this.#skipStale();
    const first = this.#heap[0];
    if (first === undefined || first.timeMs > nowMs) return undefined;
    this.#pop();
    this.#times.delete(first.key);
    return first.key;
  }

  #skipStale(): void {
    for (;;) {
      const first = this.#heap[0];
      if (first === undefined || this.#times.get(first.key) === first.timeMs) return;
      this.#pop();
    }
  }

  #pop(): void {
    const last = this.#heap.pop();
    if (last === undefined || this.#heap.length === 0) return;
    this.#heap[0] = last;
    this.#down(0);
  }

  #up(start: number): void {
    let at = start;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (this.#time(parent) <= this.#time(at)) return;
      this.#swap(at, parent);
      at = parent;
    }
  }

  #down(start: number): void {
    let at = start;
    for (;;) {
      const left = 2 * at + 1;
      const right = left + 1;
      let least = at;
      if (this.#time(left) < this.#time(least)) least = left;
      if (this.#time(right) < this.#time(least)) least = right;
      if (least === at) return;
      this.#swap(at, least);
      at = least;
    }
  }

  #time(at: number): number {
    return this.#heap[at]?.timeMs ?? Number.POSITIVE_INFINITY;
  }

  #swap(a: number, b: number): void {
    const first = this.#heap[a];
    const second = this.#heap[b];
    if (first === undefined || second === undefined) return;
    this.#heap[a] = second;
    this.#heap[b] = first;
  }
}
