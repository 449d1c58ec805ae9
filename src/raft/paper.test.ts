/** One test per claim of the Raft paper (extended version), named by its section. */

import { describe, expect, it } from "vitest";
import { carryOut, electLeader, entry, testNode } from "./testing/fixtures.ts";
import type { StateType } from "./types.ts";

const VOTERS = [1, 2, 3, 4, 5] as const;

function stateOf({ raw }: ReturnType<typeof testNode>): StateType {
  return raw.basicStatus().softState.raftState;
}

describe("§5.1 terms", () => {
  it.each(["follower", "candidate", "leader"] as const)(
    "a %s that sees a later term follows it",
    (role) => {
      const node = testNode(1, VOTERS);
      if (role !== "follower") node.raw.campaign();
      if (role === "leader") electLeader(node, [2, 3]);
      expect(stateOf(node)).toBe(role);
      node.step({ type: "MsgApp", from: 2, term: 9 });
      expect(stateOf(node)).toBe("follower");
      expect(node.raw.basicStatus().hardState.term).toBe(9);
    },
  );

  it("a message of an earlier term is not acted on", () => {
    const node = testNode(1, VOTERS);
    node.step({ type: "MsgHeartbeat", from: 2, term: 5 });
    node.drain();
    node.step({ type: "MsgApp", from: 3, term: 4, logTerm: 1, index: 1, entries: [entry(4, 2)] });
    expect(node.storage.lastIndex()).toBe(1);
    expect(node.raw.basicStatus().softState.lead).toBe(2);
  });
});

describe("§5.2 elections", () => {
  it("a leader sends heartbeats at every interval", () => {
    const node = testNode(1, VOTERS, { heartbeatTick: 2 });
    electLeader(node, [2, 3]);
    node.raw.tick();
    expect(node.messages()).toEqual([]);
    node.raw.tick();
    const sent = node.messages();
    expect(sent.map(({ type, to }) => [type, to])).toEqual(
      [2, 3, 4, 5].map((to) => ["MsgHeartbeat", to]),
    );
  });

  it.each(["follower", "candidate"] as const)(
    "a %s campaigns after the election timeout",
    (role) => {
      const node = testNode(1, VOTERS, { electionTick: 10, random: () => 4 });
      if (role === "candidate") {
        node.raw.campaign();
        node.drain();
      }
      const { term } = node.raw.basicStatus().hardState;
      for (let i = 0; i < 13; i++) node.raw.tick();
      expect(node.messages()).toEqual([]);
      node.raw.tick();
      const asked = node.messages().filter(({ type }) => type === "MsgVote");
      expect(asked.map(({ to }) => to)).toEqual([2, 3, 4, 5]);
      expect(node.raw.basicStatus().hardState).toMatchObject({ term: term + 1, vote: 1 });
    },
  );

  it("the timeout is drawn anew from its whole range", () => {
    const bounds: number[] = [];
    const node = testNode(1, VOTERS, {
      electionTick: 7,
      random: (bound) => {
        bounds.push(bound);
        return bound - 1;
      },
    });
    node.raw.campaign();
    expect(bounds).toEqual([7, 7]);
    node.drain();
    for (let i = 0; i < 12; i++) node.raw.tick();
    expect(node.raw.hasReady()).toBe(false);
    node.raw.tick();
    expect(node.raw.hasReady()).toBe(true);
  });

  it.each([
    { yes: [2, 3], no: [], state: "leader" },
    { yes: [2], no: [], state: "candidate" },
    { yes: [2], no: [3, 4], state: "candidate" },
    { yes: [], no: [3, 4, 5], state: "follower" },
    { yes: [2, 2, 2], no: [], state: "candidate" },
    { yes: [2, 3], no: [2], state: "leader" },
  ] as const)("votes of $yes and refusals of $no make a $state", ({ yes, no, state }) => {
    const node = testNode(1, VOTERS);
    node.raw.campaign();
    node.drain();
    const [first, ...others] = yes;
    if (first !== undefined) node.step({ type: "MsgVoteResp", from: first });
    for (const from of no) node.step({ type: "MsgVoteResp", from, reject: true });
    for (const from of others) node.step({ type: "MsgVoteResp", from });
    expect(stateOf(node)).toBe(state);
  });

  it("a candidate does not count its own vote before it is stored", () => {
    const node = testNode(1, [1]);
    node.raw.campaign();
    const ready = node.raw.ready();
    expect(ready.hardState).toMatchObject({ vote: 1 });
    expect(stateOf(node)).toBe("candidate");
    node.raw.advance();
    expect(stateOf(node)).toBe("leader");
  });

  it("a vote is given once per term, first come first served, and again to the same one", () => {
    const node = testNode(1, VOTERS);
    const ask = (from: number) => {
      node.step({ type: "MsgVote", from, term: 2, logTerm: 1, index: 1 });
      return node.messages().map(({ type, to, reject }) => [type, to, reject]);
    };
    expect(ask(2)).toEqual([["MsgVoteResp", 2, false]]);
    expect(ask(3)).toEqual([["MsgVoteResp", 3, true]]);
    expect(ask(2)).toEqual([["MsgVoteResp", 2, false]]);
  });

  it("a vote is not given against a leader that is known in the term", () => {
    const node = testNode(1, VOTERS);
    node.step({ type: "MsgHeartbeat", from: 2, term: 2 });
    node.drain();
    node.step({ type: "MsgVote", from: 3, logTerm: 9, index: 9 });
    expect(node.messages()).toMatchObject([{ type: "MsgVoteResp", to: 3, reject: true }]);
  });

  it.each([
    ["a heartbeat", { type: "MsgHeartbeat", from: 2, term: 2 }],
    ["an append", { type: "MsgApp", from: 2, term: 2, logTerm: 1, index: 1 }],
    ["a vote given", { type: "MsgVote", from: 2, term: 2, logTerm: 1, index: 1 }],
  ] as const)("%s puts the next election off", (_, m) => {
    const node = testNode(1, VOTERS, { electionTick: 10 });
    // The first one also changes the term, which resets the clock by itself.
    node.step(m);
    for (let i = 0; i < 9; i++) node.raw.tick();
    node.step(m);
    for (let i = 0; i < 9; i++) node.raw.tick();
    node.drain();
    expect(stateOf(node)).toBe("follower");
    node.raw.tick();
    expect(stateOf(node)).toBe("candidate");
  });

  it("a candidate gives way to a leader of its own term", () => {
    const node = testNode(1, VOTERS);
    node.raw.campaign();
    node.drain();
    node.step({ type: "MsgHeartbeat", from: 3 });
    expect(node.raw.basicStatus().softState).toEqual({ raftState: "follower", lead: 3 });
  });
});

