/**
 * The transaction of a turn as planners see it: every write of a task is held against the table of
 * transitions in the name of the planner that makes it, and all writes count towards what one raft
 * entry may hold.
 */

import { STORE_CHANGES_MAX, STORE_TRANSACTION_MAX_BYTES } from "#base/limits.ts";
import { assertTaskTransition } from "#model/task-states.ts";
import type { IndexNames, Kind, ObjectTypes, Tx } from "#store/types.ts";
import type { Task } from "#wire/gen/swarmkit/objects_pb.js";
import { estimateBytes } from "./object-size.ts";

/**
 * A turn ends when it has changed so many objects, so that the process can do other things between:
 * a tenth of a second's work, well under what raft and heartbeats can wait.
 */
const TURN_OBJECTS_MAX = Math.min(2_000, STORE_CHANGES_MAX / 2);
const TURN_BYTES_MAX = STORE_TRANSACTION_MAX_BYTES / 2;

/** What the writes of a turn come to. */
export class TurnSize {
  readonly #bytes = new Map<string, number>();
  #total = 0;

  count<K extends Kind>(kind: K, id: string, object: ObjectTypes[K] | undefined): void {
    const key = `${kind}/${id}`;
    // A deletion is its id; what is written twice is in the entry once.
    const bytes = object === undefined ? 64 : estimateBytes(kind, object);
    this.#total += bytes - (this.#bytes.get(key) ?? 0);
    this.#bytes.set(key, bytes);
  }

  get objects(): number {
    return this.#bytes.size;
  }

  hasRoom(): boolean {
    return this.#bytes.size < TURN_OBJECTS_MAX && this.#total < TURN_BYTES_MAX;
  }
}

export class TurnTx implements Tx {
  readonly #tx: Tx;
  readonly #actor: string;
  readonly #size: TurnSize;

  constructor(tx: Tx, actor: string, size: TurnSize) {
    this.#tx = tx;
    this.#actor = actor;
    this.#size = size;
  }

  get index(): number {
    return this.#tx.index;
  }

  get nowMs(): number {
    return this.#tx.nowMs;
  }

  get<K extends Kind>(kind: K, id: string): ObjectTypes[K] | undefined {
    return this.#tx.get(kind, id);
  }

  byName<K extends Kind>(kind: K, name: string): ObjectTypes[K] | undefined {
    return this.#tx.byName(kind, name);
  }

  all<K extends Kind>(kind: K): Iterable<ObjectTypes[K]> {
    return this.#tx.all(kind);
  }

  byIdPrefix<K extends Kind>(kind: K, prefix: string): Iterable<ObjectTypes[K]> {
    return this.#tx.byIdPrefix(kind, prefix);
  }

  find<K extends Kind>(kind: K, index: IndexNames[K], key: string): Iterable<ObjectTypes[K]> {
    return this.#tx.find(kind, index, key);
  }

  count(kind: Kind): number {
    return this.#tx.count(kind);
  }

  create<K extends Kind>(kind: K, object: ObjectTypes[K]): void {
    if (kind === "task") assertTaskTransition(this.#actor, undefined, object as Task);
    this.#size.count(kind, object.id, object);
    this.#tx.create(kind, object);
  }

  update<K extends Kind>(kind: K, object: ObjectTypes[K]): void {
    if (kind === "task") {
      assertTaskTransition(this.#actor, this.#tx.get("task", object.id), object as Task);
    }
    this.#size.count(kind, object.id, object);
    this.#tx.update(kind, object);
  }

  delete(kind: Kind, id: string): void {
    if (kind === "task") assertTaskTransition(this.#actor, this.#tx.get("task", id), undefined);
    this.#size.count(kind, id, undefined);
    this.#tx.delete(kind, id);
  }
}
