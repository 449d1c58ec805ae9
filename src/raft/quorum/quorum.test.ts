import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { NodeId } from "../types.ts";
import { JointConfig } from "./joint.ts";
import { type AckedIndex, MajorityConfig } from "./majority.ts";

const ids = fc.uniqueArray(fc.integer({ min: 1, max: 9 }), { maxLength: 9 });
const indexes = fc.dictionary(fc.integer({ min: 1, max: 9 }).map(String), fc.nat(20));
const ballots = fc.dictionary(fc.integer({ min: 1, max: 9 }).map(String), fc.boolean());

function ackedBy(known: Readonly<Record<string, number>>): AckedIndex {
  return (id) => known[id];
}

function votesOf(known: Readonly<Record<string, boolean>>): ReadonlyMap<NodeId, boolean> {
  return new Map(Object.entries(known).map(([id, vote]) => [Number(id), vote]));
}

/** The definition: the highest index that more than half have reached. */
function naiveCommitted(members: readonly NodeId[], acked: AckedIndex): number {
  if (members.length === 0) return Number.POSITIVE_INFINITY;
  for (let index = 20; index > 0; index--) {
    if (members.filter((id) => (acked(id) ?? 0) >= index).length * 2 > members.length) return index;
  }
  return 0;
}

/** The definition: try every way in which the missing votes could still be cast. */
function naiveResult(members: readonly NodeId[], votes: ReadonlyMap<NodeId, boolean>): string {
  const missing = members.filter((id) => !votes.has(id)).length;
  const yes = members.filter((id) => votes.get(id) === true).length;
  const outcomes = Array.from({ length: missing + 1 }, (_, more) => {
    return members.length === 0 || (yes + more) * 2 > members.length;
  });
  if (outcomes.every((won) => won)) return "won";
  return outcomes.some((won) => won) ? "pending" : "lost";
}

describe("MajorityConfig", () => {
  it("commits what more than half acknowledged", () => {
    fc.assert(
      fc.property(ids, indexes, (members, known) => {
        const acked = ackedBy(known);
        const committed = new MajorityConfig(members).committedIndex(acked);
        expect(committed).toBe(naiveCommitted(members, acked));
      }),
      { numRuns: 2_000 },
    );
  });

  it("decides a vote when no missing ballot can change it", () => {
    fc.assert(
      fc.property(ids, ballots, (members, known) => {
        const votes = votesOf(known);
        expect(new MajorityConfig(members).voteResult(votes)).toBe(naiveResult(members, votes));
      }),
      { numRuns: 2_000 },
    );
  });

  it("keeps ids once and in order, and prints them in hexadecimal", () => {
    expect(new MajorityConfig([10, 3, 10, 255]).ids).toEqual([3, 10, 255]);
    expect(new MajorityConfig([10, 3, 255]).toString()).toBe("(3 a ff)");
  });
});

describe("JointConfig", () => {
  it("commits only what both halves commit", () => {
    fc.assert(
      fc.property(ids, ids, indexes, (incoming, outgoing, known) => {
        const acked = ackedBy(known);
        const joint = new JointConfig(new MajorityConfig(incoming), new MajorityConfig(outgoing));
        expect(joint.committedIndex(acked)).toBe(
          Math.min(naiveCommitted(incoming, acked), naiveCommitted(outgoing, acked)),
        );
      }),
      { numRuns: 2_000 },
    );
  });

  it("wins only where both halves win, and loses where either loses", () => {
    fc.assert(
      fc.property(ids, ids, ballots, (incoming, outgoing, known) => {
        const votes = votesOf(known);
        const joint = new JointConfig(new MajorityConfig(incoming), new MajorityConfig(outgoing));
        const halves = [naiveResult(incoming, votes), naiveResult(outgoing, votes)];
        const lost = halves.includes("lost");
        const expected = lost ? "lost" : halves.includes("pending") ? "pending" : "won";
        expect(joint.voteResult(votes)).toBe(expected);
      }),
      { numRuns: 2_000 },
    );
  });
});
