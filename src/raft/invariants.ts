/**
 * Asserts the invariants of `raft.ts` in production: a node that breaks one would sooner or later
 * break a promise to others, and stops instead. Costs a few comparisons per member and Ready.
 */

import { invariant } from "#base/invariant.ts";
import { hex } from "./describe.ts";
import type { Raft } from "./raft.ts";
import { WAITING_READS_MAX } from "./reads.ts";
import type { Progress } from "./tracker/progress.ts";
import { type HardState, NONE, type NodeId } from "./types.ts";

/** `before` is the hard state that was last given out to be stored. */
export function checkInvariants(r: Raft, before: HardState): void {
  checkHardState(r, before);
  checkRole(r);
  checkLog(r);
  checkMembers(r);
}

function checkHardState({ term, vote, log: { committed } }: Raft, before: HardState): void {
  invariant(term >= before.term, `R1: term ${term} does not fall below ${before.term}`);
  const keeps = term > before.term || before.vote === NONE || vote === before.vote;
  invariant(keeps, `R1: the vote for ${hex(before.vote)} in term ${term} stays, not ${hex(vote)}`);
  invariant(committed >= before.commit, `R1: commit ${committed} does not fall`);
}

function checkRole(r: Raft): void {
  const { id, state, lead, vote, leadTransferee, tracker } = r;
  const leads = state === "leader";
  if (state === "follower") invariant(lead !== id, "R2: a follower does not follow itself");
  else invariant(lead === (leads ? id : NONE), `R2: a ${state} does not follow ${hex(lead)}`);
  if (leads || state === "candidate") invariant(vote === id, `R3: a ${state} has its own vote`);
  if (leadTransferee !== NONE) {
    const isVoter = leadTransferee !== id && tracker.config.voters.has(leadTransferee);
    invariant(leads && isVoter, `R8: a ${state} does not hand over to ${hex(leadTransferee)}`);
  }
  const reads = r.pendingReads.length + r.readOnly.size;
  invariant(leads || reads === 0, `R9: a ${state} holds no reads`);
  invariant(reads <= WAITING_READS_MAX, `R9: ${reads} reads wait`);
}

function checkLog({ log, term }: Raft): void {
  const { applied, applying, committed, unstable } = log;
  const last = log.lastIndex();
  invariant(
    applied <= applying && applying <= committed && committed <= last,
    `R4: applied ${applied}, applying ${applying}, committed ${committed}, last ${last}`,
  );
  const lastTerm = log.termOrZero(last);
  invariant(term === 0 || lastTerm <= term, `R5: an entry of term ${lastTerm} in term ${term}`);
  const { offset, offsetInProgress, length, snapshot } = unstable;
  invariant(
    offset <= offsetInProgress && offsetInProgress <= offset + length,
    `R11: written to ${offsetInProgress}, unstable from ${offset} on, ${length} entries`,
  );
  const from = snapshot?.metadata.index ?? 0;
  invariant(from < offset, `R11: the snapshot at ${from} comes before the entries from ${offset}`);
}

function checkMembers(r: Raft): void {
  const { config, progress } = r.tracker;
  const members = config.voters.ids.length + config.learners.size;
  invariant(progress.size === members, `R10: ${members} members, progress of ${progress.size}`);
  if (r.state !== "leader") return;
  const last = r.log.lastIndex();
  for (const [id, one] of progress) checkProgress(id, one, last);
}

function checkProgress(id: NodeId, one: Progress, last: number): void {
  const { match, next, state, pendingSnapshot } = one;
  invariant(
    match < next && match <= last && next <= last + 1,
    `R6: ${hex(id)} has ${match} and gets ${next} of ${last}`,
  );
  if (state !== "snapshot") invariant(pendingSnapshot === 0, `R7: ${hex(id)} waits in ${state}`);
  else invariant(next > pendingSnapshot, `R7: ${hex(id)} gets ${next} before its snapshot`);
}
