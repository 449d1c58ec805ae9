/** gRPC status codes to `EngineError` and back, the only place where the two meet. */

import { Metadata, type ServiceError, status } from "@grpc/grpc-js";
import { EngineError, type ErrorCode, messageOf } from "#base/error.ts";

const CODE_OF_STATUS: Readonly<Record<number, ErrorCode>> = {
  [status.CANCELLED]: "cancelled",
  [status.UNKNOWN]: "unknown",
  [status.INVALID_ARGUMENT]: "invalid-argument",
  [status.DEADLINE_EXCEEDED]: "deadline-exceeded",
  [status.NOT_FOUND]: "not-found",
  [status.ALREADY_EXISTS]: "already-exists",
  [status.PERMISSION_DENIED]: "permission-denied",
  [status.RESOURCE_EXHAUSTED]: "resource-exhausted",
  [status.FAILED_PRECONDITION]: "failed-precondition",
  [status.ABORTED]: "aborted",
  [status.OUT_OF_RANGE]: "out-of-range",
  [status.UNIMPLEMENTED]: "unimplemented",
  [status.INTERNAL]: "internal",
  [status.UNAVAILABLE]: "unavailable",
  [status.DATA_LOSS]: "data-loss",
  [status.UNAUTHENTICATED]: "unauthenticated",
};

const STATUS_OF_CODE: Readonly<Record<ErrorCode, status>> = {
  cancelled: status.CANCELLED,
  unknown: status.UNKNOWN,
  "invalid-argument": status.INVALID_ARGUMENT,
  "deadline-exceeded": status.DEADLINE_EXCEEDED,
  "not-found": status.NOT_FOUND,
  "already-exists": status.ALREADY_EXISTS,
  "permission-denied": status.PERMISSION_DENIED,
  "resource-exhausted": status.RESOURCE_EXHAUSTED,
  "failed-precondition": status.FAILED_PRECONDITION,
  aborted: status.ABORTED,
  "out-of-range": status.OUT_OF_RANGE,
  unimplemented: status.UNIMPLEMENTED,
  internal: status.INTERNAL,
  unavailable: status.UNAVAILABLE,
  "data-loss": status.DATA_LOSS,
  unauthenticated: status.UNAUTHENTICATED,
  conflict: status.ALREADY_EXISTS,
  "not-modified": status.FAILED_PRECONDITION,
  forbidden: status.PERMISSION_DENIED,
};

/** The error of a finished call as an EngineError; the message is the peer's own. */
export function fromServiceError(error: unknown): EngineError {
  if (error instanceof EngineError) return error;
  const failure = error as Partial<ServiceError>;
  const code = typeof failure.code === "number" ? CODE_OF_STATUS[failure.code] : undefined;
  return new EngineError(code ?? "unknown", failure.details ?? messageOf(error), { cause: error });
}

/** What a handler threw, as the status that the peer reads. */
export function toServiceError(thrown: unknown): Partial<ServiceError> {
  const error = EngineError.from(thrown);
  return {
    code: STATUS_OF_CODE[error.code],
    details: error.message,
    metadata: new Metadata(),
  };
}

/**
 * The error as Go's gRPC library shows it, "rpc error: code = NotFound desc = …": docker hands such
 * texts through to its users, and scripts have come to rely on them.
 */
export function asGoShows(thrown: unknown): EngineError {
  const { code, message, retryable } = EngineError.from(thrown);
  const text = `rpc error: code = ${goNameOf(code)} desc = ${message}`;
  return new EngineError(code, text, { cause: thrown, retryable });
}

/** "not-found" → "NotFound"; what is none of gRPC's codes is unknown to it. */
function goNameOf(code: ErrorCode): string {
  if (CODE_OF_STATUS[STATUS_OF_CODE[code]] !== code) return "Unknown";
  // Go spells this one the American way.
  if (code === "cancelled") return "Canceled";
  return code.replace(/(?:^|-)([a-z])/g, (_, letter: string) => letter.toUpperCase());
}
