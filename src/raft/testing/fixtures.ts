/** Single nodes for unit tests: fed by hand, with storage that is always ready. */

import { decodeConfChange } from "../confchange/codec.ts";
import { RAFT_DEFAULTS, type RaftConfig } from "../config.ts";
import { MemoryStorage } from "../memory-storage.ts";
import { EMPTY_BYTES, EMPTY_CONF_STATE, type MessageInit, message } from "../message.ts";
import { RawNode } from "../rawnode.ts";
import { type Entry, type Message, NONE, type NodeId, type Ready } from "../types.ts";

/** Nodes start from a snapshot at this index and term. */
export const START = { index: 1, term: 1 } as const;

export interface TestNode {
  readonly raw: RawNode;
  readonly storage: MemoryStorage;
  /** Steps a message from another node, in the node's own term unless it says otherwise. */
  step(init: MessageInit): void;
  /** Carries out all Readys; returns them. */
  drain(): readonly Ready[];
  /** Carries out all Readys; returns the messages in them. */
  messages(): readonly Message[];
}

export function testNode(
  id: NodeId,
  voters: readonly NodeId[],
  options: Partial<RaftConfig> = {},
): TestNode {
  const storage = new MemoryStorage();
  const confState = { ...EMPTY_CONF_STATE, voters };
  storage.applySnapshot({ data: EMPTY_BYTES, metadata: { ...START, confState } });
  storage.setHardState({ term: START.term, vote: NONE, commit: START.index });
  return nodeOn(storage, id, options);
}

export function nodeOn(
  storage: MemoryStorage,
  id: NodeId,
  options: Partial<RaftConfig> = {},
): TestNode {
  const raw = new RawNode({
    ...RAFT_DEFAULTS,
    preVote: false,
    checkQuorum: false,
    id,
    storage,
    random: () => 0,
    applied: storage.firstIndex() - 1,
    ...options,
  });
  const step = (init: MessageInit) => {
    raw.step(message({ to: id, term: raw.basicStatus().hardState.term, ...init }));
  };
  const drain = () => {
    const readys: Ready[] = [];
    while (raw.hasReady()) readys.push(carryOut(raw, storage));
    return readys;
  };
  return { raw, storage, step, drain, messages: () => drain().flatMap((ready) => ready.messages) };
}

/** Stores and applies one Ready, as a driver that is never interrupted. */
export function carryOut(raw: RawNode, storage: MemoryStorage): Ready {
  const ready = raw.ready();
  if (ready.hardState !== undefined) storage.setHardState(ready.hardState);
  if (ready.snapshot !== undefined) storage.applySnapshot(ready.snapshot);
  storage.append(ready.entries);
  for (const committed of ready.committedEntries) {
    const change = decodeConfChange(committed);
    if (change.ok) raw.applyConfChange(change.value);
  }
  raw.advance();
  return ready;
}

/** Wins an election with the votes of everyone, and forgets what that took. */
export function electLeader(node: TestNode, voters: readonly NodeId[]): void {
  node.raw.campaign();
  node.drain();
  for (const from of voters) node.step({ type: "MsgVoteResp", from });
  node.drain();
}

export function entry(term: number, index: number, text = ""): Entry {
  return { term, index, type: "normal", data: new TextEncoder().encode(text) };
}
