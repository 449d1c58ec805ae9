/**
 * Ports for what is not deterministic: time, entropy, logging. Code takes them as values, so that
 * the simulator and tests can stand in for the machine. The real ones are made in the composition
 * root only (`platform/real-*.ts`).
 */

/** A timer that was set and may be cancelled; cancelling twice is fine. */
export interface Timer {
  cancel(): void;
}

export interface Clock {
  /** Wall clock, milliseconds since the epoch; may jump. For timestamps only. */
  nowMs(): number;
  /** Monotonic milliseconds, for measuring and scheduling. */
  monotonicMs(): number;
  /** Calls once after `delayMs`; the timer does not keep the process alive. */
  setTimer(delayMs: number, callback: () => void): Timer;
}

export interface Random {
  /** An integer in [0, bound). */
  int(bound: number): number;
  /** `length` cryptographically strong bytes (seeded ones in the simulator). */
  bytes(length: number): Uint8Array;
}

export type LogFields = Readonly<Record<string, unknown>>;

/** Structured log: a short constant message, the facts in fields. */
export interface Log {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  /** A log that adds `fields` to every line. */
  child(fields: LogFields): Log;
}
