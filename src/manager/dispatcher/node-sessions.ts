/**
 * Which nodes are in touch, under which session, and until when they are believed to be alive. A
 * session ends (its signal is aborted) when the node registers anew, is removed, or misses its
 * heartbeats; every stream of the node listens to that signal.
 *
 * Deadlines are checked by one lazily re-armed timer per node, so that a heartbeat costs an
 * assignment. A timer that fires late itself (this process was stopped) grants one more period: the
 * heartbeats that came meanwhile have not been read yet.
 */

import { EngineError } from "#base/error.ts";
import { newId } from "#base/ids.ts";
import type { Clock, Random, Timer } from "#base/ports.ts";

/** An end of the session, for one reason: `signal.reason` is the EngineError that peers are told. */
export interface NodeSession {
  readonly id: string;
  readonly nodeId: string;
  readonly signal: AbortSignal;
}

export interface NodeSessionsOptions {
  readonly clock: Clock;
  readonly random: Random;
  /** The node was not heard of in time; `unknown` if it has not been since this manager leads. */
  readonly onExpired: (nodeId: string, unknown: boolean) => void;
  /** Whether the node is a manager that does not answer the raft group either. */
  readonly isSilent: (nodeId: string) => boolean;
}

interface Entry {
  /** Undefined while a node that an earlier leader knew has not come back. */
  session: NodeSession | undefined;
  readonly end: AbortController;
  timer: Timer | undefined;
  /** Monotonic milliseconds. */
  deadlineMs: number;
  /** When the timer is set to fire. */
  armedMs: number;
  periodMs: number;
}

interface Attempts {
  count: number;
  lastMs: number;
}

export const DEFAULT_HEARTBEAT_PERIOD_MS = 5_000;
/** Periods without a heartbeat after which a node is down; twice that after a change of leader. */
const GRACE_PERIODS = 3;
/**
 * After a change of leader, for a manager that the raft group does not hear of: mostly the leader of
 * before, on a host that died. Two witnesses need no doubled patience; with the election before it,
 * this is about what any other node gets.
 */
const SILENT_GRACE_PERIODS = 2.5;
const RATE_LIMIT_COUNT = 3;
const RATE_LIMIT_PERIOD_MS = 8_000;
/** A timer later than this share of a period says that this process itself was not running. */
const STALL_SHARE = 0.5;

export class NodeSessions {
  readonly #options: NodeSessionsOptions;
  readonly #entries = new Map<string, Entry>();
  readonly #attempts = new Map<string, Attempts>();
  #periodMs = DEFAULT_HEARTBEAT_PERIOD_MS;

  constructor(options: NodeSessionsOptions) {
    this.#options = options;
  }

  /** From now on chosen for heartbeats; what was promised to a node before still holds. */
  setPeriod(periodMs: number): void {
    this.#periodMs = periodMs;
  }

  /** A node that an earlier leader knew: it has time to find this one. */
  expect(nodeId: string): void {
    this.#remove(nodeId, new EngineError("invalid-argument", "session invalid"));
    const periodMs = this.#choosePeriod();
    this.#put(nodeId, undefined, new AbortController(), periodMs, 2 * GRACE_PERIODS * periodMs);
    const entry = this.#entries.get(nodeId);
    if (entry !== undefined) this.#doubt(nodeId, entry);
  }

  /** Throws `unavailable` when a node registers so often that something must be wrong with it. */
  checkRate(nodeId: string): void {
    const nowMs = this.#options.clock.monotonicMs();
    const attempts = this.#attempts.get(nodeId) ?? { count: 0, lastMs: nowMs };
    if (nowMs - attempts.lastMs > RATE_LIMIT_PERIOD_MS) attempts.count = 0;
    attempts.count += 1;
    this.#attempts.set(nodeId, attempts);
    if (attempts.count > RATE_LIMIT_COUNT) {
      throw new EngineError(
        "unavailable",
        `node ${nodeId} exceeded rate limit count of registrations`,
      );
    }
    attempts.lastMs = nowMs;
  }

