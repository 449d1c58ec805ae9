/** Each invariant stops the node when its fact is made false. */

import { describe, expect, it } from "vitest";
import { RAFT_DEFAULTS } from "./config.ts";
import { checkInvariants } from "./invariants.ts";
import { MemoryStorage } from "./memory-storage.ts";
import { EMPTY_BYTES, EMPTY_CONF_STATE, message } from "./message.ts";
import type { Raft } from "./raft.ts";
import { becomeCandidate, becomeLeader } from "./roles.ts";
import { startRaft } from "./start.ts";
import { entry } from "./testing/fixtures.ts";
import { NONE } from "./types.ts";

function leader(): Raft {
  const storage = new MemoryStorage();
  const confState = { ...EMPTY_CONF_STATE, voters: [1, 2, 3] };
  storage.applySnapshot({ data: EMPTY_BYTES, metadata: { index: 1, term: 1, confState } });
  storage.setHardState({ term: 1, vote: NONE, commit: 1 });
  const r = startRaft({ ...RAFT_DEFAULTS, id: 1, storage, random: () => 0, applied: 1 });
  becomeCandidate(r);
  becomeLeader(r);
  return r;
}

const progressOf = (r: Raft, id: number) => {
  const progress = r.tracker.progress.get(id);
  if (progress === undefined) throw new Error("no progress");
  return progress;
};

describe("invariants", () => {
  it("hold for a leader", () => {
    const r = leader();
    expect(() => checkInvariants(r, r.hardState)).not.toThrow();
  });

  it.each<[string, (r: Raft) => void]>([
    ["R1", (r) => (r.term = 1)],
    ["R1", (r) => (r.vote = 2)],
    ["R2", (r) => (r.lead = 2)],
    ["R2", (r) => (r.state = "follower")],
    ["R2", (r) => (r.state = "candidate")],
    ["R5", (r) => r.log.append([entry(9, 3)])],
    ["R6", (r) => (progressOf(r, 2).next = 0)],
    ["R6", (r) => (progressOf(r, 2).next = 4)],
    ["R7", (r) => (progressOf(r, 2).pendingSnapshot = 1)],
    ["R7", (r) => Object.assign(progressOf(r, 2), { state: "snapshot", pendingSnapshot: 9 })],
    ["R8", (r) => (r.leadTransferee = 7)],
    ["R9", (r) => Object.assign(r, { state: "candidate", lead: NONE, pendingReads: [READ] })],
    ["R10", (r) => r.tracker.switchTo({ config: r.tracker.config, progress: new Map() })],
  ])("%s is seen when it is broken (%#)", (name, breakIt) => {
    const r = leader();
    const before = r.hardState;
    breakIt(r);
    expect(() => checkInvariants(r, before)).toThrow(`invariant broken: ${name}:`);
  });

  it("R1: the commit index does not fall, R3: a leader has its own vote", () => {
    const r = leader();
    const before = r.hardState;
    expect(() => checkInvariants(r, { ...before, commit: 2 })).toThrow("R1");
    r.vote = 2;
    expect(() => checkInvariants(r, { ...before, vote: NONE })).toThrow("R3");
  });
});

const READ = message({ type: "MsgReadIndex" });
