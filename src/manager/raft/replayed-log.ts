/**
 * What the log says, put together: who this member is, its hard state, its entries, and which
 * snapshot they go on from.
 */

import { EngineError } from "#base/error.ts";
import type { SnapshotFiles } from "#platform/wal/snapshot-files.ts";
import { EMPTY_HARD_STATE, type Entry, type HardState } from "#raft/index.ts";
import { decodeItems, type SnapshotMark } from "./log-records.ts";
import { type KnownMember, knownMember } from "./members.ts";
import { type StoredSnapshot, storedSnapshot } from "./stored-snapshot.ts";

/** What was on disk. */
export interface Loaded {
  /** Undefined on a disk that never took part in a group. */
  readonly self: KnownMember | undefined;
  readonly hardState: HardState;
  /** The entries after the snapshot. */
  readonly entries: readonly Entry[];
  /** Open: to be closed by whoever opened the disk. */
  readonly snapshot: StoredSnapshot | undefined;
}

/** Puts together what the records of the log say. */
export class Past {
  self: KnownMember | undefined;
  hardState: HardState = EMPTY_HARD_STATE;
  mark: SnapshotMark | undefined;
  /** Highest index of an entry per segment. */
  readonly lastIndexIn = new Map<number, number>();
  #entries: Entry[] = [];

  replay(record: Uint8Array, segment: number): void {
    const items = decodeItems(record);
    if (!items.ok) throw damaged(items.error);
    for (const item of items.value) {
      if (item.kind === "identity") this.self = knownMember(item.member);
      else if (item.kind === "hardState") this.hardState = item.hardState;
      else if (item.kind === "entry") this.#add(item.entry, segment);
      else this.#pass(item.mark);
    }
  }

  async load(files: SnapshotFiles): Promise<Loaded> {
    const { self, mark } = this;
    await requireOurs(files, this);
    await discardUnmarked(files, mark);
    const from = mark?.index ?? 0;
    const entries = this.#entries.filter(({ index }) => index > from);
    const first = entries[0]?.index ?? from + 1;
    if (first !== from + 1) throw damaged(`entries ${from + 1} to ${first - 1} are missing`);
    // A snapshot holds committed entries only, so it may know more than the hard state.
    const commit = Math.max(this.hardState.commit, from);
    const snapshot = mark === undefined ? undefined : await openMarked(files, mark);
    return { self, hardState: { ...this.hardState, commit }, entries, snapshot };
  }

  #add(entry: Entry, segment: number): void {
    const first = this.#entries[0]?.index ?? entry.index;
    const position = entry.index - first;
    if (position > this.#entries.length)
      throw damaged(`there is a gap before entry ${entry.index}`);
    // A later leader's entry replaces the one at its index and all that followed.
    this.#entries.length = Math.max(position, 0);
    this.#entries.push(entry);
    const last = this.lastIndexIn.get(segment) ?? 0;
    this.lastIndexIn.set(segment, Math.max(last, entry.index));
  }

  #pass(mark: SnapshotMark): void {
    this.mark = mark;
    this.#entries = mark.replaces
      ? []
      : this.#entries.slice(Math.max(0, mark.index + 1 - (this.#entries[0]?.index ?? 0)));
  }
}

/** Who a member is comes first in its log: a snapshot beside an empty one says that the log was lost. */
async function requireOurs(files: SnapshotFiles, { self, mark }: Past): Promise<void> {
  if (self !== undefined || mark !== undefined) return;
  if ((await files.list()).length > 0) throw damaged("it is empty, while there are snapshots");
}

async function discardUnmarked(
  files: SnapshotFiles,
  mark: SnapshotMark | undefined,
): Promise<void> {
  const stored = await files.list();
  const known = stored.findIndex(({ index, term }) => index === mark?.index && term === mark.term);
  if (known === -1 && mark !== undefined) return;
  await files.discard(known === -1 ? stored : stored.slice(0, known));
}

async function openMarked(files: SnapshotFiles, mark: SnapshotMark): Promise<StoredSnapshot> {
  const stored = await files.list();
  const isThere = stored.some(({ index, term }) => index === mark.index && term === mark.term);
  if (isThere) return storedSnapshot(await files.open(mark));
  throw damaged(`the snapshot of index ${mark.index} is missing`);
}

function damaged(what: string): EngineError {
  const advice = "remove this manager from the swarm and let it join again, or restore a backup";
  return new EngineError("data-loss", `the raft log is damaged: ${what}; ${advice}`);
}
