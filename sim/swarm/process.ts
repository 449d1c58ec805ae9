/**
 * A process on a simulated machine: it may be held up, and it may end at any moment. What it set in
 * motion (timers, calls, disk writes) then never comes back to it: its promises stay as they are,
 * like memory that nobody will look at again.
 */

import type { Clock, Timer } from "#base/ports.ts";
import type { Timeline } from "../timeline.ts";

/** Some moment in 2023, so that wall clocks show plausible times. */
const EPOCH_MS = 1_700_000_000_000;

export interface ClockFaults {
  /** How fast the machine's clock runs: 1 is right. */
  readonly rate: number;
  /** How far its wall clock is off, milliseconds. */
  readonly offsetMs: number;
}

export class Process implements Clock {
  /** The node id that its certificate carries. */
  readonly nodeId: string;
  readonly #timeline: Timeline;
  readonly #faults: ClockFaults;
  #isAlive = true;
  #heldUntil = 0;

  constructor(nodeId: string, timeline: Timeline, faults: ClockFaults) {
    this.nodeId = nodeId;
    this.#timeline = timeline;
    this.#faults = faults;
  }

  /** True time at which it was, or will be, let go on; 0 if it never was held up. */
  get heldUntilMs(): number {
    return this.#heldUntil;
  }

  get isAlive(): boolean {
    return this.#isAlive;
  }

  end(): void {
    this.#isAlive = false;
  }

  /** Nothing runs for a while; then everything that waited does. */
  hold(durationMs: number): void {
    this.#heldUntil = this.#timeline.now + durationMs;
  }

  nowMs(): number {
    return EPOCH_MS + this.#faults.offsetMs + Math.floor(this.monotonicMs());
  }

  monotonicMs(): number {
    return this.#timeline.now * this.#faults.rate;
  }

  setTimer(delayMs: number, callback: () => void): Timer {
    let isCancelled = false;
    this.after(Math.ceil(delayMs / this.#faults.rate), () => {
      if (!isCancelled) callback();
    });
    return {
      cancel: () => {
        isCancelled = true;
      },
    };
  }

  /** Runs in this process after `delayMs` of true time, unless it has ended by then. */
  after(delayMs: number, run: () => void): void {
    // As everywhere, a timer takes a moment: loops over timers must not stop the world's time.
    this.#timeline.after(Math.max(1, delayMs), () => this.#runOrWait(run));
  }

  /** Runs after `delayMs` of true time, also if this process has ended by then. */
  outlivedBy(delayMs: number, run: () => void): void {
    this.#timeline.after(Math.max(1, delayMs), run);
  }

  /** Resolves after `delayMs` of true time; never, if the process ends before. */
  sleep(delayMs: number): Promise<void> {
    return new Promise((resolve) => this.after(delayMs, resolve));
  }

  #runOrWait(run: () => void): void {
    if (!this.#isAlive) return;
    const wait = this.#heldUntil - this.#timeline.now;
    if (wait > 0) this.#timeline.after(wait, () => this.#runOrWait(run));
    else run();
  }
}
