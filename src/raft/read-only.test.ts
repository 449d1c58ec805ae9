import { describe, expect, it } from "vitest";
import { message } from "./message.ts";
import { JointConfig } from "./quorum/joint.ts";
import { MajorityConfig } from "./quorum/majority.ts";
import { ReadOnly } from "./read-only.ts";

const THREE = new JointConfig(new MajorityConfig([1, 2, 3]));

function waiting(count: number): ReadOnly {
  const reads = new ReadOnly();
  for (let i = 1; i <= count; i++) reads.add(10 + i, message({ type: "MsgReadIndex", from: i }));
  return reads;
}

describe("ReadOnly", () => {
  it("confirms every read up to the position that a quorum echoed", () => {
    const reads = waiting(2);
    const early = reads.heartbeatContext();
    reads.add(13, message({ type: "MsgReadIndex", from: 3 }));
    const late = reads.heartbeatContext();
    reads.receiveAck(1, late);
    expect(reads.takeConfirmed(THREE)).toEqual([]);
    reads.receiveAck(2, early);
    expect(reads.takeConfirmed(THREE).map(({ index }) => index)).toEqual([11, 12]);
    reads.receiveAck(3, late);
    expect(reads.takeConfirmed(THREE).map(({ index }) => index)).toEqual([13]);
    expect(reads.takeConfirmed(THREE)).toEqual([]);
  });

  it("needs both halves of a joint membership", () => {
    const reads = waiting(1);
    const joint = new JointConfig(new MajorityConfig([1, 2]), new MajorityConfig([3]));
    for (const id of [1, 2]) reads.receiveAck(id, reads.heartbeatContext());
    expect(reads.takeConfirmed(joint)).toEqual([]);
    reads.receiveAck(3, reads.heartbeatContext());
    expect(reads.takeConfirmed(joint)).toHaveLength(1);
  });

  it("sends nothing along when no read waits, and ignores echoes of another form", () => {
    const reads = waiting(0);
    expect(reads.heartbeatContext()).toHaveLength(0);
    reads.add(11, message({ type: "MsgReadIndex" }));
    for (const id of [1, 2, 3]) reads.receiveAck(id, Uint8Array.of(255));
    expect(reads.takeConfirmed(THREE)).toEqual([]);
  });
});
