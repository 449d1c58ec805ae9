/**
 * The replicated state of one node while it is up: what it has applied, the clients that wait for
 * it, and its checkpoints. All of it is lost in a crash and rebuilt from the last checkpoint.
 */

import {
  type ConfState,
  decodeConfChange,
  type Entry,
  type MemoryStorage,
  type NodeId,
  type RawNode,
  type ReadState,
  type Snapshot,
} from "#raft/index.ts";
import type { Checker } from "./checker.ts";
import type { Disk } from "./disk.ts";
import type { Profile } from "./profile.ts";
import { foldState, numberOf, stateBytes, stateOf } from "./state-machine.ts";

export interface ReplicaParts {
  readonly id: NodeId;
  readonly raw: RawNode;
  readonly storage: MemoryStorage;
  readonly disk: Disk;
  readonly checker: Checker;
  readonly profile: Profile;
  readonly say: (line: () => string) => void;
}

interface PendingRead {
  readonly floor: number;
  /** Undefined until raft tells from which index on it may be answered. */
  index: number | undefined;
}

export class Replica {
  readonly #parts: ReplicaParts;
  readonly #writes = new Set<number>();
  readonly #reads = new Map<number, PendingRead>();
  #confState: ConfState;
  #applied: number;
  #state: number;

  constructor(parts: ReplicaParts) {
    this.#parts = parts;
    const { data, metadata } = parts.storage.snapshot();
    this.#confState = metadata.confState;
    this.#applied = metadata.index;
    this.#state = stateOf(data);
  }

  get applied(): number {
    return this.#applied;
  }

  /** A client wrote here: it is told when the entry is applied. */
  awaitWrite(number: number): void {
    this.#writes.add(number);
  }

  /** A client reads here, and must see all that was acknowledged when it came. */
  awaitRead(number: number): void {
    this.#reads.set(number, { floor: this.#parts.checker.lastAcked, index: undefined });
  }

  confirmReads(readStates: readonly ReadState[]): void {
    for (const { index, requestCtx } of readStates) {
      const read = this.#reads.get(numberOf(requestCtx));
      if (read !== undefined) read.index = index;
    }
    this.#answerReads();
  }

  restore(snapshot: Snapshot): void {
    const { index, confState } = snapshot.metadata;
    const { id, checker, storage, say } = this.#parts;
    say(() => `restores a snapshot at ${index}`);
    storage.applySnapshot(snapshot);
    this.#applied = index;
    this.#confState = confState;
    this.#state = stateOf(snapshot.data);
    checker.restores(id, snapshot, this.#state);
  }

  apply(entries: readonly Entry[]): void {
    let membershipChanged = false;
    for (const entry of entries) {
      // Handed out before a snapshot overtook it.
      if (entry.index <= this.#applied) continue;
      this.#applyEntry(entry);
      membershipChanged ||= entry.type !== "normal";
    }
    this.#answerReads();
    this.#maybeCheckpoint(membershipChanged);
  }

  #applyEntry(entry: Entry): void {
    const { id, raw, checker, say } = this.#parts;
    this.#state = foldState(this.#state, entry);
    const { term } = raw.basicStatus().hardState;
    checker.applies(id, entry, this.#applied, this.#state, term);
    this.#applied = entry.index;
    if (entry.type !== "normal") {
      const change = decodeConfChange(entry);
      if (change.ok) this.#confState = raw.applyConfChange(change.value);
    } else if (entry.data.length > 0 && this.#writes.delete(numberOf(entry.data))) {
      say(() => `acknowledges #${numberOf(entry.data)} at ${entry.index}`);
      checker.acks(entry.index);
    }
  }

  #answerReads(): void {
    const { id, checker, say } = this.#parts;
    for (const [number, { floor, index }] of this.#reads) {
      if (index === undefined || index > this.#applied) continue;
      this.#reads.delete(number);
      say(() => `answers read #${number} from ${index}`);
      checker.answersRead(id, index, floor);
    }
  }

  /** A newcomer refuses a snapshot that does not know it: hence one after each change of members. */
  #maybeCheckpoint(membershipChanged: boolean): void {
    const { storage, disk, profile } = this.#parts;
    const held = storage.snapshot().metadata.index;
    if (this.#applied < held + profile.checkpointEvery && !membershipChanged) return;
    const data = stateBytes(this.#state);
    const snapshot = storage.createSnapshot(this.#applied, this.#confState, data);
    if (snapshot === undefined) return;
    const compactTo = this.#applied - profile.keepEntries;
    storage.compact(compactTo);
    disk.writeLazily({ checkpoint: { snapshot, compactTo } });
  }
}
