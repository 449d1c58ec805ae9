/**
 * From what is on disk to a member that can start: the core's storage, the store and the members as
 * the newest snapshot has them, with the entries after it to be applied again.
 */

import { EngineError } from "#base/error.ts";
import { must } from "#base/invariant.ts";
import {
  type ConfState,
  decodeConfChange,
  EMPTY_BYTES,
  EMPTY_CONF_STATE,
  type Entry,
  encodeConfChange,
  MemoryStorage,
  type NodeId,
} from "#raft/index.ts";
import { createStore, type Store } from "#store/store.ts";
import type { Disk } from "./disk.ts";
import { encodeMember, type KnownMember, Members } from "./members.ts";
import type { Loaded } from "./replayed-log.ts";
import { decodeSnapshot } from "./snapshot-data.ts";

export interface Recovered {
  readonly storage: MemoryStorage;
  readonly store: Store;
  readonly members: Members;
  /** Index that the store is at. */
  readonly applied: number;
  /** Size of the snapshot, bytes; 0 without one. */
  readonly snapshotBytes: number;
}

/** Reads the snapshot, and closes it. */
export async function recover({ snapshot, entries, hardState }: Loaded): Promise<Recovered> {
  const storage = new MemoryStorage();
  const store = createStore();
  const members = new Members();
  if (snapshot !== undefined) {
    const { metadata } = snapshot;
    const decoded = await decodeSnapshot(snapshot.chunks());
    await snapshot.close();
    storage.applySnapshot({ metadata, data: EMPTY_BYTES });
    store.restore(decoded.state, metadata.index);
    members.restore(decoded.membership, metadata.confState);
  }
  storage.append(entries);
  storage.setHardState(hardState);
  const snapshotBytes = snapshot?.content.length ?? 0;
  return { storage, store, members, applied: store.view().index, snapshotBytes };
}

/** A log that is to go on alone, and what is to be said of it. */
export interface Forced {
  readonly loaded: Loaded;
  /** Entries that this member stored and never learnt to be committed; they are kept. */
  readonly unconfirmed: number;
  /** Members that are no longer part of the group. */
  readonly lost: number;
}

/**
 * The log of a member that is to go on alone, after the majority of its group was lost for good:
 * all that it has, then entries that make it the only voter. The end of it may not have been known
 * here to be committed, as a commit index is told late and written later; what clients were told is
 * stored may be there, so nothing is dropped. The others, should they come back, must join anew.
 */
export async function forceNewCluster(
  disk: Disk,
  loaded: Loaded,
  self: KnownMember,
): Promise<Forced> {
  const { entries, snapshot } = loaded;
  const { term } = loaded.hardState;
  const others = membersOf(snapshot?.metadata.confState ?? EMPTY_CONF_STATE, entries);
  others.delete(self.raftId);
  const added: Entry[] = [];
  const lastIndex = entries.at(-1)?.index ?? snapshot?.metadata.index ?? 0;
  const append = (type: "addNode" | "removeNode", nodeId: NodeId, context: Uint8Array) => {
    const change = encodeConfChange({ version: 1, id: 0n, type, nodeId, context });
    added.push({ term, index: lastIndex + added.length + 1, ...change });
  };
  // First this one, which may have been a learner: a group is never without a voter.
  append("addNode", self.raftId, encodeMember(self));
  for (const id of others) append("removeNode", id, EMPTY_BYTES);
  const commit = must(added.at(-1), "an entry that adds this member").index;
  const hardState = { ...loaded.hardState, commit };
  await disk.append(added, hardState);
  return {
    loaded: { ...loaded, entries: [...entries, ...added], hardState },
    unconfirmed: lastIndex - Math.min(loaded.hardState.commit, lastIndex),
    lost: others.size,
  };
}

/** The raft ids that a membership comes to after the changes among the entries. */
function membersOf(confState: ConfState, entries: readonly Entry[]): Set<NodeId> {
  const { voters, learners, votersOutgoing } = confState;
  const ids = new Set([...voters, ...learners, ...votersOutgoing]);
  for (const entry of entries) {
    if (entry.type === "normal") continue;
    const change = decodeConfChange(entry);
    if (!change.ok) throw new EngineError("data-loss", `a membership entry: ${change.error}`);
    const singles = change.value.version === 1 ? [change.value] : change.value.changes;
    for (const { type, nodeId } of singles) {
      if (type === "removeNode") ids.delete(nodeId);
      else ids.add(nodeId);
    }
  }
  return ids;
}