describe("§5.3 log replication", () => {
  it("a leader appends a proposal and sends it to all with the entry before it", () => {
    const node = testNode(1, [1, 2, 3]);
    electLeader(node, [2, 3]);
    for (const from of [2, 3]) node.step({ type: "MsgAppResp", from, index: 2 });
    node.drain();
    node.raw.propose(new TextEncoder().encode("x"));
    const ready = carryOut(node.raw, node.storage);
    expect(ready.entries).toMatchObject([{ term: 2, index: 3 }]);
    expect(ready.messages).toMatchObject(
      [2, 3].map((to) => ({ type: "MsgApp", to, index: 2, logTerm: 2, commit: 2 })),
    );
  });

  it.each([
    { voters: [1], acks: [], committed: true },
    { voters: [1, 2, 3], acks: [], committed: false },
    { voters: [1, 2, 3], acks: [2], committed: true },
    { voters: [1, 2, 3, 4, 5], acks: [2], committed: false },
    { voters: [1, 2, 3, 4, 5], acks: [2, 5], committed: true },
  ])("with $voters an entry acknowledged by $acks is committed: $committed", (row) => {
    const node = testNode(1, row.voters);
    electLeader(node, row.voters.slice(1));
    const before = node.raw.basicStatus().hardState.commit;
    node.raw.propose(new TextEncoder().encode("x"));
    node.drain();
    const last = node.storage.lastIndex();
    for (const from of row.acks) node.step({ type: "MsgAppResp", from, index: last });
    const after = node.raw.basicStatus().hardState.commit;
    expect(after).toBe(row.committed ? last : before);
  });

  it("a follower refuses entries that do not continue its log, and says where it may match", () => {
    const node = testNode(1, [1, 2, 3]);
    node.step({
      type: "MsgApp",
      from: 2,
      term: 3,
      logTerm: 1,
      index: 1,
      entries: [entry(2, 2), entry(2, 3)],
    });
    node.drain();
    node.step({ type: "MsgApp", from: 2, logTerm: 3, index: 9, entries: [entry(3, 10)] });
    expect(node.messages()).toMatchObject([
      { type: "MsgAppResp", reject: true, index: 9, rejectHint: 3, logTerm: 2 },
    ]);
  });

  it("a follower's conflicting entries give way to the leader's", () => {
    const node = testNode(1, [1, 2, 3]);
    const at = { logTerm: 1, index: 1 };
    node.step({ type: "MsgApp", from: 2, term: 2, ...at, entries: [entry(2, 2), entry(2, 3)] });
    node.drain();
    node.step({ type: "MsgApp", from: 3, term: 3, ...at, entries: [entry(3, 2)] });
    node.drain();
    expect([node.storage.lastIndex(), node.storage.term(2)]).toEqual([2, 3]);
  });

  it("a follower acknowledges only what is stored", () => {
    const node = testNode(1, [1, 2, 3], { asyncStorageWrites: true });
    const at = { logTerm: 1, index: 1 };
    node.step({ type: "MsgApp", from: 2, term: 2, ...at, entries: [entry(2, 2)] });
    const { messages } = node.raw.ready();
    expect(messages.map(({ type }) => type)).toEqual(["MsgStorageAppend"]);
    expect(messages[0]?.responses.map(({ type }) => type)).toEqual([
      "MsgAppResp",
      "MsgStorageAppendResp",
    ]);
  });
});

