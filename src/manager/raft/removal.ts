/**
 * How a member is told that the group has removed it. Code and text are SwarmKit's, whose managers
 * compare both: the text is part of the wire. Anything else that was "not found" (a member, an
 * address, something between the two) does not mean it, and must never make a member forget its log.
 */

import { EngineError, isErrorCode, messageOf } from "#base/error.ts";

const REMOVED = "raft: member was removed from the cluster";

export function removedRefusal(): EngineError {
  return new EngineError("not-found", REMOVED);
}

export function saysRemoved(error: unknown): boolean {
  return isErrorCode(error, "not-found") && messageOf(error) === REMOVED;
}
