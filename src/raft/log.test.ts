import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { SILENT_LOGGER } from "./config.ts";
import { entriesSize, entrySize, takeWithin } from "./entries.ts";
import { RaftLog } from "./log.ts";
import { Unstable } from "./log-unstable.ts";
import { MemoryStorage } from "./memory-storage.ts";
import { EMPTY_BYTES, EMPTY_CONF_STATE } from "./message.ts";
import { entry } from "./testing/fixtures.ts";
import { type Entry, NO_LIMIT, type Snapshot } from "./types.ts";

/** Entries with the given terms, from index 1 on. */
function terms(...list: readonly number[]): Entry[] {
  return list.map((term, position) => entry(term, position + 1));
}

function snapshotAt(term: number, index: number): Snapshot {
  return { data: EMPTY_BYTES, metadata: { term, index, confState: EMPTY_CONF_STATE } };
}

/** The first `stable` entries in storage, the rest unstable. */
function logOf(entries: readonly Entry[], stable = 0, maxApplying = NO_LIMIT): RaftLog {
  const storage = new MemoryStorage();
  storage.append(entries.slice(0, stable));
  const log = new RaftLog(storage, SILENT_LOGGER, maxApplying);
  log.append(entries.slice(stable));
  return log;
}

function termsOf(log: RaftLog): readonly number[] {
  const entries = log.entries(1, NO_LIMIT);
  if (entries === "compacted") throw new Error("nothing was compacted");
  return entries.map(({ term }) => term);
}

describe("takeWithin", () => {
  it("cuts at the size but gives at least one entry", () => {
    const entries = terms(1, 1, 1);
    const size = entrySize(entry(1, 1));
    expect(takeWithin(entries, 0, 3, 0)).toHaveLength(1);
    expect(takeWithin(entries, 0, 3, 2 * size)).toHaveLength(2);
    expect(takeWithin(entries, 0, 3, 3 * size - 1)).toHaveLength(2);
    expect(takeWithin(entries, 1, 3, NO_LIMIT)).toHaveLength(2);
    expect(takeWithin(entries, 3, 3, NO_LIMIT)).toHaveLength(0);
  });

  it("counts an entry as long as its protobuf encoding", () => {
    // Term 300 and index 5 take 3 and 2 bytes; 200 bytes of data have a header of 3.
    expect(entrySize(entry(300, 5, "x".repeat(200)))).toBe(3 + 2 + 3 + 200);
    expect(entrySize({ ...entry(1, 1), type: "confChange" })).toBe(2 + 2 + 2);
  });
});

describe("RaftLog.maybeAppend", () => {
  it.each([
    { name: "no entry before", term: 3, index: 4, add: [], last: undefined, log: [1, 2, 3] },
    { name: "another term before", term: 4, index: 3, add: [4], last: undefined, log: [1, 2, 3] },
    { name: "nothing new", term: 3, index: 3, add: [], last: 3, log: [1, 2, 3] },
    { name: "a continuation", term: 3, index: 3, add: [4, 4], last: 5, log: [1, 2, 3, 4, 4] },
    { name: "known entries", term: 1, index: 1, add: [2, 3], last: 3, log: [1, 2, 3] },
    { name: "a part of known entries", term: 1, index: 1, add: [2], last: 2, log: [1, 2, 3] },
    { name: "a conflict", term: 1, index: 1, add: [4, 4, 4], last: 4, log: [1, 4, 4, 4] },
  ])("with $name", ({ term, index, add, last, log: wanted }) => {
    for (const stable of [0, 2, 3]) {
      const log = logOf(terms(1, 2, 3), stable);
      log.commitTo(1);
      const entries = add.map((of, position) => entry(of, index + 1 + position));
      expect(log.maybeAppend({ term, index }, entries, 1)).toBe(last);
      expect(termsOf(log)).toEqual(wanted);
    }
  });

  it("commits no further than what it is sure to share with the leader", () => {
    const log = logOf(terms(1, 1, 1, 1));
    log.maybeAppend({ term: 1, index: 1 }, [entry(1, 2)], 9);
    expect(log.committed).toBe(2);
  });

  it("stops when a leader contradicts a committed entry", () => {
    const log = logOf(terms(1, 1, 1));
    log.commitTo(3);
    expect(() => log.maybeAppend({ term: 1, index: 1 }, [entry(2, 2)], 3)).toThrow(
      "a leader never contradicts a committed entry",
    );
  });
});

