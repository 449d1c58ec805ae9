import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { NO_LIMIT } from "../types.ts";
import { Inflights } from "./inflights.ts";
import { Progress } from "./progress.ts";

function progressAt(match: number, next: number, maxMessages = 256): Progress {
  const init = { match, next, isLearner: false, recentActive: true };
  return new Progress(init, new Inflights(maxMessages, NO_LIMIT));
}

describe("Inflights", () => {
  it("behaves like a plain list of messages", () => {
    const steps = fc.array(fc.tuple(fc.boolean(), fc.integer({ min: 1, max: 5 })), {
      maxLength: 300,
    });
    fc.assert(
      fc.property(steps, fc.integer({ min: 1, max: 100 }), (list, limit) => {
        const window = new Inflights(limit, 40);
        let twin: { index: number; bytes: number }[] = [];
        let last = 0;
        for (const [adds, amount] of list) {
          if (adds && !window.isFull()) {
            last += amount;
            window.add(last, amount);
            twin.push({ index: last, bytes: amount });
          } else if (!adds) {
            const upTo = (twin[0]?.index ?? 0) + amount;
            window.freeUpTo(upTo);
            twin = twin.filter(({ index }) => index > upTo);
          }
          const bytes = twin.reduce((sum, message) => sum + message.bytes, 0);
          expect([window.count, window.bytes]).toEqual([twin.length, bytes]);
          expect(window.isFull()).toBe(twin.length >= limit || bytes >= 40);
        }
      }),
    );
  });

  it("refuses a message beyond its limit", () => {
    const window = new Inflights(1, NO_LIMIT);
    window.add(1, 10);
    expect(() => window.add(2, 10)).toThrow("a full window takes no more messages");
  });

  it("takes one message that crosses the byte limit", () => {
    const window = new Inflights(10, 5);
    window.add(1, 100);
    expect(window.isFull()).toBe(true);
    window.freeUpTo(1);
    expect(window.isFull()).toBe(false);
  });
});

describe("Progress", () => {
  it("probes with one append at a time", () => {
    const progress = progressAt(0, 5);
    expect(progress.isPaused()).toBe(false);
    progress.sentEntries(3, 30);
    expect(progress.isPaused()).toBe(true);
    expect(progress.next).toBe(5);
  });

  it("runs ahead in replicate state until the window is full", () => {
    const progress = progressAt(4, 5, 2);
    progress.becomeReplicate();
    progress.sentEntries(1, 1);
    expect([progress.next, progress.isPaused()]).toEqual([6, false]);
    progress.sentEntries(2, 1);
    expect([progress.next, progress.isPaused()]).toEqual([8, true]);
  });

  it("probes behind the snapshot after it was sent", () => {
    const progress = progressAt(1, 2);
    progress.becomeSnapshot(10);
    expect([progress.next, progress.isPaused()]).toEqual([11, true]);
    progress.becomeProbe();
    expect([progress.next, progress.pendingSnapshot, progress.isPaused()]).toEqual([11, 0, false]);
  });

  it("probes where it was when the snapshot is known to have failed", () => {
    const progress = progressAt(1, 2);
    progress.becomeSnapshot(10);
    progress.pendingSnapshot = 0;
    progress.becomeProbe();
    expect(progress.next).toBe(2);
  });

  it.each([
    {
      name: "an acknowledged index",
      state: "replicate",
      match: 5,
      next: 10,
      rejected: 5,
      hint: 5,
      want: 10,
      moves: false,
    },
    {
      name: "a later index",
      state: "replicate",
      match: 5,
      next: 10,
      rejected: 9,
      hint: 9,
      want: 6,
      moves: true,
    },
    {
      name: "not the probe",
      state: "probe",
      match: 0,
      next: 10,
      rejected: 5,
      hint: 5,
      want: 10,
      moves: false,
    },
    {
      name: "the probe, hint below",
      state: "probe",
      match: 0,
      next: 10,
      rejected: 9,
      hint: 2,
      want: 3,
      moves: true,
    },
    {
      name: "the probe, hint at it",
      state: "probe",
      match: 0,
      next: 10,
      rejected: 9,
      hint: 9,
      want: 9,
      moves: true,
    },
    {
      name: "the probe, hint below match",
      state: "probe",
      match: 4,
      next: 10,
      rejected: 9,
      hint: 2,
      want: 5,
      moves: true,
    },
  ] as const)("takes back next when $name is rejected in $state state", (row) => {
    const progress = progressAt(row.match, row.next);
    progress.state = row.state;
    expect(progress.maybeDecrTo(row.rejected, row.hint)).toBe(row.moves);
    expect(progress.next).toBe(row.want);
  });

  it("never falls back when answers come late or twice", () => {
    const progress = progressAt(5, 6);
    expect(progress.maybeUpdate(8)).toBe(true);
    expect(progress.maybeUpdate(8)).toBe(false);
    expect(progress.maybeUpdate(7)).toBe(false);
    expect([progress.match, progress.next]).toEqual([8, 9]);
  });

  it("sends a commit index once, until it may have been lost", () => {
    const progress = progressAt(9, 10);
    progress.becomeReplicate();
    expect(progress.canBumpCommit(5)).toBe(true);
    progress.sentCommit(5);
    expect(progress.canBumpCommit(5)).toBe(false);
    expect(progress.canBumpCommit(6)).toBe(true);
    progress.sentCommit(9);
    // Beyond next - 1 the follower has nothing to commit.
    expect(progress.canBumpCommit(12)).toBe(false);
  });
});
