/**
 * Keeps the node's certificate fresh: in time, at once when it expired, and when the cluster asks
 * for it or has given the node another role. When and after how many failures is decided by
 * `pki/renewal.ts`.
 */

import { messageOf } from "#base/error.ts";
import type { Clock, Log, Random } from "#base/ports.ts";
import { renewalDelayMs } from "#pki/renewal.ts";
import { type Deferred, deferred, sleep } from "#platform/async.ts";
import type { NodeRole } from "#wire/gen/swarmkit/types_pb.js";
import type { NodeIdentity } from "./identity.ts";

export interface RenewerOptions {
  readonly identity: Pick<NodeIdentity, "peer" | "role" | "validity">;
  /** One attempt; the identity has changed when it resolves. */
  readonly renew: (signal: AbortSignal) => Promise<void>;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

export class Renewer {
  readonly #options: RenewerOptions;
  #asked = false;
  #expectedRole: NodeRole | undefined;
  #failures = 0;
  #wake: Deferred<void> = deferred();

  constructor(options: RenewerOptions) {
    this.#options = options;
  }

  /** The cluster wants the node to have another certificate. */
  request(): void {
    this.#asked = true;
    this.#wake.resolve();
  }

  /** The role that the cluster gave the node; renews until the certificate shows it. */
  expectRole(role: NodeRole): void {
    if (this.#expectedRole === role) return;
    this.#expectedRole = role;
    this.#failures = 0;
    this.#wake.resolve();
  }

  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      this.#wake = deferred();
      const woken = await this.#pause(signal);
      if (signal.aborted) return;
      // What woke us may ask for a pause of its own: decide anew.
      if (woken) continue;
      await this.#attempt(signal);
    }
  }

  async #attempt(signal: AbortSignal): Promise<void> {
    const { renew, identity, log } = this.#options;
    const asked = this.#asked;
    try {
      this.#asked = false;
      await renew(signal);
      // One that is due at once is of a clock far behind ours: asking without a pause gets no better one.
      this.#failures = this.#roleFits() && !this.#isDue() ? 0 : this.#failures + 1;
      log.info("certificate renewed", {
        unit: identity.peer.role,
        until: new Date(identity.validity.notAfterMs).toISOString(),
      });
    } catch (error) {
      if (signal.aborted) return;
      this.#asked ||= asked;
      this.#failures += 1;
      log.warn("certificate not renewed, trying again", { reason: messageOf(error) });
    }
  }

  /** True when it was ended before its time. */
  async #pause(signal: AbortSignal): Promise<boolean> {
    const { identity, clock, random } = this.#options;
    const state = {
      certificate: identity.validity,
      wanted: this.#asked || !this.#roleFits(),
      failures: this.#failures,
    };
    const delayMs = renewalDelayMs(state, clock.nowMs(), random);
    const pause = new AbortController();
    const stop = () => pause.abort();
    signal.addEventListener("abort", stop, { once: true });
    // Timers hold at most 2^31 ms; looking again earlier changes nothing.
    const timer = sleep(clock, Math.min(delayMs, MAX_PAUSE_MS), pause.signal).then(
      () => delayMs > MAX_PAUSE_MS,
      () => true,
    );
    const woken = await Promise.race([timer, this.#wake.promise.then(() => true)]);
    signal.removeEventListener("abort", stop);
    pause.abort();
    return woken;
  }

  #isDue(): boolean {
    const { identity, clock, random } = this.#options;
    const state = { certificate: identity.validity, wanted: false, failures: 0 };
    return renewalDelayMs(state, clock.nowMs(), random) === 0;
  }

  #roleFits(): boolean {
    return this.#expectedRole === undefined || this.#expectedRole === this.#options.identity.role;
  }
}

const MAX_PAUSE_MS = 24 * 60 * 60 * 1000;
