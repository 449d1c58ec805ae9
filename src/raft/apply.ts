/** What follows when the driver reports entries or a snapshot as applied. */

import { encodeConfChange } from "./confchange/codec.ts";
import { describeStepError } from "./describe.ts";
import { message, proposedEntry } from "./message.ts";
import { handleProposal } from "./propose.ts";
import type { Raft } from "./raft.ts";
import { describeConfig } from "./tracker/config.ts";
import type { Snapshot } from "./types.ts";

export function appliedTo(r: Raft, index: number, size: number): void {
  const applied = Math.max(index, r.log.applied);
  r.log.appliedTo(applied, size);
  maybeLeaveJoint(r);
}

/**
 * Leaves a joint state that is in effect, with no other change pending. If a transfer blocks the
 * proposal it is made again when that has failed, or by the next leader.
 */
export function maybeLeaveJoint(r: Raft): void {
  const { config } = r.tracker;
  if (!config.autoLeave || r.log.applied < r.pendingConfIndex || r.state !== "leader") return;
  const { type, data } = encodeConfChange(undefined);
  const leave = message({ type: "MsgProp", entries: [proposedEntry(data, type)] });
  const refused = handleProposal(r, leave);
  const name = describeConfig(config);
  if (refused === undefined) {
    r.logger.info(`initiating automatic transition out of joint configuration ${name}`);
  } else {
    r.logger.debug(
      `not initiating automatic transition out of joint configuration ${name}: ${describeStepError(refused)}`,
    );
  }
}

export function appliedSnapshot(r: Raft, { metadata: { index } }: Snapshot): void {
  r.log.unstable.stableSnapTo(index);
  if (r.log.unstable.snapshot === undefined) r.overtakenMembership = undefined;
  appliedTo(r, index, 0);
}

/** Committed payloads no longer count against the uncommitted limit. */
export function shrinkUncommitted(r: Raft, bytes: number): void {
  r.uncommittedSize = Math.max(0, r.uncommittedSize - bytes);
}
