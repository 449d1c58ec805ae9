import { describe, expect, it } from "vitest";
import { encodeConfChange } from "./confchange/codec.ts";
import { MemoryStorage } from "./memory-storage.ts";
import { EMPTY_BYTES, EMPTY_CONF_STATE, EMPTY_SNAPSHOT, message } from "./message.ts";
import { carryOut, electLeader, entry, nodeOn, START, testNode } from "./testing/fixtures.ts";
import {
  type ConfChange,
  type ConfChangeSingle,
  LOCAL_APPEND_THREAD,
  type MessageType,
  NO_LIMIT,
  type Snapshot,
} from "./types.ts";

const VOTERS = [1, 2, 3] as const;

function changeOf(...changes: readonly ConfChangeSingle[]): ConfChange {
  return { version: 2, transition: "auto", changes, context: EMPTY_BYTES };
}

function snapshotAt(index: number, voters: readonly number[]): Snapshot {
  const confState = { ...EMPTY_CONF_STATE, voters };
  return { data: EMPTY_BYTES, metadata: { index, term: 1, confState } };
}

describe("new RawNode()", () => {
  it.each([
    ["an id of zero", { id: 0 }],
    ["a local target as id", { id: LOCAL_APPEND_THREAD }],
    ["no time for heartbeats", { heartbeatTick: 0 }],
    ["elections as fast as heartbeats", { electionTick: 1, heartbeatTick: 1 }],
    ["no window", { maxInflightMsgs: 0 }],
    ["a window smaller than a message", { maxInflightBytes: 10, maxSizePerMsg: 11 }],
    ["lease reads without quorum checks", { readOnlyOption: "leaseBased", checkQuorum: false }],
  ] as const)("refuses %s", (_, options) => {
    expect(() => testNode(1, VOTERS, options)).toThrow("invariant broken");
  });

  it("goes on where storage ends", () => {
    const storage = new MemoryStorage();
    storage.applySnapshot(snapshotAt(5, VOTERS));
    storage.append([entry(1, 6), entry(2, 7)]);
    storage.setHardState({ term: 3, vote: 2, commit: 6 });
    const node = nodeOn(storage, 1);
    const { raw } = node;
    const { hardState, softState, applied } = raw.basicStatus();
    expect(hardState).toEqual({ term: 3, vote: 2, commit: 6 });
    expect(softState).toEqual({ lead: 0, raftState: "follower" });
    expect(applied).toBe(5);
    // What was committed but not in the snapshot is applied again; nothing is stored again.
    const [ready] = node.drain();
    expect(ready?.committedEntries.map(({ index }) => index)).toEqual([6]);
    expect(ready?.entries).toEqual([]);
    expect(ready?.hardState).toBeUndefined();
  });
});

describe("RawNode.step()", () => {
  it.each([
    "MsgHup",
    "MsgBeat",
    "MsgCheckQuorum",
    "MsgUnreachable",
    "MsgSnapStatus",
    "MsgStorageAppend",
    "MsgStorageAppendResp",
    "MsgStorageApply",
    "MsgStorageApplyResp",
  ] satisfies MessageType[])("refuses %s from the network", (type) => {
    const { raw } = testNode(1, VOTERS);
    expect(raw.step(message({ type, from: 2 }))).toBe("localMessage");
  });

  it("refuses answers from strangers, and takes them from members", () => {
    const { raw } = testNode(1, VOTERS);
    expect(raw.step(message({ type: "MsgAppResp", from: 9, term: 1 }))).toBe("peerNotFound");
    expect(raw.step(message({ type: "MsgAppResp", from: 2, term: 1 }))).toBeUndefined();
  });

  it("drops proposals without a leader, and forwards them with one", () => {
    const node = testNode(1, VOTERS);
    expect(node.raw.propose(EMPTY_BYTES)).toBe("proposalDropped");
    node.step({ type: "MsgHeartbeat", from: 2, term: 2 });
    expect(node.raw.propose(EMPTY_BYTES)).toBeUndefined();
    const forwarded = node.messages().find(({ type }) => type === "MsgProp");
    expect(forwarded).toMatchObject({ from: 1, to: 2, term: 0 });
  });

  it("drops proposals where forwarding is disabled", () => {
    const node = testNode(1, VOTERS, { disableProposalForwarding: true });
    node.step({ type: "MsgHeartbeat", from: 2, term: 2 });
    expect(node.raw.propose(EMPTY_BYTES)).toBe("proposalDropped");
  });

  it.each([
    ["a gap", [entry(2, 2), entry(2, 4)]],
    ["a late start", [entry(2, 3)]],
    ["falling terms", [entry(2, 2), entry(1, 3)]],
    ["a term beyond the leader's", [entry(3, 2)]],
  ])("ignores an append with %s", (_, entries) => {
    const node = testNode(1, VOTERS);
    node.step({ type: "MsgApp", from: 2, term: 2, ...logAt(1, 1), entries });
    expect(node.messages().filter(({ type }) => type === "MsgAppResp")).toEqual([]);
    expect(node.storage.lastIndex()).toBe(START.index);
  });
});

