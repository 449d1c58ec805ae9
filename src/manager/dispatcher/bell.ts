/** Wakes one waiter. A ring that nobody waits for is kept, so that none is missed. */

export class Bell {
  #rung = false;
  #waiting: (() => void) | undefined;

  ring(): void {
    this.#rung = true;
    this.#waiting?.();
  }

  /** Resolves at once if the bell rang since the last wait; rejects when the signal is aborted. */
  wait(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const settle = () => {
        this.#waiting = undefined;
        signal.removeEventListener("abort", settle);
        if (signal.aborted) {
          reject(signal.reason as Error);
          return;
        }
        this.#rung = false;
        resolve();
      };
      if (signal.aborted || this.#rung) {
        settle();
        return;
      }
      this.#waiting = settle;
      signal.addEventListener("abort", settle, { once: true });
    });
  }
}
