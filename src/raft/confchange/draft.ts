/**
 * A membership while it is being changed: plain mutable sets, never seen outside of `confchange/`.
 * `seal` turns it back into the immutable form and checks the laws of `tracker/config.ts`.
 */

import { invariant } from "#base/invariant.ts";
import { JointConfig } from "../quorum/joint.ts";
import { MajorityConfig } from "../quorum/majority.ts";
import { Inflights } from "../tracker/inflights.ts";
import { Progress } from "../tracker/progress.ts";
import type { Membership } from "../tracker/tracker.ts";
import type { ConfChangeSingle, NodeId } from "../types.ts";

/** What a new member's progress starts from. */
export interface ChangeContext {
  readonly lastIndex: number;
  readonly maxInflightMsgs: number;
  readonly maxInflightBytes: number;
}

export interface Draft {
  readonly incoming: Set<NodeId>;
  readonly outgoing: Set<NodeId>;
  readonly learners: Set<NodeId>;
  readonly learnersNext: Set<NodeId>;
  readonly progress: Map<NodeId, Progress>;
  autoLeave: boolean;
}

export function draftOf(membership: Membership): Draft {
  const { config, progress } = membership;
  return {
    incoming: new Set(config.voters.incoming.ids),
    outgoing: new Set(config.voters.outgoing.ids),
    learners: new Set(config.learners.ids),
    learnersNext: new Set(config.learnersNext.ids),
    progress: new Map(progress),
    autoLeave: config.autoLeave,
  };
}

/** Applies the changes one after another to the incoming half. */
export function applyChanges(
  draft: Draft,
  context: ChangeContext,
  changes: readonly ConfChangeSingle[],
): void {
  for (const { type, nodeId } of changes) {
    // A driver may blank a change that it decided not to make, by setting its node to zero.
    if (nodeId === 0) continue;
    if (type === "addNode") makeVoter(draft, context, nodeId);
    else if (type === "addLearnerNode") makeLearner(draft, context, nodeId);
    else if (type === "removeNode") remove(draft, nodeId);
  }
}

export function seal(draft: Draft): Membership {
  checkLaws(draft);
  return {
    config: {
      voters: new JointConfig(
        new MajorityConfig(draft.incoming),
        new MajorityConfig(draft.outgoing),
      ),
      learners: new MajorityConfig(draft.learners),
      learnersNext: new MajorityConfig(draft.learnersNext),
      autoLeave: draft.autoLeave,
    },
    // Id order once here, so that everything that walks the members later is in a stable order.
    progress: new Map([...draft.progress].sort(([a], [b]) => a - b)),
  };
}

function makeVoter(draft: Draft, context: ChangeContext, id: NodeId): void {
  setRole(draft, context, id, false);
  draft.learners.delete(id);
  draft.learnersNext.delete(id);
  draft.incoming.add(id);
}

function makeLearner(draft: Draft, context: ChangeContext, id: NodeId): void {
  if (draft.learners.has(id)) return;
  draft.incoming.delete(id);
  if (draft.outgoing.has(id)) {
    // Still a voter of the outgoing half: the demotion waits until the joint state is left.
    draft.learnersNext.add(id);
    return;
  }
  setRole(draft, context, id, true);
  draft.learners.add(id);
}

function remove(draft: Draft, id: NodeId): void {
  draft.incoming.delete(id);
  draft.learners.delete(id);
  draft.learnersNext.delete(id);
  // A voter of the outgoing half still counts, so its progress stays.
  if (!draft.outgoing.has(id)) draft.progress.delete(id);
}

/** Gives a member its role, with fresh progress if it is new. */
export function setRole(
  draft: Draft,
  context: ChangeContext,
  id: NodeId,
  isLearner: boolean,
): void {
  const known = draft.progress.get(id);
  if (known !== undefined) {
    if (known.isLearner !== isLearner) draft.progress.set(id, known.withRole(isLearner));
    return;
  }
  const inflights = new Inflights(context.maxInflightMsgs, context.maxInflightBytes);
  const next = Math.max(context.lastIndex, 1);
  // Counts as heard from, or the next quorum check could depose a leader for adding it.
  const init = { match: 0, next, isLearner, recentActive: true };
  draft.progress.set(id, new Progress(init, inflights));
}

function checkLaws(draft: Draft): void {
  const { incoming, outgoing, learners, learnersNext, progress } = draft;
  for (const ids of [incoming, outgoing, learners, learnersNext]) {
    for (const id of ids) invariant(progress.has(id), `member ${id} has progress`);
  }
  for (const id of learnersNext) {
    invariant(outgoing.has(id), `future learner ${id} is an outgoing voter`);
    invariant(progress.get(id)?.isLearner === false, `future learner ${id} is still a voter`);
  }
  for (const id of learners) {
    invariant(!incoming.has(id) && !outgoing.has(id), `learner ${id} is no voter`);
    invariant(progress.get(id)?.isLearner === true, `learner ${id} is tracked as one`);
  }
  invariant(outgoing.size > 0 || learnersNext.size === 0, "only a joint config stages learners");
  invariant(outgoing.size > 0 || !draft.autoLeave, "only a joint config is left automatically");
}