describe("RawNode.ready()", () => {
  it("is followed by advance before it may be called again", () => {
    const { raw } = testNode(1, [1]);
    raw.campaign();
    raw.ready();
    expect(() => raw.ready()).toThrow("followed by advance");
    raw.advance();
    expect(() => raw.ready()).not.toThrow();
  });

  it("gives nothing out twice", () => {
    const node = testNode(1, [1]);
    node.raw.campaign();
    node.drain();
    node.raw.propose(Uint8Array.of(7));
    const readys = node.drain();
    const stored = readys.flatMap(({ entries }) => entries.map(({ index }) => index));
    const applied = readys.flatMap(({ committedEntries }) =>
      committedEntries.map(({ index }) => index),
    );
    expect([stored, applied]).toEqual([[3], [3]]);
    expect(node.raw.hasReady()).toBe(false);
  });

  it("asks for a sync when entries, term or vote change, not for the commit index", () => {
    const node = testNode(1, VOTERS);
    node.step({ type: "MsgApp", from: 2, term: 2, ...logAt(1, 1), entries: [entry(2, 2)] });
    expect(carryOut(node.raw, node.storage).mustSync).toBe(true);
    node.step({ type: "MsgHeartbeat", from: 2, commit: 2 });
    const ready = carryOut(node.raw, node.storage);
    expect([ready.mustSync, ready.hardState?.commit]).toEqual([false, 2]);
  });

  it("holds back what promises something until it is stored", () => {
    const node = testNode(1, VOTERS, { asyncStorageWrites: true });
    node.step({ type: "MsgVote", from: 2, term: 2, ...logAt(1, 1) });
    const { messages } = node.raw.ready();
    expect(messages.map(({ type }) => type)).toEqual(["MsgStorageAppend"]);
    const [append] = messages;
    expect(append).toMatchObject({ to: LOCAL_APPEND_THREAD, term: 2, vote: 2 });
    expect(append?.responses.map(({ type, to }) => [type, to])).toEqual([["MsgVoteResp", 2]]);
  });

  it("never moves on without storage where writes are asynchronous", () => {
    const { raw } = testNode(1, [1], { asyncStorageWrites: true });
    expect(() => raw.advance()).toThrow("instead of advance");
  });
});

describe("RawNode.applyConfChange()", () => {
  it("returns the membership to store", () => {
    const { raw } = testNode(1, [1]);
    const state = raw.applyConfChange(changeOf({ type: "addLearnerNode", nodeId: 2 }));
    expect(state).toEqual({ ...EMPTY_CONF_STATE, voters: [1], learners: [2] });
  });

  it("stops at a change that does not fit", () => {
    const { raw } = testNode(1, [1]);
    expect(() => raw.applyConfChange(changeOf({ type: "removeNode", nodeId: 1 }))).toThrow(
      "a committed membership fits: removed all voters",
    );
  });

  it("leaves a newer snapshot's membership alone while older entries are applied", () => {
    const node = testNode(1, VOTERS);
    const { type, data } = encodeConfChange(changeOf({ type: "addNode", nodeId: 4 }));
    const entries = [{ term: 1, index: 2, type, data }];
    node.step({ type: "MsgApp", from: 2, term: 2, ...logAt(1, 1), entries, commit: 2 });
    const ready = node.raw.ready();
    expect(ready.committedEntries).toHaveLength(1);
    // Before the entry is applied, a snapshot comes in that already covers it and more.
    node.step({ type: "MsgSnap", from: 2, snapshot: snapshotAt(9, [1, 4]) });
    const state = node.raw.applyConfChange(changeOf({ type: "addNode", nodeId: 4 }));
    expect(state.voters).toEqual([1, 2, 3, 4]);
    expect(node.raw.status().config.voters.ids).toEqual([1, 4]);
    node.storage.append(ready.entries);
    node.raw.advance();
    node.drain();
    // Once the snapshot is stored, changes are made to its membership again.
    const next = node.raw.applyConfChange(changeOf({ type: "addNode", nodeId: 5 }));
    expect(next.voters).toEqual([1, 4, 5]);
  });
});

describe("RawNode.bootstrap()", () => {
  it("gives every peer the same first entries, to be stored and applied", () => {
    const peers = VOTERS.map((id) => ({ id, context: Uint8Array.of(id) }));
    const [first, second] = [1, 2].map((id) => {
      const node = nodeOn(new MemoryStorage(), id);
      node.raw.bootstrap(peers);
      return node.drain()[0];
    });
    expect(first?.entries).toHaveLength(3);
    expect(first?.hardState).toEqual({ term: 1, vote: 0, commit: 3 });
    expect(first?.committedEntries).toEqual(first?.entries);
    expect(second?.entries).toEqual(first?.entries);
  });

  it("refuses a log that has begun", () => {
    const { raw } = testNode(1, [1]);
    expect(() => raw.bootstrap([{ id: 1, context: EMPTY_BYTES }])).toThrow("only an empty log");
  });
});

