/** How a manager says that it does not lead and would have to send a call on a second time. */

import { EngineError, isErrorCode, messageOf } from "#base/error.ts";
import type { RpcContext } from "#platform/grpc/server.ts";

/** SwarmKit's words, so that managers of both kinds understand each other; text is all that there is. */
const SECOND_HOP = "more than one redirect to leader from: ";

export function refuseToForward({ metadata }: RpcContext): EngineError {
  return new EngineError("resource-exhausted", `${SECOND_HOP}[${metadata["redirect"] ?? ""}]`);
}

/** The call was not executed then. */
export function refusedToForward(error: unknown): boolean {
  return isErrorCode(error, "resource-exhausted") && messageOf(error).startsWith(SECOND_HOP);
}
