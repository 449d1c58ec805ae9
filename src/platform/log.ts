/** The structured log: pino writing JSON lines to one file descriptor, behind the `Log` port. */

import { destination, type Logger, pino } from "pino";
import type { Log, LogFields } from "#base/ports.ts";

export type LogLevel = "debug" | "info" | "warn" | "error" | "fatal";

/** A log that writes to `fd` (2 = standard error) at or above `level`. */
export function createLog(level: LogLevel, fd = 2, bindings: LogFields = {}): Log {
  const logger = pino(
    {
      level,
      base: null,
      messageKey: "msg",
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { error: serializeError, cause: serializeError },
    },
    destination({ fd, sync: true }),
  );
  return wrap(logger.child(bindings));
}

/** A log that drops everything, for tests and one-shot commands. */
export const silentLog: Log = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  child: () => silentLog,
};

function wrap(logger: Logger): Log {
  return {
    debug: (message, fields = {}) => logger.debug(fields, message),
    info: (message, fields = {}) => logger.info(fields, message),
    warn: (message, fields = {}) => logger.warn(fields, message),
    error: (message, fields = {}) => logger.error(fields, message),
    child: (fields) => wrap(logger.child(fields)),
  };
}

function serializeError(value: unknown): unknown {
  if (!(value instanceof Error)) return value;
  return { type: value.name, message: value.message, stack: value.stack };
}
