/** Those who wait until the entry at an index is applied. */

interface Waiting {
  readonly index: number;
  readonly resolve: () => void;
}

export class AppliedWaiters {
  #waiting: Waiting[] = [];

  wait(index: number): Promise<void> {
    return new Promise((resolve) => this.#waiting.push({ index, resolve }));
  }

  /** Entries up to `index` are applied. */
  reached(index: number): void {
    const waiting = this.#waiting;
    if (waiting.length === 0) return;
    this.#waiting = waiting.filter((one) => one.index > index);
    for (const one of waiting) if (one.index <= index) one.resolve();
  }
}
