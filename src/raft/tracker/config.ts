/**
 * The active membership. Immutable value; `confchange/` derives the next one.
 *
 * Invariants (checked in `confchange/invariants.ts`): nobody is voter and learner at once, in either
 * half; a voter that is to become a learner waits in `learnersNext` until the joint state is left;
 * outside of a joint state `learnersNext` is empty and `autoLeave` false.
 */

import { JointConfig } from "../quorum/joint.ts";
import { MajorityConfig } from "../quorum/majority.ts";
import type { ConfState } from "../types.ts";

export interface TrackerConfig {
  readonly voters: JointConfig;
  readonly learners: MajorityConfig;
  readonly learnersNext: MajorityConfig;
  /** Leave the joint state as soon as it is safe, without being asked. */
  readonly autoLeave: boolean;
}

export const EMPTY_TRACKER_CONFIG: TrackerConfig = {
  voters: new JointConfig(MajorityConfig.EMPTY),
  learners: MajorityConfig.EMPTY,
  learnersNext: MajorityConfig.EMPTY,
  autoLeave: false,
};

export function confStateOf(config: TrackerConfig): ConfState {
  return {
    voters: config.voters.incoming.ids,
    learners: config.learners.ids,
    votersOutgoing: config.voters.outgoing.ids,
    learnersNext: config.learnersNext.ids,
    autoLeave: config.autoLeave,
  };
}

export function describeConfig(config: TrackerConfig): string {
  let text = `voters=${config.voters.toString()}`;
  if (config.learners.size > 0) text += ` learners=${config.learners.toString()}`;
  if (config.learnersNext.size > 0) text += ` learners_next=${config.learnersNext.toString()}`;
  if (config.autoLeave) text += " autoleave";
  return text;
}