describe("§5.4 safety", () => {
  it.each([
    { logTerm: 3, index: 3, granted: true },
    { logTerm: 4, index: 1, granted: true },
    { logTerm: 3, index: 2, granted: false },
    { logTerm: 2, index: 9, granted: false },
  ])("a vote for a log ending in $logTerm/$index by one ending in 3/3: $granted", (row) => {
    const node = testNode(1, [1, 2, 3]);
    const at = { logTerm: 1, index: 1 };
    node.step({ type: "MsgApp", from: 2, term: 3, ...at, entries: [entry(2, 2), entry(3, 3)] });
    node.drain();
    node.step({ type: "MsgVote", from: 3, term: 5, logTerm: row.logTerm, index: row.index });
    expect(node.messages()).toMatchObject([{ type: "MsgVoteResp", reject: !row.granted }]);
  });

  it("a leader commits entries of earlier terms only with one of its own", () => {
    const node = testNode(1, [1, 2, 3]);
    const at = { logTerm: 1, index: 1 };
    node.step({ type: "MsgApp", from: 2, term: 2, ...at, entries: [entry(2, 2)] });
    node.drain();
    electLeader(node, [2]);
    const { term, commit } = node.raw.basicStatus().hardState;
    expect([term, commit]).toEqual([3, 1]);
    node.step({ type: "MsgAppResp", from: 2, index: 2 });
    expect(node.raw.basicStatus().hardState.commit).toBe(1);
    node.step({ type: "MsgAppResp", from: 2, index: 3 });
    expect(node.raw.basicStatus().hardState.commit).toBe(3);
  });
});

describe("§6 cluster membership", () => {
  it("a follower that hears from its leader ignores elections", () => {
    const node = testNode(1, [1, 2, 3], { checkQuorum: true });
    node.step({ type: "MsgHeartbeat", from: 2, term: 2 });
    node.drain();
    node.step({ type: "MsgVote", from: 3, term: 9, logTerm: 9, index: 9 });
    expect(node.messages()).toEqual([]);
    expect(node.raw.basicStatus().hardState.term).toBe(2);
    for (let i = 0; i < 10; i++) node.raw.tick();
    node.drain();
    node.step({ type: "MsgVote", from: 3, term: 9, logTerm: 9, index: 9 });
    expect(node.messages()).toMatchObject([{ type: "MsgVoteResp", term: 9, reject: false }]);
  });
});

describe("§6.2 of the dissertation: leaders without a quorum", () => {
  it("step down after an election timeout of silence", () => {
    const node = testNode(1, [1, 2, 3], { checkQuorum: true, electionTick: 5 });
    electLeader(node, [2, 3]);
    for (let i = 0; i < 5; i++) node.raw.tick();
    // The votes do not count as signs of life in this term.
    expect(stateOf(node)).toBe("follower");
  });

  it("lead on while a quorum answers", () => {
    const node = testNode(1, [1, 2, 3], { checkQuorum: true, electionTick: 5 });
    electLeader(node, [2, 3]);
    for (let i = 0; i < 20; i++) {
      node.step({ type: "MsgHeartbeatResp", from: 2 });
      node.raw.tick();
      node.drain();
    }
    expect(stateOf(node)).toBe("leader");
  });
});

describe("§9.6 of the dissertation: pre-vote", () => {
  it("a cut-off node does not raise its term, however long it tries", () => {
    const node = testNode(1, [1, 2, 3], { preVote: true });
    for (let i = 0; i < 200; i++) {
      node.raw.tick();
      node.drain();
    }
    expect(node.raw.basicStatus().hardState).toMatchObject({ term: 1, vote: 0 });
    expect(stateOf(node)).toBe("preCandidate");
  });

  it("a pre-candidate campaigns once a majority would vote for it", () => {
    const node = testNode(1, [1, 2, 3], { preVote: true });
    node.raw.campaign();
    const asked = node.messages();
    expect(asked).toMatchObject([2, 3].map((to) => ({ type: "MsgPreVote", to, term: 2 })));
    node.step({ type: "MsgPreVoteResp", from: 2, term: 2 });
    expect(stateOf(node)).toBe("candidate");
    expect(node.raw.basicStatus().hardState).toMatchObject({ term: 2, vote: 1 });
  });
});
