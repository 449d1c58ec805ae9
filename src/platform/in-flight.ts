/** How many calls have no answer yet, for whoever ends only when all have theirs. */

import { deferred } from "./async.ts";

export class InFlight {
  #count = 0;
  #idle = deferred();

  begin(): void {
    this.#count += 1;
  }

  end(): void {
    this.#count -= 1;
    if (this.#count > 0) return;
    this.#idle.resolve();
    this.#idle = deferred();
  }

  /** Resolves when none is under way, or when time is up. */
  async none(timeoutMs: number): Promise<void> {
    if (this.#count === 0) return;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, timeoutMs);
    });
    await Promise.race([this.#idle.promise, late]);
    clearTimeout(timer);
  }
}
