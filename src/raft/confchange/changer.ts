/**
 * Membership changes as pure functions: membership in, next membership or refusal out.
 *
 * `simple` changes at most one voter. `enterJoint` starts any change; until `leaveJoint` both the
 * old and the new majority must agree to everything. Refusals are values, because whether a change
 * fits depends on what was applied before it.
 */

import { err, ok, type Result } from "#base/result.ts";
import type { Membership } from "../tracker/tracker.ts";
import type { ConfChangeSingle, ConfChangeV2, NodeId } from "../types.ts";
import { applyChanges, type ChangeContext, type Draft, draftOf, seal, setRole } from "./draft.ts";

export type Change = (from: Membership) => Result<Membership>;

/** The change that a membership entry asks for. */
export function changeOf(change: ConfChangeV2, context: ChangeContext): Change {
  if (leavesJoint(change)) return (from) => leaveJoint(from, context);
  if (entersJoint(change)) {
    const autoLeave = change.transition !== "jointExplicit";
    return (from) => enterJoint(from, context, autoLeave, change.changes);
  }
  return (from) => simple(from, context, change.changes);
}

/** An entry without changes ends the joint state. */
export function leavesJoint(change: ConfChangeV2): boolean {
  return change.transition === "auto" && change.changes.length === 0;
}

/** More than one change, or an explicit wish, takes the joint protocol. */
function entersJoint(change: ConfChangeV2): boolean {
  return change.transition !== "auto" || change.changes.length > 1;
}

export function simple(
  from: Membership,
  context: ChangeContext,
  changes: readonly ConfChangeSingle[],
): Result<Membership> {
  if (from.config.voters.isJoint) return err("can't apply simple config change in joint config");
  const draft = draftOf(from);
  applyChanges(draft, context, changes);
  if (draft.incoming.size === 0) return err("removed all voters");
  if (symmetricDifference(from.config.voters.incoming.ids, draft.incoming) > 1) {
    return err("more than one voter changed without entering joint config");
  }
  return ok(seal(draft));
}

export function enterJoint(
  from: Membership,
  context: ChangeContext,
  autoLeave: boolean,
  changes: readonly ConfChangeSingle[],
): Result<Membership> {
  if (from.config.voters.isJoint) return err("config is already joint");
  if (from.config.voters.incoming.size === 0) {
    return err("can't make a zero-voter config joint");
  }
  const draft = draftOf(from);
  for (const id of draft.incoming) draft.outgoing.add(id);
  applyChanges(draft, context, changes);
  if (draft.incoming.size === 0) return err("removed all voters");
  draft.autoLeave = autoLeave;
  return ok(seal(draft));
}

export function leaveJoint(from: Membership, context: ChangeContext): Result<Membership> {
  if (!from.config.voters.isJoint) return err("can't leave a non-joint config");
  const draft = draftOf(from);
  for (const id of draft.learnersNext) {
    setRole(draft, context, id, true);
    draft.learners.add(id);
  }
  draft.learnersNext.clear();
  forgetOutgoing(draft);
  draft.autoLeave = false;
  return ok(seal(draft));
}

function forgetOutgoing(draft: Draft): void {
  for (const id of draft.outgoing) {
    if (!draft.incoming.has(id) && !draft.learners.has(id)) draft.progress.delete(id);
  }
  draft.outgoing.clear();
}

function symmetricDifference(before: readonly NodeId[], after: ReadonlySet<NodeId>): number {
  const kept = before.filter((id) => after.has(id)).length;
  return before.length - kept + (after.size - kept);
}
