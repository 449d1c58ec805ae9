import { describe, expect, it } from "vitest";
import { EMPTY_CONF_STATE, type Entry, message, type Snapshot } from "#raft/index.ts";
import { Checker, Violation } from "./checker.ts";
import { Disk } from "./disk.ts";
import { Network } from "./network.ts";
import { drawProfile } from "./profile.ts";
import { SeededRandom } from "./random.ts";
import { Timeline } from "./timeline.ts";

const NEVER = () => false;
const INITIAL: Snapshot = {
  data: new Uint8Array(4),
  metadata: { index: 1, term: 1, confState: { ...EMPTY_CONF_STATE, voters: [1] } },
};

function entry(term: number, index: number, byte = 0): Entry {
  return { term, index, type: "normal", data: Uint8Array.of(byte) };
}

describe("Timeline", () => {
  it("runs what is due in order of time, then of scheduling", () => {
    const timeline = new Timeline();
    const ran: string[] = [];
    const random = new SeededRandom(1);
    const delays = Array.from({ length: 200 }, () => random.int(20));
    for (const [position, delay] of delays.entries()) {
      timeline.after(delay, () => ran.push(`${delay}/${position}`));
    }
    timeline.runUntil(100, NEVER);
    const sorted = [...delays.entries()].sort(([i, a], [j, b]) => a - b || i - j);
    expect(ran).toEqual(sorted.map(([position, delay]) => `${delay}/${position}`));
    expect(timeline.now).toBe(100);
  });

  it("stops where it is told, and runs what was scheduled on the way", () => {
    const timeline = new Timeline();
    const ran: number[] = [];
    const chain = (): void => {
      ran.push(timeline.now);
      timeline.after(10, chain);
    };
    timeline.after(0, chain);
    timeline.runUntil(1_000, () => ran.length === 3);
    expect(ran).toEqual([0, 10, 20]);
  });
});

describe("SeededRandom", () => {
  it("repeats itself for a seed, and differs between seeds and forks", () => {
    const draw = (random: SeededRandom) => Array.from({ length: 20 }, () => random.int(1_000));
    expect(draw(new SeededRandom(7))).toEqual(draw(new SeededRandom(7)));
    expect(draw(new SeededRandom(7))).not.toEqual(draw(new SeededRandom(8)));
    const parent = new SeededRandom(7);
    expect(draw(parent.fork("a"))).not.toEqual(draw(new SeededRandom(7).fork("b")));
  });

  it("reaches both ends of a range", () => {
    const random = new SeededRandom(3);
    const drawn = new Set(Array.from({ length: 200 }, () => random.between(2, 5)));
    expect([...drawn].sort((a, b) => a - b)).toEqual([2, 3, 4, 5]);
  });
});

describe("Disk", () => {
  function diskOf(seed: number): { readonly disk: Disk; readonly timeline: Timeline } {
    const timeline = new Timeline();
    return {
      timeline,
      disk: new Disk(timeline, new SeededRandom(seed), { syncMs: [10, 10] }, INITIAL),
    };
  }

  it("keeps what it has synced", () => {
    const { disk, timeline } = diskOf(1);
    let synced = false;
    disk.write({ hardState: { term: 3, vote: 2, commit: 2 }, entries: [entry(3, 2)] }, () => {
      synced = true;
    });
    timeline.runUntil(9, NEVER);
    expect(synced).toBe(false);
    timeline.runUntil(10, NEVER);
    expect(synced).toBe(true);
    disk.crash();
    const storage = disk.load();
    expect(storage.initialState().hardState).toEqual({ term: 3, vote: 2, commit: 2 });
    expect([storage.firstIndex(), storage.lastIndex(), storage.term(2)]).toEqual([2, 2, 3]);
  });

  it("loses, at a crash, some last part of what it has not", () => {
    const kept = new Set<number>();
    for (let seed = 1; seed <= 40; seed++) {
      const { disk, timeline } = diskOf(seed);
      for (const index of [2, 3, 4]) disk.write({ entries: [entry(1, index)] }, () => {});
      timeline.runUntil(5, NEVER);
      disk.crash();
      kept.add(disk.load().lastIndex());
    }
    expect([...kept].sort((a, b) => a - b)).toEqual([1, 2, 3, 4]);
  });

  it("answers nobody after a crash", () => {
    const { disk, timeline } = diskOf(1);
    let answers = 0;
    disk.write({ entries: [entry(1, 2)] }, () => answers++);
    disk.crash();
    timeline.runUntil(1_000, NEVER);
    expect(answers).toBe(0);
  });

  it("syncs together what waits while it syncs", () => {
    const { disk, timeline } = diskOf(1);
    const at: number[] = [];
    for (const index of [2, 3, 4]) {
      disk.write({ entries: [entry(1, index)] }, () => at.push(timeline.now));
    }
    timeline.runUntil(1_000, NEVER);
    expect(at).toEqual([10, 20, 20]);
  });
});

