/**
 * Proposals at the leader. Membership changes are checked here, one at a time: an unfit one is
 * replaced by an empty entry, so that the rest of its batch keeps its place.
 *
 * Beyond etcd, a change is also tried on the active membership (exact, because no other change is
 * pending by then): one that could not be applied would stop every member once committed.
 */

import { changeOf, leavesJoint } from "./confchange/changer.ts";
import { asV2, decodeConfChange } from "./confchange/codec.ts";
import { describeConfChange, hex } from "./describe.ts";
import { EMPTY_BYTES, proposedEntry } from "./message.ts";
import type { Raft } from "./raft.ts";
import { broadcastAppend } from "./replicate.ts";
import { appendAsLeader } from "./roles.ts";
import { describeConfig } from "./tracker/config.ts";
import { type ConfChange, type Entry, type Message, NONE, type StepError } from "./types.ts";

export function handleProposal(r: Raft, m: Message): StepError | undefined {
  // Removed from the group while leading: nobody is left to replicate for.
  if (m.entries.length === 0 || !r.tracker.progress.has(r.id)) return "proposalDropped";
  if (r.leadTransferee !== NONE) {
    r.logger.debug(
      `${hex(r.id)} [term ${r.term}] transfer leadership to ${hex(r.leadTransferee)} is in progress; dropping proposal`,
    );
    return "proposalDropped";
  }
  const entries = m.entries.map((entry, position) => admitEntry(r, entry, position));
  if (!appendAsLeader(r, entries)) return "proposalDropped";
  broadcastAppend(r);
  return undefined;
}

/** The entry itself, or an empty one in place of a membership change that must not be made. */
function admitEntry(r: Raft, entry: Entry, position: number): Entry {
  if (entry.type === "normal") return entry;
  const change = decodeConfChange(entry);
  if (!change.ok) {
    r.logger.error(`${hex(r.id)} ignoring unreadable conf change: ${change.error}`);
    return proposedEntry(EMPTY_BYTES);
  }
  const problem = r.config.disableConfChangeValidation ? undefined : problemOf(r, change.value);
  if (problem !== undefined) {
    const text = describeConfChange(change.value);
    const config = describeConfig(r.tracker.config);
    r.logger.info(`${hex(r.id)} ignoring conf change ${text} at config ${config}: ${problem}`);
    return proposedEntry(EMPTY_BYTES);
  }
  r.pendingConfIndex = r.log.lastIndex() + position + 1;
  return entry;
}

function problemOf(r: Raft, change: ConfChange): string | undefined {
  const v2 = asV2(change);
  const wantsLeave = v2.changes.length === 0;
  const { isJoint } = r.tracker.config.voters;
  if (r.pendingConfIndex > r.log.applied) {
    return `possible unapplied conf change at index ${r.pendingConfIndex} (applied to ${r.log.applied})`;
  }
  if (isJoint && !wantsLeave) return "must transition out of joint config first";
  if (!isJoint && wantsLeave) return "not in joint state; refusing empty conf change";
  if (wantsLeave && !leavesJoint(v2)) return "an empty conf change has no transition";
  const { maxInflightMsgs, maxInflightBytes } = r.config;
  const context = { lastIndex: r.log.lastIndex(), maxInflightMsgs, maxInflightBytes };
  const next = changeOf(v2, context)(r.tracker);
  return next.ok ? undefined : next.error;
}