describe("RaftLog", () => {
  it("counts a log as up to date by last term, then by length", () => {
    const log = logOf(terms(1, 2, 3));
    expect(log.isUpToDate({ term: 4, index: 1 })).toBe(true);
    expect(log.isUpToDate({ term: 3, index: 3 })).toBe(true);
    expect(log.isUpToDate({ term: 3, index: 2 })).toBe(false);
    expect(log.isUpToDate({ term: 2, index: 9 })).toBe(false);
  });

  it("commits only entries of the asked term: figure 8 of the paper", () => {
    const log = logOf(terms(1, 2, 2));
    expect(log.maybeCommit({ term: 3, index: 3 })).toBe(false);
    expect(log.maybeCommit({ term: 2, index: 3 })).toBe(true);
    expect(log.maybeCommit({ term: 2, index: 2 })).toBe(false);
    expect(log.committed).toBe(3);
  });

  it("refuses to commit what it does not have", () => {
    expect(() => logOf(terms(1)).commitTo(2)).toThrow("corrupted, truncated, or lost");
  });

  it.each([
    { log: [1, 3, 3, 3, 5, 5, 5, 5, 5], index: 6, term: 2, want: [1, 1] },
    { log: [1, 3, 3, 4, 4, 5, 5, 5, 6], index: 8, term: 3, want: [3, 3] },
    { log: [2, 2, 2], index: 3, term: 1, want: [0, 0] },
    { log: [1, 1, 1], index: 9, term: 1, want: [9, 0] },
  ])("finds where $log may match term $term at $index", ({ log, index, term, want }) => {
    const found = logOf(terms(...log)).findConflictByTerm(index, term);
    expect([found.index, found.term]).toEqual(want);
  });

  it("reads the same however it is split between storage and unstable", () => {
    const size = entrySize(entry(1, 1));
    fc.assert(
      fc.property(fc.nat(6), fc.nat(6), fc.nat(6), fc.nat(8 * size), (stable, a, b, room) => {
        const entries = terms(1, 1, 2, 2, 3, 3);
        const log = logOf(entries, stable);
        const lo = Math.min(a, b) + 1;
        const hi = Math.max(a, b) + 1;
        expect(log.slice(lo, hi, room)).toEqual(takeWithin(entries, lo - 1, hi - 1, room));
      }),
      { numRuns: 1_000 },
    );
  });

  it("hands out committed entries once, and no more bytes than may be applied at a time", () => {
    const entries = terms(1, 1, 1, 1, 1);
    const log = logOf(entries, 5, entriesSize(entries.slice(0, 2)));
    log.commitTo(5);
    const first = log.nextCommittedEntries(true);
    expect(first.map(({ index }) => index)).toEqual([1, 2]);
    log.acceptApplying(2, entriesSize(first), true);
    expect(log.hasNextCommittedEntries(true)).toBe(false);
    log.appliedTo(2, entriesSize(first));
    expect(log.nextCommittedEntries(true).map(({ index }) => index)).toEqual([3, 4]);
  });

  it("hands out no entry that would break the limit before the others are applied", () => {
    const entries = terms(1, 1, 1);
    const size = entriesSize(entries.slice(0, 2));
    const log = logOf(entries, 3, size + 1);
    log.commitTo(3);
    expect(log.nextCommittedEntries(true)).toHaveLength(2);
    log.acceptApplying(2, size, true);
    expect(log.nextCommittedEntries(true)).toHaveLength(0);
  });

  it("hands out unstable entries only where the driver stores before it applies", () => {
    const log = logOf(terms(1, 1, 1), 1);
    log.commitTo(3);
    expect(log.nextCommittedEntries(false)).toHaveLength(1);
    expect(log.nextCommittedEntries(true)).toHaveLength(3);
  });

  it("hands out nothing while a snapshot waits", () => {
    const log = logOf(terms(1, 1, 1));
    log.commitTo(2);
    log.restore(snapshotAt(2, 9));
    expect(log.hasNextCommittedEntries(true)).toBe(false);
    expect([log.firstIndex(), log.lastIndex(), log.committed]).toEqual([10, 9, 9]);
    expect([log.term(9), log.term(8), log.term(10)]).toEqual([2, "compacted", "unavailable"]);
  });

  it("accepts a stored commit index behind the snapshot, and none beyond the log", () => {
    const storage = new MemoryStorage();
    storage.applySnapshot(snapshotAt(1, 5));
    const log = new RaftLog(storage, SILENT_LOGGER, NO_LIMIT);
    log.loadCommitted(3);
    expect(log.committed).toBe(5);
    expect(() => log.loadCommitted(6)).toThrow("stored commit 6");
  });
});