  /** A new session; one that the node had before ends. */
  open(nodeId: string): NodeSession {
    this.#remove(nodeId, new EngineError("invalid-argument", "session invalid"));
    const end = new AbortController();
    const session = { id: newId(this.#options.random), nodeId, signal: end.signal };
    const periodMs = this.#choosePeriod();
    this.#put(nodeId, session, end, periodMs, GRACE_PERIODS * periodMs);
    return session;
  }

  find(nodeId: string, sessionId: string): NodeSession | undefined {
    const session = this.#entries.get(nodeId)?.session;
    return sessionId !== "" && session?.id === sessionId ? session : undefined;
  }

  /** Throws what SwarmKit's agents understand: `not-found` or `invalid-argument`. */
  get(nodeId: string, sessionId: string): NodeSession {
    if (!this.#entries.has(nodeId)) throw new EngineError("not-found", "node not registered");
    const session = this.find(nodeId, sessionId);
    if (session === undefined) throw new EngineError("invalid-argument", "session invalid");
    return session;
  }

  /** The node is alive; returns when the next heartbeat is expected, milliseconds from now. */
  beat(nodeId: string, sessionId: string): number {
    this.get(nodeId, sessionId);
    const entry = this.#entries.get(nodeId);
    const periodMs = this.#choosePeriod();
    if (entry !== undefined) {
      entry.periodMs = periodMs;
      entry.deadlineMs = this.#options.clock.monotonicMs() + GRACE_PERIODS * periodMs;
      if (entry.deadlineMs < entry.armedMs) this.#arm(nodeId, entry);
    }
    return periodMs;
  }

  /** A sign of life that is no heartbeat: the node has a full grace period from now. */
  touch(nodeId: string): void {
    const entry = this.#entries.get(nodeId);
    if (entry === undefined) return;
    const graceMs = GRACE_PERIODS * entry.periodMs;
    // Always later than what was promised, so that `#doubt` sees that something was heard.
    entry.deadlineMs = Math.max(entry.deadlineMs + 1, this.#options.clock.monotonicMs() + graceMs);
  }

  /** Ends the node's session, if any, for that reason. */
  drop(nodeId: string, reason: EngineError): void {
    this.#attempts.delete(nodeId);
    this.#remove(nodeId, reason);
  }

  /** Ends all. */
  clear(reason: EngineError): void {
    for (const nodeId of this.#entries.keys()) this.#remove(nodeId, reason);
    this.#attempts.clear();
  }

  #remove(nodeId: string, reason: EngineError): void {
    const entry = this.#entries.get(nodeId);
    if (entry === undefined) return;
    this.#entries.delete(nodeId);
    entry.timer?.cancel();
    entry.end.abort(reason);
  }

  #put(
    nodeId: string,
    session: NodeSession | undefined,
    end: AbortController,
    periodMs: number,
    graceMs: number,
  ): void {
    const deadlineMs = this.#options.clock.monotonicMs() + graceMs;
    const entry: Entry = { session, end, timer: undefined, deadlineMs, armedMs: 0, periodMs };
    this.#entries.set(nodeId, entry);
    this.#arm(nodeId, entry);
  }

  #arm(nodeId: string, entry: Entry): void {
    entry.timer?.cancel();
    entry.armedMs = entry.deadlineMs;
    const delayMs = Math.max(0, entry.deadlineMs - this.#options.clock.monotonicMs());
    entry.timer = this.#options.clock.setTimer(delayMs, () => this.#check(nodeId, entry));
  }

  #check(nodeId: string, entry: Entry): void {
    const nowMs = this.#options.clock.monotonicMs();
    const stalled = nowMs - entry.armedMs > STALL_SHARE * entry.periodMs;
    if (stalled) entry.deadlineMs = Math.max(entry.deadlineMs, nowMs + entry.periodMs);
    if (nowMs < entry.deadlineMs) {
      this.#arm(nodeId, entry);
      return;
    }
    this.#remove(nodeId, new EngineError("not-found", "node not registered"));
    this.#options.onExpired(nodeId, entry.session === undefined);
  }

  /** Shortens the wait for a node that an earlier leader knew, if nothing at all is heard of it. */
  #doubt(nodeId: string, entry: Entry): void {
    const { clock, isSilent } = this.#options;
    const promisedMs = entry.deadlineMs;
    const timer = clock.setTimer(SILENT_GRACE_PERIODS * entry.periodMs, () => {
      const isAwaited = this.#entries.get(nodeId) === entry && entry.deadlineMs === promisedMs;
      if (!isAwaited || !isSilent(nodeId)) return;
      entry.deadlineMs = clock.monotonicMs();
      this.#arm(nodeId, entry);
    });
    entry.end.signal.addEventListener("abort", () => timer.cancel(), { once: true });
  }

  /** Spread over a fifth of the period, so that nodes do not come all at once. */
  #choosePeriod(): number {
    const spreadMs = Math.floor(this.#periodMs / 10);
    const offsetMs = spreadMs === 0 ? 0 : this.#options.random.int(2 * spreadMs + 1) - spreadMs;
    return this.#periodMs + offsetMs;
  }
}
