/** Who may answer reads without asking, and who must not vote meanwhile. */

import { describe, expect, it } from "vitest";
import { Lease } from "./lease.ts";
import { JointConfig } from "./quorum/joint.ts";
import { MajorityConfig } from "./quorum/majority.ts";
import { electLeader, nodeOn, testNode } from "./testing/fixtures.ts";

const THREE = new JointConfig(new MajorityConfig([1, 2, 3]));
const LEASED = { readOnlyOption: "leaseBased", checkQuorum: true, electionTick: 6 } as const;

describe("Lease", () => {
  it("runs from when the heartbeats of a quorum were sent, not from when they were answered", () => {
    const lease = new Lease();
    const sent = lease.stamp;
    for (let i = 0; i < 2; i++) lease.tick();
    expect(lease.holds(THREE, 1, 3)).toBe(false);
    lease.receiveEcho(2, sent);
    expect(lease.holds(THREE, 1, 3)).toBe(true);
    lease.tick();
    expect(lease.holds(THREE, 1, 3)).toBe(false);
    lease.receiveEcho(3, lease.stamp);
    expect(lease.holds(THREE, 1, 3)).toBe(true);
  });

  it("needs both halves of a joint membership, and believes no echo of the future", () => {
    const joint = new JointConfig(new MajorityConfig([1, 2, 3]), new MajorityConfig([4]));
    const lease = new Lease();
    lease.receiveEcho(2, 1);
    expect(lease.holds(joint, 1, 3)).toBe(false);
    lease.receiveEcho(4, 2);
    expect(lease.holds(joint, 1, 3)).toBe(false);
    lease.receiveEcho(4, 1);
    expect(lease.holds(joint, 1, 3)).toBe(true);
    lease.giveUp();
    expect(lease.holds(joint, 1, 3)).toBe(false);
  });
});

describe("a follower with lease-based reads", () => {
  const follower = () => {
    const node = testNode(1, [1, 2, 3], LEASED);
    for (let i = 0; i < 6; i++) node.raw.tick();
    node.drain();
    node.step({ type: "MsgHeartbeat", from: 2, term: 9 });
    node.drain();
    return node;
  };
  const asksForVote = { type: "MsgVote", from: 3, term: 11, logTerm: 9, index: 9 } as const;

  it("keeps its promise over a restart", () => {
    const { storage } = follower();
    const restarted = nodeOn(storage, 1, LEASED);
    restarted.step(asksForVote);
    expect(restarted.messages()).toEqual([]);
    restarted.raw.campaign();
    expect(restarted.messages()).toEqual([]);
    for (let i = 0; i < 6; i++) restarted.raw.tick();
    restarted.drain();
    restarted.step(asksForVote);
    expect(restarted.messages()).toMatchObject([{ type: "MsgVoteResp", reject: false }]);
  });

  it("keeps it when a late refusal takes it to another term, without a leader there", () => {
    const node = follower();
    node.step({ type: "MsgPreVoteResp", from: 3, term: 10, reject: true });
    node.step(asksForVote);
    expect(node.messages()).toEqual([]);
    expect(node.raw.basicStatus()).toMatchObject({
      hardState: { term: 10 },
      softState: { lead: 0 },
    });
  });
});

describe("waiting reads", () => {
  it("are bounded: who comes too late has to ask again", () => {
    const node = testNode(1, [1, 2, 3]);
    electLeader(node, [2]);
    for (let i = 0; i < 5_000; i++) node.raw.readIndex(Uint8Array.of(1));
    node.drain();
    node.step({ type: "MsgAppResp", from: 2, index: 2 });
    node.step({ type: "MsgHeartbeatResp", from: 2, context: beat(4_096) });
    expect(node.drain().flatMap(({ readStates }) => readStates)).toHaveLength(4_096);
  });
});

function beat(position: number): Uint8Array {
  const context = new Uint8Array(8);
  new DataView(context.buffer).setBigUint64(0, BigInt(position));
  return context;
}
