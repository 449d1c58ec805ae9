/** What a leader keeps, forgets and refuses at the turns of its life. */

import { describe, expect, it } from "vitest";
import { encodeConfChange } from "./confchange/codec.ts";
import { MemoryStorage } from "./memory-storage.ts";
import { EMPTY_BYTES, EMPTY_CONF_STATE } from "./message.ts";
import { electLeader, entry, nodeOn, type TestNode, testNode } from "./testing/fixtures.ts";
import { Inflights } from "./tracker/inflights.ts";
import { Progress } from "./tracker/progress.ts";
import { type ConfChange, NO_LIMIT } from "./types.ts";

const VOTERS = [1, 2, 3] as const;
const X = Uint8Array.of(0x78);

function leaderOf(voters: readonly number[], options = {}): TestNode {
  const node = testNode(1, voters, options);
  electLeader(node, voters.slice(1));
  return node;
}

/** Another leader appears, then this node is elected again. */
function losesAndWins(node: TestNode): void {
  const { term } = node.raw.basicStatus().hardState;
  node.step({ type: "MsgHeartbeat", from: 2, term: term + 1 });
  node.drain();
  electLeader(node, [2, 3]);
  expect(node.raw.basicStatus().softState.raftState).toBe("leader");
}

function change(type: "addNode" | "removeNode", nodeId: number): ConfChange {
  return { version: 1, id: 0n, type, nodeId, context: EMPTY_BYTES };
}

function lastEntries(node: TestNode, count: number): readonly string[] {
  const last = node.storage.lastIndex();
  const entries = node.storage.entries(last - count + 1, last + 1, NO_LIMIT);
  return typeof entries === "string" ? [entries] : entries.map(({ type }) => type);
}

describe("a leader that was one before", () => {
  it("takes proposals although its last leadership ended in a transfer", () => {
    const node = leaderOf(VOTERS);
    node.raw.transferLeader(2);
    losesAndWins(node);
    expect(node.raw.propose(X)).toBeUndefined();
  });

  it("takes proposals although its last leadership ended at the limit", () => {
    const node = leaderOf(VOTERS, { maxUncommittedEntriesSize: 1 });
    node.raw.propose(X);
    expect(node.raw.propose(X)).toBe("proposalDropped");
    losesAndWins(node);
    expect(node.raw.propose(X)).toBeUndefined();
  });

  it("does not answer reads of its last leadership", () => {
    const node = leaderOf(VOTERS);
    node.step({ type: "MsgAppResp", from: 2, index: 2 });
    node.raw.readIndex(X);
    const [heartbeat] = node.messages().filter(({ type }) => type === "MsgHeartbeat");
    losesAndWins(node);
    node.step({ type: "MsgHeartbeatResp", from: 2, context: heartbeat?.context ?? EMPTY_BYTES });
    node.step({ type: "MsgHeartbeatResp", from: 3, context: heartbeat?.context ?? EMPTY_BYTES });
    expect(node.drain().flatMap(({ readStates }) => readStates)).toEqual([]);
  });

  it("does not answer reads that waited for its first commit then", () => {
    const node = leaderOf(VOTERS);
    node.raw.readIndex(X);
    losesAndWins(node);
    node.step({ type: "MsgAppResp", from: 2, index: node.storage.lastIndex() });
    const sent = node.messages().filter(({ context }) => context.length > 0);
    expect(sent).toEqual([]);
  });
});

describe("a leader that waits for its first commit", () => {
  it("answers each waiting read once", () => {
    const node = leaderOf(VOTERS);
    node.raw.readIndex(X);
    expect(node.messages()).toEqual([]);
    const answers: number[] = [];
    for (let round = 0; round < 3; round++) {
      node.step({ type: "MsgAppResp", from: 2, index: node.storage.lastIndex() });
      for (const { messages, readStates } of node.drain()) {
        answers.push(...readStates.map(({ index }) => index));
        const asked = messages.find(({ type, to }) => type === "MsgHeartbeat" && to === 2);
        if (asked === undefined) continue;
        node.step({ type: "MsgHeartbeatResp", from: 2, context: asked.context });
      }
      answers.push(...node.drain().flatMap(({ readStates }) => readStates.map((r) => r.index)));
      node.raw.propose(X);
      node.drain();
    }
    expect(answers).toEqual([2]);
  });
});

