/**
 * The window of appends that were sent to a follower and not yet acknowledged. Bounded in messages
 * and, softly, in bytes: the message that crosses the byte limit still goes, the next one waits.
 */

import { invariant } from "#base/invariant.ts";

export class Inflights {
  readonly #maxMessages: number;
  readonly #maxBytes: number;
  /** Last index of each message in flight, ascending, from `#head` on; `#sizes` runs beside it. */
  #indexes: number[] = [];
  #sizes: number[] = [];
  #head = 0;
  #bytes = 0;

  constructor(maxMessages: number, maxBytes: number) {
    this.#maxMessages = maxMessages;
    this.#maxBytes = maxBytes;
  }

  get count(): number {
    return this.#indexes.length - this.#head;
  }

  get bytes(): number {
    return this.#bytes;
  }

  isFull(): boolean {
    return this.count >= this.#maxMessages || this.#bytes >= this.#maxBytes;
  }

  /** Records a message whose last entry is `lastIndex`; indexes must rise, and room must be left. */
  add(lastIndex: number, bytes: number): void {
    invariant(!this.isFull(), "a full window takes no more messages");
    this.#indexes.push(lastIndex);
    this.#sizes.push(bytes);
    this.#bytes += bytes;
  }

  /** Forgets every message whose entries are all at or below `index`. */
  freeUpTo(index: number): void {
    let head = this.#head;
    while (head < this.#indexes.length && (this.#indexes[head] ?? 0) <= index) {
      this.#bytes -= this.#sizes[head] ?? 0;
      head++;
    }
    this.#head = head;
    if (head === this.#indexes.length) this.reset();
    else if (head > 64 && head * 2 > this.#indexes.length) this.#dropFreed();
  }

  reset(): void {
    this.#indexes = [];
    this.#sizes = [];
    this.#head = 0;
    this.#bytes = 0;
  }

  #dropFreed(): void {
    this.#indexes.splice(0, this.#head);
    this.#sizes.splice(0, this.#head);
    this.#head = 0;
  }
}
