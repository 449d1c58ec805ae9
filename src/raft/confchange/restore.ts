/**
 * Rebuilds a membership from its stored form. A joint state is reached the way a live group reaches
 * it: first the outgoing voters one by one, then one joint change to the incoming half.
 */

import { ok, type Result } from "#base/result.ts";
import { EMPTY_TRACKER_CONFIG } from "../tracker/config.ts";
import type { Membership } from "../tracker/tracker.ts";
import type { ConfChangeSingle, ConfChangeType, ConfState, NodeId } from "../types.ts";
import { enterJoint, simple } from "./changer.ts";
import type { ChangeContext } from "./draft.ts";

export function restoreMembership(state: ConfState, context: ChangeContext): Result<Membership> {
  const outgoing = each("addNode", state.votersOutgoing);
  const incoming = [
    ...each("removeNode", state.votersOutgoing),
    ...each("addNode", state.voters),
    ...each("addLearnerNode", state.learners),
    ...each("addLearnerNode", state.learnersNext),
  ];
  const empty: Membership = { config: EMPTY_TRACKER_CONFIG, progress: new Map() };
  if (outgoing.length === 0) return oneByOne(empty, context, incoming);
  const before = oneByOne(empty, context, outgoing);
  return before.ok ? enterJoint(before.value, context, state.autoLeave, incoming) : before;
}

function oneByOne(
  from: Membership,
  context: ChangeContext,
  changes: readonly ConfChangeSingle[],
): Result<Membership> {
  let current = from;
  for (const change of changes) {
    const next = simple(current, context, [change]);
    if (!next.ok) return next;
    current = next.value;
  }
  return ok(current);
}

function each(type: ConfChangeType, ids: readonly NodeId[]): ConfChangeSingle[] {
  return ids.map((nodeId) => ({ type, nodeId }));
}