describe("a leader's own part in the quorum check", () => {
  it("counts before its first entry is stored", () => {
    const node = testNode(1, VOTERS, {
      asyncStorageWrites: true,
      checkQuorum: true,
      electionTick: 5,
    });
    node.raw.campaign();
    const stored = node.raw.ready().messages.filter(({ type }) => type === "MsgStorageAppend");
    for (const m of stored) for (const response of m.responses) node.raw.step(response);
    node.step({ type: "MsgVoteResp", from: 2 });
    expect(node.raw.basicStatus().softState.raftState).toBe("leader");
    for (let i = 0; i < 5; i++) {
      node.step({ type: "MsgHeartbeatResp", from: 2 });
      node.raw.tick();
    }
    expect(node.raw.basicStatus().softState.raftState).toBe("leader");
  });
});

describe("a change of members", () => {
  it("waits for the one before it", () => {
    const node = leaderOf(VOTERS);
    node.step({ type: "MsgAppResp", from: 2, index: 2 });
    node.drain();
    node.raw.proposeConfChange(change("addNode", 4));
    node.raw.proposeConfChange(change("addNode", 5));
    node.drain();
    expect(lastEntries(node, 2)).toEqual(["confChange", "normal"]);
  });

  it("waits for whatever the log of a new leader may hold", () => {
    const node = testNode(1, VOTERS);
    const { type, data } = encodeConfChange(change("addNode", 4));
    const entries = [{ term: 2, index: 2, type, data }];
    node.step({ type: "MsgApp", from: 2, term: 2, logTerm: 1, index: 1, entries });
    node.drain();
    electLeader(node, [2]);
    node.raw.proposeConfChange(change("addNode", 5));
    node.drain();
    expect(lastEntries(node, 3)).toEqual(["confChange", "normal", "normal"]);
  });

  it("ends the transfer to a member that it removes", () => {
    const node = leaderOf(VOTERS);
    node.raw.transferLeader(3);
    node.raw.applyConfChange(change("removeNode", 3));
    expect(node.raw.basicStatus().leadTransferee).toBe(0);
    expect(node.raw.propose(X)).toBeUndefined();
  });

  it("goes on with the transfer to a member that stays", () => {
    const node = leaderOf(VOTERS);
    node.raw.transferLeader(2);
    node.raw.applyConfChange(change("removeNode", 3));
    expect(node.raw.basicStatus().leadTransferee).toBe(2);
  });

  it("answers the reads that the members left have confirmed", () => {
    const node = leaderOf([1, 2]);
    node.step({ type: "MsgAppResp", from: 2, index: 2 });
    node.drain();
    node.raw.readIndex(X);
    expect(node.drain().flatMap(({ readStates }) => readStates)).toEqual([]);
    node.raw.applyConfChange(change("removeNode", 2));
    expect(node.drain().flatMap(({ readStates }) => readStates)).toHaveLength(1);
  });

  it("commits what the members left have acknowledged", () => {
    const node = leaderOf([1, 2]);
    node.raw.propose(X);
    node.drain();
    expect(node.raw.basicStatus().hardState.commit).toBe(1);
    node.raw.applyConfChange(change("removeNode", 2));
    expect(node.raw.basicStatus().hardState.commit).toBe(3);
  });
});

describe("a joint state that ends by itself", () => {
  it("is left once, when everything before the leadership is applied", () => {
    const storage = new MemoryStorage();
    const confState = { ...EMPTY_CONF_STATE, voters: [1], votersOutgoing: [1], autoLeave: true };
    storage.applySnapshot({ data: EMPTY_BYTES, metadata: { index: 1, term: 1, confState } });
    storage.append([entry(1, 2, "a"), entry(1, 3, "b"), entry(1, 4, "c")]);
    storage.setHardState({ term: 1, vote: 1, commit: 3 });
    const node = nodeOn(storage, 1, { maxCommittedSizePerReady: 1 });
    node.raw.campaign();
    node.drain();
    // The entry that begins the term, and one that leaves the joint state; no more.
    expect([storage.lastIndex(), ...lastEntries(node, 2)]).toEqual([6, "normal", "confChangeV2"]);
  });
});

