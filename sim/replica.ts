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
import { type Applied, Registers } from "./state-machine.ts";

export interface ReplicaParts {
  readonly id: NodeId;
  readonly raw: RawNode;
  readonly storage: MemoryStorage;
  readonly disk: Disk;
  readonly checker: Checker;
  readonly profile: Profile;
  /** Off only to see that the checkers notice. */
  readonly dropsRepeats: boolean;
  readonly say: (line: () => string) => void;
}

interface PendingRead {
  readonly key: number;
  readonly done: (value: number) => void;
  readonly floor: number;
  /** Undefined until raft tells from which index on it may be answered. */
  index: number | undefined;
}

export class Replica {
  readonly #parts: ReplicaParts;
  /** By client and serial number. */
  readonly #writes = new Map<string, (ok: boolean) => void>();
  readonly #reads = new Map<number, PendingRead>();
  #confState: ConfState;
  #applied: number;
  #state: Registers;

  constructor(parts: ReplicaParts) {
    this.#parts = parts;
    const { data, metadata } = parts.storage.snapshot();
    this.#confState = metadata.confState;
    this.#applied = metadata.index;
    this.#state = Registers.decode(data);
  }

  get applied(): number {
    return this.#applied;
  }

  /** A client wrote here: it is told when the entry is applied. */
  awaitWrite(client: number, serial: number, done: (ok: boolean) => void): void {
    this.#writes.set(`${client}/${serial}`, done);
  }

  /** A client reads here, and must see all that was acknowledged when it came. */
  awaitRead(number: number, key: number, done: (value: number) => void): void {
    const floor = this.#parts.checker.lastAcked;
    this.#reads.set(number, { key, done, floor, index: undefined });
  }

  /** What is applied here, whether or not it is the newest. */
  valueOf(key: number): number {
    return this.#state.valueOf(key);
  }

  confirmReads(readStates: readonly ReadState[]): void {
    for (const { index, requestCtx } of readStates) {
      const read = this.#reads.get(readNumberOf(requestCtx));
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
    this.#state = Registers.decode(snapshot.data);
    checker.restores(id, snapshot, this.#state.digest);
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
    const { id, raw, checker, dropsRepeats } = this.#parts;
    const applied = this.#state.apply(entry, dropsRepeats);
    const { term } = raw.basicStatus().hardState;
    checker.applies(id, entry, this.#applied, this.#state.digest, term);
    this.#applied = entry.index;
    if (entry.type !== "normal") {
      const change = decodeConfChange(entry);
      if (change.ok) this.#confState = raw.applyConfChange(change.value);
    } else if (applied !== undefined) {
      this.#acknowledge(applied, entry.index);
    }
  }

  #acknowledge({ client, serial, ok }: Applied, index: number): void {
    const { checker, say } = this.#parts;
    const done = this.#writes.get(`${client}/${serial}`);
    if (done === undefined) return;
    this.#writes.delete(`${client}/${serial}`);
    say(() => `tells c${client} that #${serial} ${ok ? "was done" : "was refused"} at ${index}`);
    checker.acks(index);
    done(ok);
  }

  #answerReads(): void {
    const { id, checker, say } = this.#parts;
    for (const [number, { key, done, floor, index }] of this.#reads) {
      if (index === undefined || index > this.#applied) continue;
      this.#reads.delete(number);
      say(() => `answers read r${number} from ${index}: k${key} is ${this.valueOf(key)}`);
      checker.answersRead(id, index, floor);
      done(this.valueOf(key));
    }
  }

  /** A newcomer refuses a snapshot that does not know it: hence one after each change of members. */
  #maybeCheckpoint(membershipChanged: boolean): void {
    const { storage, disk, profile } = this.#parts;
    const held = storage.snapshot().metadata.index;
    if (this.#applied < held + profile.checkpointEvery && !membershipChanged) return;
    const data = this.#state.encode();
    const snapshot = storage.createSnapshot(this.#applied, this.#confState, data);
    if (snapshot === undefined) return;
    const compactTo = this.#applied - profile.keepEntries;
    storage.compact(compactTo);
    disk.writeLazily({ checkpoint: { snapshot, compactTo } });
  }
}

const READ_BYTES = 4;

/** A read's number as the context that raft carries along. */
export function readContext(number: number): Uint8Array {
  const context = new Uint8Array(READ_BYTES);
  new DataView(context.buffer).setUint32(0, number);
  return context;
}

function readNumberOf(context: Uint8Array): number {
  return new DataView(context.buffer, context.byteOffset, READ_BYTES).getUint32(0);
}
