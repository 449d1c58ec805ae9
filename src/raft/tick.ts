/** The logical clock: elections for those who wait for a leader, heartbeats for the leader. */

import { maybeLeaveJoint } from "./apply.ts";
import { isPromotable } from "./membership.ts";
import { message } from "./message.ts";
import type { Raft } from "./raft.ts";
import { step } from "./step.ts";
import { type MessageType, NONE } from "./types.ts";

export function tick(r: Raft): void {
  if (r.state === "leader") tickLeader(r);
  else tickElection(r);
}

function tickElection(r: Raft): void {
  r.electionElapsed++;
  r.sinceLeader++;
  if (!isPromotable(r) || r.electionElapsed < r.randomizedElectionTimeout) return;
  r.electionElapsed = 0;
  stepLocal(r, "MsgHup");
}

function tickLeader(r: Raft): void {
  r.sinceLeader = 0;
  r.lease.tick();
  r.heartbeatElapsed++;
  r.electionElapsed++;
  if (r.electionElapsed >= r.config.electionTick) {
    r.electionElapsed = 0;
    if (r.config.checkQuorum) stepLocal(r, "MsgCheckQuorum");
    if (r.leadTransferee !== NONE) {
      // A transfer that took this long has failed: lead on, and do what it held up.
      r.leadTransferee = NONE;
      maybeLeaveJoint(r);
    }
  }
  if (r.state !== "leader" || r.heartbeatElapsed < r.config.heartbeatTick) return;
  r.heartbeatElapsed = 0;
  stepLocal(r, "MsgBeat");
}

function stepLocal(r: Raft, type: MessageType): void {
  step(r, message({ type, from: r.id }));
}
