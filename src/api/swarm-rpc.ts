/**
 * Calls to the cluster's services on behalf of HTTP requests: the time they may take, and docker's
 * habit of showing the code of a failed one in its message, on which scripts have come to rely.
 */

import { EngineError, isErrorCode } from "#base/error.ts";
import type { CallOptions } from "#platform/grpc/client.ts";
import { asGoShows } from "#platform/grpc/status.ts";

/** A client's wish may take this long, however long the client would wait. */
export const CALL: CallOptions = { timeoutMs: 20_000 };

/** The answer of a call; its error says "rpc error: code = … desc = …". */
export async function rpc<T>(call: Promise<T>): Promise<T> {
  try {
    return await call;
  } catch (thrown) {
    throw asGoShows(thrown);
  }
}

/** The answer, or undefined when there is no such object. */
export async function rpcOrNone<T>(call: Promise<T>): Promise<T | undefined> {
  try {
    return await call;
  } catch (thrown) {
    if (isErrorCode(thrown, "not-found")) return undefined;
    throw asGoShows(thrown);
  }
}

/** The part of a response that every server sends. */
export function present<T>(value: T | undefined, what: string): T {
  if (value === undefined) throw new EngineError("internal", `the manager sent no ${what}`);
  return value;
}
