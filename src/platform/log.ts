/** The structured log: pino writing JSON lines to one file descriptor, behind the `Log` port. */

import { destination, type Logger, pino } from "pino";
import type { Log, LogFields } from "#base/ports.ts";

const LEVELS = ["debug", "info", "warn", "error", "fatal"] as const;

export type LogLevel = (typeof LEVELS)[number];

/** The lowest level that is written, which may change while the log is in use. */
export class LogThreshold {
  #rank: number;

  constructor(level: LogLevel) {
    this.#rank = LEVELS.indexOf(level);
  }

  set(level: LogLevel): void {
    this.#rank = LEVELS.indexOf(level);
  }

  passes(level: LogLevel): boolean {
    return LEVELS.indexOf(level) >= this.#rank;
  }
}

/** A log that writes to `fd` (2 = standard error) at or above `level`. */
export function createLog(level: LogLevel | LogThreshold, fd = 2, bindings: LogFields = {}): Log {
  const threshold = level instanceof LogThreshold ? level : new LogThreshold(level);
  const logger = pino(
    {
      level: "debug",
      base: null,
      messageKey: "msg",
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { error: serializeError, cause: serializeError },
    },
    destination({ fd, sync: true }),
  );
  return wrap(logger.child(bindings), threshold);
}

/** A log that drops everything, for tests and one-shot commands. */
export const silentLog: Log = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  child: () => silentLog,
};

function wrap(logger: Logger, threshold: LogThreshold): Log {
  const write = (level: "debug" | "info" | "warn" | "error") => {
    return (message: string, fields: LogFields = {}) => {
      if (threshold.passes(level)) logger[level](fields, message);
    };
  };
  return {
    debug: write("debug"),
    info: write("info"),
    warn: write("warn"),
    error: write("error"),
    child: (fields) => wrap(logger.child(fields), threshold),
  };
}

function serializeError(value: unknown): unknown {
  if (!(value instanceof Error)) return value;
  return { type: value.name, message: value.message, stack: value.stack };
}
