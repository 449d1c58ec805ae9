/**
 * Virtual time: a queue of things to happen. Time jumps from one to the next; things due at the same
 * millisecond happen in the order in which they were scheduled.
 */

interface Event {
  readonly at: number;
  readonly order: number;
  readonly run: () => void;
}

export class Timeline {
  #now = 0;
  #order = 0;
  /** A binary heap, earliest first. */
  readonly #heap: Event[] = [];

  get now(): number {
    return this.#now;
  }

  after(delayMs: number, run: () => void): void {
    this.#push({ at: this.#now + Math.max(0, delayMs), order: this.#order++, run });
  }

  /** Runs everything that is due up to `until`, or until `stop` says so. */
  runUntil(until: number, stop: () => boolean): void {
    while (this.step(until, stop));
  }

  /** Runs the next thing that is due up to `until`; false if there is none, or `stop` says so. */
  step(until: number, stop: () => boolean): boolean {
    if (stop()) return false;
    const [next] = this.#heap;
    if (next === undefined || next.at > until) {
      this.#now = Math.max(this.#now, until);
      return false;
    }
    this.#pop();
    this.#now = next.at;
    next.run();
    return true;
  }

  #push(event: Event): void {
    const heap = this.#heap;
    heap.push(event);
    let at = heap.length - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!this.#swapIfEarlier(at, parent)) break;
      at = parent;
    }
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return;
    heap[0] = last;
    let at = 0;
    for (;;) {
      const left = 2 * at + 1;
      const child = this.#isEarlier(left + 1, left) ? left + 1 : left;
      if (!this.#swapIfEarlier(child, at)) break;
      at = child;
    }
  }

  #isEarlier(a: number, b: number): boolean {
    const first = this.#heap[a];
    const second = this.#heap[b];
    if (first === undefined || second === undefined) return false;
    return first.at < second.at || (first.at === second.at && first.order < second.order);
  }

  /** Exchanges two places if the first holds what is due earlier. */
  #swapIfEarlier(a: number, b: number): boolean {
    if (!this.#isEarlier(a, b)) return false;
    const first = this.#heap[a];
    const second = this.#heap[b];
    if (first !== undefined && second !== undefined) {
      this.#heap[a] = second;
      this.#heap[b] = first;
    }
    return true;
  }
}