describe("Unstable", () => {
  function unstableOf(offset: number, ...list: readonly number[]): Unstable {
    const unstable = new Unstable(offset, SILENT_LOGGER);
    unstable.truncateAndAppend(list.map((term, i) => entry(term, offset + i)));
    return unstable;
  }

  it("gives out each entry once, and again after it was replaced", () => {
    const unstable = unstableOf(5, 1, 1);
    expect(unstable.nextEntries()).toHaveLength(2);
    unstable.acceptInProgress();
    expect(unstable.hasNextEntries()).toBe(false);
    unstable.truncateAndAppend([entry(2, 6), entry(2, 7)]);
    expect(unstable.nextEntries().map(({ index, term }) => [index, term])).toEqual([
      [6, 2],
      [7, 2],
    ]);
  });

  it("forgets what is stable, but not what replaced it meanwhile", () => {
    const unstable = unstableOf(5, 1, 1, 1);
    unstable.acceptInProgress();
    unstable.stableTo({ term: 1, index: 6 });
    expect([unstable.offset, unstable.length]).toEqual([7, 1]);
    unstable.truncateAndAppend([entry(2, 7)]);
    unstable.stableTo({ term: 1, index: 7 });
    expect([unstable.offset, unstable.length]).toEqual([7, 1]);
    unstable.stableTo({ term: 2, index: 7 });
    expect([unstable.offset, unstable.length]).toEqual([8, 0]);
  });

  it("refuses gaps and falling terms", () => {
    expect(() => unstableOf(5, 1).truncateAndAppend([entry(1, 7)])).toThrow("no gap");
    expect(() => unstableOf(5, 2, 1)).toThrow("contiguous");
  });

  it("keeps a snapshot until that very one is stable", () => {
    const unstable = unstableOf(5, 1);
    unstable.restore(snapshotAt(3, 9));
    expect([unstable.offset, unstable.length]).toEqual([10, 0]);
    unstable.acceptInProgress();
    expect(unstable.nextSnapshot()).toBeUndefined();
    unstable.stableSnapTo(8);
    expect(unstable.snapshot).toBeDefined();
    unstable.stableSnapTo(9);
    expect(unstable.snapshot).toBeUndefined();
  });

  it("gives out lists that later changes do not touch", () => {
    const unstable = unstableOf(5, 1, 1);
    const given = unstable.nextEntries();
    unstable.truncateAndAppend([entry(2, 5)]);
    expect(given.map(({ term }) => term)).toEqual([1, 1]);
  });
});

describe("MemoryStorage", () => {
  it("is empty at first", () => {
    const storage = new MemoryStorage();
    expect([storage.firstIndex(), storage.lastIndex(), storage.term(0)]).toEqual([1, 0, 0]);
    expect(storage.entries(1, 1, NO_LIMIT)).toBe("unavailable");
  });

  it("replaces entries from the first appended index on", () => {
    const storage = new MemoryStorage();
    storage.append(terms(1, 1, 1, 1));
    storage.append([entry(2, 2), entry(2, 3)]);
    expect([storage.lastIndex(), storage.term(1), storage.term(3)]).toEqual([3, 1, 2]);
    expect(() => storage.append([entry(2, 9)])).toThrow("no gap");
  });

  it("forgets compacted entries but the last one's term", () => {
    const storage = new MemoryStorage();
    storage.append(terms(1, 1, 2, 2));
    expect(storage.compact(3)).toBe(true);
    expect(storage.compact(3)).toBe(false);
    expect([storage.firstIndex(), storage.term(3), storage.term(2)]).toEqual([4, 2, "compacted"]);
    expect(storage.entries(3, 5, NO_LIMIT)).toBe("compacted");
    expect(() => storage.compact(5)).toThrow("within the log");
  });

  it("ignores appended entries that are compacted already", () => {
    const storage = new MemoryStorage();
    storage.applySnapshot(snapshotAt(1, 3));
    storage.append([entry(1, 2), entry(1, 3), entry(1, 4)]);
    expect([storage.firstIndex(), storage.lastIndex()]).toEqual([4, 4]);
    storage.append([entry(1, 2)]);
    expect(storage.lastIndex()).toBe(4);
  });

  it("takes only newer snapshots", () => {
    const storage = new MemoryStorage();
    storage.append(terms(1, 1, 1));
    expect(storage.createSnapshot(2, undefined, EMPTY_BYTES)?.metadata.term).toBe(1);
    expect(storage.createSnapshot(2, undefined, EMPTY_BYTES)).toBeUndefined();
    expect(storage.applySnapshot(snapshotAt(1, 2))).toBe(false);
    expect(storage.applySnapshot(snapshotAt(2, 8))).toBe(true);
    expect([storage.firstIndex(), storage.lastIndex(), storage.term(8)]).toEqual([9, 8, 2]);
  });
});