describe("Network", () => {
  it("cuts one direction alone, and what is under way with it", () => {
    const timeline = new Timeline();
    const random = new SeededRandom(1);
    const got: string[] = [];
    const profile = {
      ...drawProfile(random.fork("profile")),
      loss: 0,
      duplication: 0,
      lateness: 0,
      latencyMs: [5, 5],
    } as const;
    const network = new Network(timeline, random, profile, (m) => got.push(`${m.from}>${m.to}`));
    const send = (from: number, to: number) => network.send(message({ type: "MsgApp", from, to }));
    expect(send(1, 2)).toBe("delivered");
    network.cut(1, 2);
    expect(send(1, 2)).toBe("lost");
    expect(send(2, 1)).toBe("delivered");
    timeline.runUntil(100, NEVER);
    expect(got).toEqual(["2>1"]);
    network.mend();
    send(1, 2);
    timeline.runUntil(200, NEVER);
    expect(got).toEqual(["2>1", "1>2"]);
  });
});

describe("Checker", () => {
  const log = (...terms: readonly number[]) => ({
    firstIndex: 1,
    termAt: (index: number) => terms[index - 1],
  });
  const breach = (body: (checker: Checker) => void): string => {
    try {
      body(new Checker());
      return "";
    } catch (error) {
      return error instanceof Violation ? error.message : String(error);
    }
  };

  it.each([
    [
      "two leaders of a term",
      "election safety: n1 and n2 both lead term 3",
      (c: Checker) => {
        c.leads(1, 3, log());
        c.leads(2, 3, log());
      },
    ],
    [
      "a leader without a committed entry",
      "leader completeness: n2 leads term 4 without committed entry 3/1 (has term 2 there)",
      (c: Checker) => {
        c.applies(1, entry(3, 1), 0, 77, 3);
        c.leads(2, 4, log(2));
      },
    ],
    [
      "different entries under one name",
      "log matching: n2 stores another entry as 3/1",
      (c: Checker) => {
        c.stores(1, entry(3, 1, 5), 2);
        c.stores(2, entry(3, 1, 6), 2);
      },
    ],
    [
      "different pasts of one entry",
      "log matching: n2 stores 3/1 after term 1, others after 2",
      (c: Checker) => {
        c.stores(1, entry(3, 1), 2);
        c.stores(2, entry(3, 1), 1);
      },
    ],
    [
      "different entries applied",
      "state-machine safety: n2 applies 4/1, others applied 3/1 there",
      (c: Checker) => {
        c.applies(1, entry(3, 1), 0, 77, 3);
        c.applies(2, entry(4, 1), 0, 78, 4);
      },
    ],
    [
      "a gap",
      "state-machine safety: n1 applies 3 after 1",
      (c: Checker) => c.applies(1, entry(3, 3), 1, 77, 3),
    ],
    [
      "a foreign snapshot",
      "state-machine safety: n2 restores a snapshot at 1/1, others applied 3/1",
      (c: Checker) => {
        c.applies(1, entry(3, 1), 0, 77, 3);
        c.restores(2, INITIAL, 77);
      },
    ],
    [
      "a stale read",
      "linearizability: n1 answers a read from index 4, but 5 was acknowledged before it began",
      (c: Checker) => c.answersRead(1, 4, 5),
    ],
  ] as const)("speaks up at %s", (_, message, body) => {
    expect(breach(body)).toBe(message);
  });

  it("does not hold an old leader to what was committed after its term", () => {
    const quiet = (c: Checker) => {
      c.applies(1, entry(5, 1), 0, 77, 5);
      c.leads(2, 4, log());
    };
    expect(breach(quiet)).toBe("");
  });
});
