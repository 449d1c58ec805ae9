/**
 * Calls to the cluster's services on behalf of HTTP requests: the time they may take, and docker's
 * habit of showing the code of a failed one in its message, on which scripts have come to rely.
 */

import { EngineError, type ErrorCode, isErrorCode } from "#base/error.ts";
import type { CallOptions } from "#platform/grpc/client.ts";

/** A client's wish may take this long, however long the client would wait. */
export const CALL: CallOptions = { timeoutMs: 20_000 };

/** gRPC's names of its codes; what is none of them is unknown to it. */
const CODE_NAMES: Readonly<Partial<Record<ErrorCode, string>>> = {
  cancelled: "Canceled",
  "invalid-argument": "InvalidArgument",
  "deadline-exceeded": "DeadlineExceeded",
  "not-found": "NotFound",
  "already-exists": "AlreadyExists",
  "permission-denied": "PermissionDenied",
  "resource-exhausted": "ResourceExhausted",
  "failed-precondition": "FailedPrecondition",
  aborted: "Aborted",
  "out-of-range": "OutOfRange",
  unimplemented: "Unimplemented",
  internal: "Internal",
  unavailable: "Unavailable",
  "data-loss": "DataLoss",
  unauthenticated: "Unauthenticated",
};

/** The answer of a call; its error says "rpc error: code = … desc = …". */
export async function rpc<T>(call: Promise<T>): Promise<T> {
  try {
    return await call;
  } catch (thrown) {
    throw withCode(thrown);
  }
}

/** The answer, or undefined when there is no such object. */
export async function rpcOrNone<T>(call: Promise<T>): Promise<T | undefined> {
  try {
    return await call;
  } catch (thrown) {
    if (isErrorCode(thrown, "not-found")) return undefined;
    throw withCode(thrown);
  }
}

function withCode(thrown: unknown): EngineError {
  const error = EngineError.from(thrown);
  const message = `rpc error: code = ${CODE_NAMES[error.code] ?? "Unknown"} desc = ${error.message}`;
  return new EngineError(error.code, message, { cause: thrown, retryable: error.retryable });
}

/** The part of a response that every server sends. */
export function present<T>(value: T | undefined, what: string): T {
  if (value === undefined) throw new EngineError("internal", `the manager sent no ${what}`);
  return value;
}
