/**
 * From what is on disk to a member that can start: the core's storage, the store and the members as
 * the newest snapshot has them, with the entries after it to be applied again.
 */

import { EMPTY_BYTES, MemoryStorage } from "#raft/index.ts";
import { createStore, type Store } from "#store/store.ts";
import { Members } from "./members.ts";
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
