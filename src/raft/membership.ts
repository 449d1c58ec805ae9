/**
 * Switching to another membership: when a change is applied, when a snapshot is restored, and at
 * start. A change takes effect when it is applied, not when it is appended.
 */

import { invariant } from "#base/invariant.ts";
import type { Result } from "#base/result.ts";
import { changeOf } from "./confchange/changer.ts";
import { asV2 } from "./confchange/codec.ts";
import type { ChangeContext } from "./confchange/draft.ts";
import { restoreMembership } from "./confchange/restore.ts";
import { describeConfState, hex } from "./describe.ts";
import { isMemberOf, sameConfState } from "./message.ts";
import type { Raft } from "./raft.ts";
import { answerConfirmedReads } from "./reads.ts";
import { broadcastAppend, maybeCommit, maybeSendAppend } from "./replicate.ts";
import { becomeFollower } from "./roles.ts";
import { confStateOf, describeConfig } from "./tracker/config.ts";
import type { Membership } from "./tracker/tracker.ts";
import { type ConfChange, type ConfState, NONE, type Snapshot } from "./types.ts";

/**
 * Applies a committed change. One that does not fit is a bug: every member would differ.
 *
 * A snapshot takes effect when it comes in, while the driver may still be applying entries before it.
 * Their changes then go to the membership from before the snapshot, which lives on for them alone.
 */
export function applyConfChange(r: Raft, change: ConfChange): ConfState {
  const from = r.overtakenMembership ?? r.tracker;
  const next = mustFit(changeOf(asV2(change), changeContext(r))(from));
  if (r.overtakenMembership === undefined) return switchTo(r, next);
  r.overtakenMembership = next;
  return confStateOf(next.config);
}

/** The membership that storage knows at start. */
export function loadMembership(r: Raft, state: ConfState): void {
  const restored = switchTo(r, mustFit(restoreMembership(state, changeContext(r))));
  invariant(sameConfState(state, restored), "a stored membership restores to itself");
}

/** Replaces log and membership by a snapshot's; false if that is of no use to this node. */
export function restoreSnapshot(r: Raft, snapshot: Snapshot): boolean {
  const { index, term, confState } = snapshot.metadata;
  const self = hex(r.id);
  if (index <= r.log.committed) return false;
  invariant(r.state === "follower", "only followers restore snapshots");
  if (!isMemberOf(confState, r.id)) {
    r.logger.warn(
      `${self} attempted to restore snapshot but it is not in the ConfState ${describeConfState(confState)}; should never happen`,
    );
    return false;
  }
  const last = r.log.lastEntryId();
  if (r.log.matchTerm({ term, index })) {
    r.logger.info(
      `${self} [commit: ${r.log.committed}, lastindex: ${last.index}, lastterm: ${last.term}] fast-forwarded commit to snapshot [index: ${index}, term: ${term}]`,
    );
    r.log.commitTo(index);
    return false;
  }
  const { config, progress } = r.tracker;
  r.overtakenMembership ??= { config, progress };
  r.log.restore(snapshot);
  loadMembership(r, confState);
  const now = r.log.lastEntryId();
  r.logger.info(
    `${self} [commit: ${r.log.committed}, lastindex: ${now.index}, lastterm: ${now.term}] restored snapshot [index: ${index}, term: ${term}]`,
  );
  return true;
}

/** Whether this node could lead: a voter whose state is not about to be replaced by a snapshot. */
export function isPromotable(r: Raft): boolean {
  const own = r.tracker.progress.get(r.id);
  return own !== undefined && !own.isLearner && r.log.unstable.snapshot === undefined;
}

function switchTo(r: Raft, membership: Membership): ConfState {
  r.tracker.switchTo(membership);
  r.logger.info(`${hex(r.id)} switched to configuration ${describeConfig(membership.config)}`);
  const state = confStateOf(membership.config);
  const own = membership.progress.get(r.id);
  r.isLearner = own?.isLearner ?? false;
  if (r.state !== "leader") return state;
  if (own === undefined || own.isLearner) {
    if (r.config.stepDownOnRemoval) becomeFollower(r, r.term, NONE);
    return state;
  }
  if (state.voters.length > 0) leadUnder(r, membership);
  return state;
}

/** A smaller quorum may have committed more, and confirmed more reads; new members are probed. */
function leadUnder(r: Raft, { config, progress }: Membership): void {
  if (maybeCommit(r)) {
    broadcastAppend(r);
  } else {
    for (const id of progress.keys()) {
      if (id !== r.id) maybeSendAppend(r, id, false);
    }
  }
  answerConfirmedReads(r);
  if (r.leadTransferee !== NONE && !config.voters.has(r.leadTransferee)) r.leadTransferee = NONE;
}

function changeContext(r: Raft): ChangeContext {
  const { maxInflightMsgs, maxInflightBytes } = r.config;
  return { lastIndex: r.log.lastIndex(), maxInflightMsgs, maxInflightBytes };
}

function mustFit(next: Result<Membership>): Membership {
  if (!next.ok) invariant(false, `a committed membership fits: ${next.error}`);
  return next.value;
}