describe("a follower's answers", () => {
  it("do not end snapshot state before the log continues them", () => {
    const node = leaderOf(VOTERS);
    node.storage.createSnapshot(2, undefined, EMPTY_BYTES);
    node.storage.compact(2);
    node.step({ type: "MsgAppResp", from: 3, index: 1, reject: true });
    node.drain();
    expect(node.raw.status().progress.get(3)?.state).toBe("snapshot");
    node.step({ type: "MsgAppResp", from: 3, index: 1 });
    expect(node.raw.status().progress.get(3)?.state).toBe("snapshot");
    expect(node.messages()).toEqual([]);
    node.step({ type: "MsgAppResp", from: 3, index: 2 });
    expect(node.raw.status().progress.get(3)?.state).toBe("replicate");
  });

  it("that are late do not move a follower that waits for its snapshot", () => {
    const progress = new Progress(
      { match: 2, next: 6, isLearner: false, recentActive: true },
      new Inflights(4, NO_LIMIT),
    );
    progress.becomeSnapshot(5);
    expect(progress.maybeDecrTo(5, 3)).toBe(false);
    expect(progress).toMatchObject({ state: "snapshot", next: 6, pendingSnapshot: 5 });
  });

  it("about entries that the leader never made do not count", () => {
    const node = leaderOf(VOTERS);
    const before = node.raw.basicStatus().hardState.commit;
    node.step({ type: "MsgAppResp", from: 2, index: 99 });
    node.step({ type: "MsgAppResp", from: 3, index: 98 });
    expect(node.raw.basicStatus().hardState.commit).toBe(before);
    expect(node.raw.status().progress.get(2)?.match).toBe(0);
  });

  it("make the leader skip back over terms that cannot match", () => {
    const node = testNode(1, VOTERS);
    const entries = [3, 3, 3, 5, 5, 5].map((term, position) => entry(term, position + 2));
    node.step({ type: "MsgApp", from: 2, term: 5, logTerm: 1, index: 1, entries });
    node.drain();
    electLeader(node, [2]);
    // The follower has 1 2 2 2 2: the last place that can match is before our first entry of term 3.
    node.step({ type: "MsgAppResp", from: 3, index: 7, reject: true, rejectHint: 5, logTerm: 2 });
    const [probe] = node.messages().filter(({ to }) => to === 3);
    expect(probe).toMatchObject({ type: "MsgApp", index: 1, logTerm: 1 });
  });
});

describe("a follower that fell silent", () => {
  it("is sent no snapshot before it answers again", () => {
    const node = leaderOf(VOTERS, { checkQuorum: true, electionTick: 3 });
    for (const from of [2, 3]) node.step({ type: "MsgAppResp", from, index: 2 });
    for (let i = 0; i < 6; i++) {
      node.step({ type: "MsgHeartbeatResp", from: 2 });
      node.raw.tick();
    }
    node.raw.propose(X);
    node.raw.propose(X);
    node.drain();
    node.step({ type: "MsgAppResp", from: 2, index: 4 });
    node.drain();
    node.storage.createSnapshot(4, undefined, EMPTY_BYTES);
    node.storage.compact(4);
    node.raw.reportUnreachable(3);
    const snapshotsFor3 = () => node.messages().filter(({ type }) => type === "MsgSnap");
    node.raw.propose(X);
    expect(snapshotsFor3()).toEqual([]);
    node.step({ type: "MsgHeartbeatResp", from: 3 });
    expect(snapshotsFor3()).toMatchObject([{ to: 3 }]);
  });
});

describe("a follower with a snapshot to store", () => {
  it("does not stand for election before it is stored", () => {
    const node = testNode(1, VOTERS, { asyncStorageWrites: true });
    const confState = { ...EMPTY_CONF_STATE, voters: VOTERS };
    const snapshot = { data: EMPTY_BYTES, metadata: { index: 9, term: 1, confState } };
    node.step({ type: "MsgSnap", from: 2, term: 2, snapshot });
    const [append] = node.raw.ready().messages.filter(({ type }) => type === "MsgStorageAppend");
    for (let i = 0; i < 50; i++) node.raw.tick();
    expect(node.raw.basicStatus().softState.raftState).toBe("follower");
    node.storage.applySnapshot(snapshot);
    for (const response of append?.responses ?? []) node.raw.step(response);
    for (let i = 0; i < 50; i++) node.raw.tick();
    expect(node.raw.basicStatus().softState.raftState).toBe("candidate");
  });
});

describe("an append below the commit index", () => {
  it("is answered with the commit index", () => {
    const node = testNode(1, VOTERS);
    const entries = [entry(2, 2), entry(2, 3)];
    const at = { logTerm: 1, index: 1 };
    node.step({ type: "MsgApp", from: 2, term: 2, ...at, entries, commit: 3 });
    node.drain();
    node.step({ type: "MsgApp", from: 2, ...at, entries: entries.slice(0, 1) });
    expect(node.messages()).toMatchObject([{ type: "MsgAppResp", index: 3, reject: false }]);
  });
});
