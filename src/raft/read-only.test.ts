import { describe, expect, it } from "vitest";
import { decodeBeat, encodeBeat } from "./beat-context.ts";
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
    const early = reads.position;
    reads.add(13, message({ type: "MsgReadIndex", from: 3 }));
    const late = reads.position;
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
    for (const id of [1, 2]) reads.receiveAck(id, reads.position);
    expect(reads.takeConfirmed(joint)).toEqual([]);
    reads.receiveAck(3, reads.position);
    expect(reads.takeConfirmed(joint)).toHaveLength(1);
  });

  it("believes no echo of what was never sent", () => {
    const reads = waiting(1);
    for (const id of [1, 2, 3]) reads.receiveAck(id, 7);
    expect(reads.takeConfirmed(THREE)).toEqual([]);
  });
});

describe("the context of heartbeats", () => {
  it.each([
    [{ reads: 0, lease: 0 }, 0],
    [{ reads: 7, lease: 0 }, 8],
    [{ reads: 0, lease: 3 }, 16],
    [{ reads: 2 ** 40, lease: 2 ** 41 }, 16],
  ])("%o takes %i bytes and comes back", (beat, bytes) => {
    expect(encodeBeat(beat)).toHaveLength(bytes);
    expect(decodeBeat(encodeBeat(beat))).toEqual(beat);
  });

  it("means nothing in another form", () => {
    expect(decodeBeat(Uint8Array.of(255))).toEqual({ reads: 0, lease: 0 });
  });
});
