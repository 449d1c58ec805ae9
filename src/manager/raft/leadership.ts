/**
 * What runs while this manager leads. Each registered function is called once per reign with a
 * signal that ends with it; a function still winding down from an earlier reign delays its own next
 * call, so that it never runs twice at once. One that fails ends the reign.
 */

import { EngineError } from "#base/error.ts";

export type Lead = (signal: AbortSignal) => Promise<void>;

interface Registered {
  readonly lead: Lead;
  /** Settles when the last call has ended; never rejects. */
  running: Promise<void>;
}

export class Leadership {
  readonly #registered: Registered[] = [];
  readonly #onFailure: (error: unknown) => void;
  #reign: AbortController | undefined;

  /** `onFailure` is told why a function failed during a reign; the reign is the caller's to end. */
  constructor(onFailure: (error: unknown) => void) {
    this.#onFailure = onFailure;
  }

  get leads(): boolean {
    return this.#reign !== undefined;
  }

  register(lead: Lead): void {
    const registered = { lead, running: Promise.resolve() };
    this.#registered.push(registered);
    if (this.#reign !== undefined) this.#call(registered, this.#reign.signal);
  }

  begin(): void {
    if (this.#reign !== undefined) return;
    this.#reign = new AbortController();
    for (const registered of this.#registered) this.#call(registered, this.#reign.signal);
  }

  end(): void {
    const reign = this.#reign;
    this.#reign = undefined;
    reign?.abort(new EngineError("unavailable", "this manager no longer leads"));
  }

  /** Resolves when nothing of an ended reign runs any more. */
  async settled(): Promise<void> {
    await Promise.all(this.#registered.map(({ running }) => running));
  }

  #call(registered: Registered, signal: AbortSignal): void {
    registered.running = this.#run(registered.lead, registered.running, signal);
  }

  async #run(lead: Lead, earlier: Promise<void>, signal: AbortSignal): Promise<void> {
    await earlier;
    if (signal.aborted) return;
    try {
      await lead(signal);
    } catch (error) {
      // After the end of a reign, failing is how a function stops.
      if (!signal.aborted) this.#onFailure(error);
    }
  }
}
