/** A member that goes on alone, after the majority of its group was lost for good. */

import { EngineError } from "#base/error.ts";
import { must } from "#base/invariant.ts";
import {
  decodeConfChange,
  EMPTY_BYTES,
  type Entry,
  encodeConfChange,
  type NodeId,
} from "#raft/index.ts";
import type { Disk } from "./disk.ts";
import { encodeMember, type KnownMember, Members } from "./members.ts";
import type { Loaded } from "./replayed-log.ts";
import { decodeSnapshot } from "./snapshot-data.ts";

/** A log that is to go on alone, and what is to be said of it. */
export interface Forced {
  readonly loaded: Loaded;
  readonly report: AloneReport;
}

/** What an operator should know of it. */
export interface AloneReport {
  /** Members that are no longer part of the group. */
  readonly lost: readonly KnownMember[];
  /** The newest entry of the group that this member has; what was acknowledged after it is lost. */
  readonly lastIndex: number;
  readonly lastTerm: number;
  /** Entries that this member stored and never learnt to be committed; they are kept. */
  readonly unconfirmed: number;
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
  const names = new Members();
  if (snapshot !== undefined) {
    const { membership } = await decodeSnapshot(snapshot.chunks());
    names.restore(membership, snapshot.metadata.confState);
  }
  const others = membersOf(names, entries);
  others.delete(self.raftId);
  const added: Entry[] = [];
  const last = entries.at(-1) ?? snapshot?.metadata;
  const lastIndex = last?.index ?? 0;
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
    report: {
      lost: [...others].map((raftId) => names.get(raftId) ?? { raftId, nodeId: "", addr: "" }),
      lastIndex,
      lastTerm: last?.term ?? 0,
      unconfirmed: lastIndex - Math.min(loaded.hardState.commit, lastIndex),
    },
  };
}

/** The raft ids that a membership comes to after the changes among the entries, which name them. */
function membersOf(names: Members, entries: readonly Entry[]): Set<NodeId> {
  const { voters, learners, votersOutgoing } = names.confState;
  const ids = new Set([...voters, ...learners, ...votersOutgoing]);
  for (const entry of entries) {
    if (entry.type === "normal") continue;
    const change = decodeConfChange(entry);
    if (!change.ok) throw new EngineError("data-loss", `a membership entry: ${change.error}`);
    names.apply(change.value, names.confState);
    const singles = change.value.version === 1 ? [change.value] : change.value.changes;
    for (const { type, nodeId } of singles) {
      if (type === "removeNode") ids.delete(nodeId);
      else ids.add(nodeId);
    }
  }
  return ids;
}