describe("RawNode.status()", () => {
  it("shows progress on the leader only", () => {
    const node = testNode(1, VOTERS);
    expect(node.raw.status().progress.size).toBe(0);
    electLeader(node, [2, 3]);
    const { progress } = node.raw.status();
    expect([...progress.keys()]).toEqual([1, 2, 3]);
    expect(progress.get(1)).toMatchObject({ state: "replicate", match: 2, recentActive: true });
    expect(progress.get(2)).toMatchObject({ state: "probe", match: 0, recentActive: false });
  });
});

describe("replication to a follower", () => {
  it("sends a snapshot where the log is compacted, and goes on after it", () => {
    const node = testNode(1, VOTERS, { maxSizePerMsg: NO_LIMIT });
    electLeader(node, [2, 3]);
    node.step({ type: "MsgAppResp", from: 2, index: 2 });
    node.drain();
    const { confState } = node.storage.snapshot().metadata;
    node.storage.createSnapshot(2, confState, EMPTY_BYTES);
    node.storage.compact(2);
    // Follower 3 has nothing at all.
    node.step({ type: "MsgAppResp", from: 3, index: 1, reject: true });
    const [snap] = node.messages().filter(({ to }) => to === 3);
    expect(snap).toMatchObject({ type: "MsgSnap", snapshot: { metadata: { index: 2 } } });
    expect(node.raw.status().progress.get(3)).toMatchObject({ state: "snapshot", paused: true });
    node.step({ type: "MsgAppResp", from: 3, index: 2 });
    expect(node.raw.status().progress.get(3)).toMatchObject({ state: "replicate", match: 2 });
  });

  it("probes again after a snapshot that did not arrive, at the next heartbeat answer", () => {
    const node = testNode(1, VOTERS);
    electLeader(node, [2, 3]);
    node.storage.createSnapshot(2, undefined, EMPTY_BYTES);
    node.storage.compact(2);
    node.step({ type: "MsgAppResp", from: 3, index: 1, reject: true });
    node.drain();
    node.raw.reportSnapshot(3, "failure");
    expect(node.raw.status().progress.get(3)).toMatchObject({ state: "probe", paused: true });
    node.step({ type: "MsgHeartbeatResp", from: 3 });
    expect(node.messages().map(({ type }) => type)).toContain("MsgSnap");
  });

  it("refuses a snapshot that does not know the receiver", () => {
    const node = testNode(1, VOTERS);
    node.step({ type: "MsgSnap", from: 2, term: 2, snapshot: snapshotAt(9, [2, 3]) });
    expect(node.messages()).toMatchObject([{ type: "MsgAppResp", index: START.index }]);
    expect(node.raw.status().config.voters.ids).toEqual([1, 2, 3]);
  });
});

describe("leadership transfer", () => {
  it("refuses proposals until it succeeds or times out", () => {
    const node = testNode(1, VOTERS, { electionTick: 5 });
    electLeader(node, [2, 3]);
    node.raw.transferLeader(2);
    expect(node.raw.basicStatus().leadTransferee).toBe(2);
    expect(node.raw.propose(EMPTY_BYTES)).toBe("proposalDropped");
    for (let i = 0; i < 5; i++) node.raw.tick();
    expect(node.raw.basicStatus().leadTransferee).toBe(0);
    expect(node.raw.propose(EMPTY_BYTES)).toBeUndefined();
  });

  it("tells the target to stand once it has everything", () => {
    const node = testNode(1, VOTERS);
    electLeader(node, [2, 3]);
    node.raw.transferLeader(2);
    expect(node.messages().map(({ type }) => type)).not.toContain("MsgTimeoutNow");
    node.step({ type: "MsgAppResp", from: 2, index: 2 });
    const sent = node.messages().filter(({ type }) => type === "MsgTimeoutNow");
    expect(sent.map(({ to }) => to)).toEqual([2]);
  });

  it("overrides the lease of those who hear from the old leader", () => {
    const target = testNode(2, VOTERS, { checkQuorum: true });
    target.step({ type: "MsgHeartbeat", from: 1, term: 1 });
    target.drain();
    target.step({ type: "MsgTimeoutNow", from: 1 });
    const [request] = target.messages().filter(({ type, to }) => type === "MsgVote" && to === 3);
    const voter = testNode(3, VOTERS, { checkQuorum: true });
    voter.step({ type: "MsgHeartbeat", from: 1, term: 1 });
    voter.drain();
    if (request !== undefined) voter.raw.step(request);
    expect(voter.messages()).toMatchObject([{ type: "MsgVoteResp", to: 2, reject: false }]);
  });
});

function logAt(term: number, index: number): { readonly logTerm: number; readonly index: number } {
  return { logTerm: term, index };
}

describe("an empty storage", () => {
  it("starts a node that waits to be told of a group", () => {
    const storage = new MemoryStorage();
    expect(storage.snapshot()).toBe(EMPTY_SNAPSHOT);
    const node = nodeOn(storage, 4);
    for (let i = 0; i < 100; i++) node.raw.tick();
    expect(node.raw.basicStatus().softState.raftState).toBe("follower");
    node.step({ type: "MsgSnap", from: 1, term: 3, snapshot: snapshotAt(9, [1, 4]) });
    node.drain();
    expect(node.raw.basicStatus()).toMatchObject({ applied: 9, hardState: { commit: 9 } });
  });
});
