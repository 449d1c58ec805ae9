/**
 * The newest change batches, for watchers. A watcher holds nothing but a position (the index up to
 * which it has seen everything), so a slow one costs no memory: when what it has not seen yet has
 * left the ring, it is told so and starts over from a view.
 *
 * Invariants: batches are in order and cover the indexes after `floor` without gap; an index that
 * changed nothing has no batch. A batch made by restoring a snapshot stands for a range of indexes
 * and cannot be entered in its middle.
 */

import { invariant } from "#base/invariant.ts";
import { WATCH_QUEUE_MAX } from "#base/limits.ts";
import type { ChangeBatch } from "./types.ts";

interface Slot {
  /** The batch leads from the state at this index (or any later one before its own)… */
  readonly from: number;
  readonly batch: ChangeBatch;
}

export class ChangeRing {
  readonly #maxChanges: number;
  #slots: Slot[] = [];
  /** Slots before this position are gone; they are cut off in bulk. */
  #first = 0;
  #changes = 0;
  #floor: number;
  #last: number;

  /** A ring that knows nothing of what happened up to `index`. */
  constructor(index: number, maxChanges: number = WATCH_QUEUE_MAX) {
    this.#floor = index;
    this.#last = index;
    this.#maxChanges = maxChanges;
  }

  /** Adds what the entry at `batch.index` changed. */
  push(batch: ChangeBatch): void {
    this.#append(batch.index - 1, batch);
  }

  /** Adds a batch that leads from `from` straight to its index, as a restored snapshot does. */
  pushJump(from: number, batch: ChangeBatch): void {
    this.#append(from, batch);
  }

  /** The next batch for a watcher that has seen everything up to `index`; undefined if none yet. */
  after(index: number): ChangeBatch | "unavailable" | undefined {
    if (index < this.#floor) return "unavailable";
    const slot = this.#slots[this.#search(index)];
    if (slot === undefined) return undefined;
    return index > slot.from && isJump(slot) ? "unavailable" : slot.batch;
  }

  #append(from: number, batch: ChangeBatch): void {
    invariant(batch.index > this.#last, "change batches come in order of their index");
    this.#last = batch.index;
    this.#slots.push({ from, batch });
    this.#changes += batch.changes.length;
    while (this.#changes > this.#maxChanges && this.#first < this.#slots.length - 1) this.#drop();
    if (this.#first > 1024 && this.#first * 2 > this.#slots.length) {
      this.#slots = this.#slots.slice(this.#first);
      this.#first = 0;
    }
  }

  #drop(): void {
    const slot = this.#slots[this.#first];
    invariant(slot !== undefined, "only what is there is dropped");
    this.#floor = slot.batch.index;
    this.#changes -= slot.batch.changes.length;
    this.#first += 1;
  }

  /** Position of the first slot whose index lies beyond `index`. */
  #search(index: number): number {
    let low = this.#first;
    let high = this.#slots.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const slot = this.#slots[middle];
      if (slot !== undefined && slot.batch.index <= index) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

function isJump(slot: Slot): boolean {
  return slot.from < slot.batch.index - 1;
}
