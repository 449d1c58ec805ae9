/** gRPC status codes to `EngineError` and back, the only place where the two meet. */

import { EngineError, type ErrorCode } from "#base/error.ts";
import { CODE } from "#wire/http2/frames.ts";

/** By number. */
const CODES: readonly (ErrorCode | "ok")[] = [
  "ok",
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
];

/** Codes that gRPC does not have travel as others. */
const STANDS_FOR: Partial<Readonly<Record<ErrorCode, ErrorCode>>> = {
  conflict: "already-exists",
  "not-modified": "failed-precondition",
  forbidden: "permission-denied",
};

/** How a call failed, as its caller sees it: what the peer said, or that it could not be reached. */
export class CallError extends EngineError {}

/** No server has begun with the call: it may be made again, also by who must not do so twice. */
export class UnsentError extends CallError {}

/** The status of a finished call as an error; the message is the peer's own. */
export function errorOfStatus(status: number, message: string): CallError {
  const code = CODES[status];
  return new CallError(code === undefined || code === "ok" ? "unknown" : code, message);
}

export function statusOf(code: ErrorCode): number {
  return CODES.indexOf(STANDS_FOR[code] ?? code);
}

/** How gRPC reads the HTTP status of a server that does not speak gRPC. */
export function errorOfHttp(status: string): CallError {
  const codes: Readonly<Record<string, ErrorCode>> = {
    "400": "internal",
    "401": "unauthenticated",
    "403": "permission-denied",
    "404": "unimplemented",
    "429": "unavailable",
    "502": "unavailable",
    "503": "unavailable",
    "504": "unavailable",
  };
  const code = codes[status] ?? "unknown";
  return new CallError(code, `the server answers with HTTP status ${status} and not with gRPC`);
}

/** A call whose stream was reset, by the code; undefined if the connection is gone. */
export function errorOfReset(code: number | undefined, reason: string): CallError {
  switch (code) {
    case undefined:
    case CODE.REFUSED_STREAM:
      return new CallError("unavailable", reason);
    case CODE.CANCEL:
      return new CallError("cancelled", reason);
    case CODE.ENHANCE_YOUR_CALM:
      return new CallError("resource-exhausted", reason);
    case CODE.INADEQUATE_SECURITY:
      return new CallError("permission-denied", reason);
    default:
      return new CallError("internal", `${reason} (HTTP/2 error ${code})`);
  }
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
  if (code in STANDS_FOR) return "Unknown";
  // Go spells this one the American way.
  if (code === "cancelled") return "Canceled";
  return code.replace(/(?:^|-)([a-z])/g, (_, letter: string) => letter.toUpperCase());
}
