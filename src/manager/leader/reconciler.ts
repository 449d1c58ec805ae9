/**
 * Runs the planners while this manager leads. A turn is taken when something was committed, when a
 * planner asked to be woken, or when the turn before was full; what happens meanwhile is taken
 * together. A turn does not wait for the one before it to be committed: the store shows it what is
 * on its way. If an entry is lost or a planner fails, the reign ends and all that the planners know
 * is thrown away; whoever leads next starts from the store.
 */

import { EngineError, isErrorCode } from "#base/error.ts";
import { newId } from "#base/ids.ts";
import type { Clock, Log, Random, Timer } from "#base/ports.ts";
import type { Planner } from "#plan/planner.ts";
import { createPlanners } from "#plan/planners.ts";
import { WakeQueue } from "#plan/wake-queue.ts";
import { type Deferred, deferred, sleep } from "#platform/async.ts";
import type { Change, ChangeBatch } from "#store/types.ts";
import type { ManagerPart } from "../manager-ports.ts";
import type { ClusterState } from "../state.ts";
import { ensureNetworks } from "./bootstrap.ts";
import { type TurnResult, Turns } from "./turn.ts";

/** Turns proposed and not yet committed; more would only make a lost one cost more. */
const TURNS_IN_FLIGHT_MAX = 8;
const RETRY_MS = 100;

export interface ReconcilerOptions {
  readonly state: ClusterState;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** The planners of one reign; all of them unless a test says otherwise. */
  readonly planners?: () => readonly Planner[];
}

/** The reconciler as a part of the manager. */
export function reconcilerPart(options: ReconcilerOptions): ManagerPart {
  return { name: "planners", lead: (signal) => runReconciler(options, signal) };
}

/** Plans until the signal ends it, or rejects with why it cannot go on. */
export async function runReconciler(
  options: ReconcilerOptions,
  signal: AbortSignal,
): Promise<void> {
  const reign = new Reign(options, signal);
  try {
    await reign.run();
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    reign.close();
  }
}

class Reign {
  readonly #options: ReconcilerOptions;
  readonly #signal: AbortSignal;
  readonly #turns: Turns;
  readonly #wakes = new WakeQueue<number>();
  readonly #stop: () => void;
  #begun = false;
  #inFlight = 0;
  /** Index up to which the planners were told what was committed. */
  #told = 0;
  /** A reason to take a turn that has not been acted upon. */
  #due = true;
  #called: Deferred<void> | undefined;
  #timer: Timer | undefined;
  #failure: { readonly error: unknown } | undefined;

  constructor(options: ReconcilerOptions, signal: AbortSignal) {
    this.#options = options;
    this.#signal = signal;
    this.#turns = new Turns((options.planners ?? createPlanners)());
    this.#stop = () => this.#call();
    signal.addEventListener("abort", this.#stop, { once: true });
  }

  async run(): Promise<void> {
    const { state } = this.#options;
    // Before the first turn, so that nothing is committed in between without being told.
    const { view, batches } = state.viewAndWatch({ signal: this.#signal });
    this.#told = view.index;
    void this.#follow(batches);
    while (!this.#signal.aborted) {
      if (this.#failure !== undefined) throw this.#failure.error;
      if (this.#due && this.#inFlight < TURNS_IN_FLIGHT_MAX) await this.#turn();
      else await this.#wait();
    }
  }

  close(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#signal.removeEventListener("abort", this.#stop);
  }

  /** The watch only says that there is something; a turn takes in whatever there is by then. */
  async #follow(batches: AsyncIterable<ChangeBatch>): Promise<void> {
    try {
      for await (const { index } of batches) {
        if (index <= this.#told) continue;
        this.#due = true;
        this.#call();
      }
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Runs one turn and goes on when it is proposed. */
  async #turn(): Promise<void> {
    const { state, log } = this.#options;
    this.#due = false;
    const turn: { result?: TurnResult } = {};
    const proposed = deferred();
    const done = state.update("leader", (tx) => {
      turn.result = this.#plan(tx);
      proposed.resolve();
    });
    this.#inFlight += 1;
    const settled = done.then(
      () => this.#landed(),
      (error: unknown) => {
        this.#landed();
        // A turn that ran and was lost cannot be taken back: what the planners know is wrong now.
        if (turn.result !== undefined) this.#fail(error);
        return { error };
      },
    );
    const early = await Promise.race([proposed.promise, settled]);
    if (turn.result === undefined) {
      // Refused before any planner ran: nothing is lost.
      const error = (early as { readonly error?: unknown } | undefined)?.error;
      if (!isErrorCode(error, "unavailable")) throw error;
      this.#due = true;
      await sleep(this.#options.clock, RETRY_MS, this.#signal);
      return;
    }
    const { full, objects } = turn.result;
    if (objects > 0) log.debug("turn", { objects, full });
    this.#setTimer();
    if (!full) return;
    this.#due = true;
    // Lets proposals, acknowledgements and news through between two long turns.
    await sleep(this.#options.clock, 0, this.#signal);
  }

  #plan(tx: Parameters<Parameters<ClusterState["update"]>[1]>[0]): TurnResult {
    const { random } = this.#options;
    while (this.#wakes.take(tx.nowMs) !== undefined);
    const committed = this.#takeCommitted();
    const makeId = () => newId(random);
    if (!this.#begun) ensureNetworks(tx, makeId);
    this.#begun = true;
    return this.#turns.run(
      {
        tx,
        newId: makeId,
        random: (bound) => random.int(bound),
        wakeAt: (timeMs) => this.#wakes.set(timeMs, timeMs),
      },
      committed,
    );
  }

  /**
   * All that is committed and not told yet. The transaction sees it; planners that did not would
   * write from what they remember, and take it back.
   */
  #takeCommitted(): Change[] {
    const committed: Change[] = [];
    for (;;) {
      const batch = this.#options.state.batchAfter(this.#told);
      if (batch === undefined) return committed;
      if (batch === "unavailable") {
        throw new EngineError("out-of-range", "the planners fell behind the store");
      }
      this.#told = batch.index;
      for (const change of batch.changes) committed.push(change);
    }
  }

  #landed(): undefined {
    this.#inFlight -= 1;
    this.#call();
  }

  #fail(error: unknown): void {
    this.#failure ??= { error };
    this.#call();
  }

  #call(): void {
    this.#called?.resolve();
  }

  async #wait(): Promise<void> {
    this.#called = deferred();
    await this.#called.promise;
    this.#called = undefined;
  }

  #setTimer(): void {
    const { state, clock } = this.#options;
    this.#timer?.cancel();
    this.#timer = undefined;
    const next = this.#wakes.next();
    if (next === undefined) return;
    this.#timer = clock.setTimer(Math.max(next - state.nowMs(), 1), () => {
      this.#due = true;
      this.#call();
    });
  }
}
