/**
 * The one error type that crosses a boundary (HTTP, gRPC, a port). Its `code` is a closed set named
 * after gRPC's status codes, mapped once to HTTP (`api/errors-to-http.ts`) and once to gRPC
 * (`platform/grpc/status.ts`). Nobody matches on message text.
 */

export const ERROR_CODES = [
  "cancelled",
  "unknown",
  "invalid-argument",
  "deadline-exceeded",
  "not-found",
  "already-exists",
  "permission-denied",
  "resource-exhausted",
  "failed-precondition",
  "aborted",
  "out-of-range",
  "unimplemented",
  "internal",
  "unavailable",
  "data-loss",
  "unauthenticated",
  /** HTTP 409 without a gRPC twin: the object is in the wrong state for the request. */
  "conflict",
  /** HTTP 304: already so (container already started or stopped). */
  "not-modified",
  /** HTTP 403 where Docker answers "forbidden" for what is not permitted to anyone. */
  "forbidden",
] as const;

export type ErrorCode = (typeof ERROR_CODES)[number];

export interface EngineErrorOptions {
  readonly cause?: unknown;
  /** Whether the same call may succeed later without a change by the caller. */
  readonly retryable?: boolean;
}

export class EngineError extends Error {
  override readonly name = "EngineError";
  readonly code: ErrorCode;
  readonly retryable: boolean;

  constructor(code: ErrorCode, message: string, options: EngineErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.retryable = options.retryable ?? (code === "unavailable" || code === "aborted");
  }

  /** Any thrown value as an EngineError; what is not one becomes `fallback` (a server fault). */
  static from(thrown: unknown, fallback: ErrorCode = "unknown"): EngineError {
    if (thrown instanceof EngineError) return thrown;
    return new EngineError(fallback, messageOf(thrown), { cause: thrown });
  }
}

/** True for an EngineError of one of the given codes. */
export function isErrorCode(thrown: unknown, ...codes: readonly ErrorCode[]): boolean {
  return thrown instanceof EngineError && codes.includes(thrown.code);
}

/** The message of any thrown value, for logs and wrapping. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
