/**
 * The one table from EngineError codes to HTTP statuses, as docker answers them, and the body that
 * goes with one. What is not an EngineError is a fault of ours: 500.
 */

import { EngineError, type ErrorCode } from "#base/error.ts";

const STATUS_OF_CODE: Readonly<Record<ErrorCode, number>> = {
  "invalid-argument": 400,
  "failed-precondition": 400,
  "out-of-range": 400,
  unauthenticated: 401,
  "permission-denied": 403,
  forbidden: 403,
  "not-found": 404,
  "already-exists": 409,
  conflict: 409,
  "not-modified": 304,
  unimplemented: 501,
  unavailable: 503,
  cancelled: 500,
  unknown: 500,
  "deadline-exceeded": 500,
  "resource-exhausted": 500,
  aborted: 500,
  internal: 500,
  "data-loss": 500,
};

export interface HttpError {
  readonly status: number;
  /** Undefined where the status has no body. */
  readonly body: { readonly message: string } | undefined;
}

export function toHttpError(thrown: unknown): HttpError {
  const error = EngineError.from(thrown, "internal");
  const status = STATUS_OF_CODE[error.code];
  return { status, body: status === 304 ? undefined : { message: error.message } };
}
