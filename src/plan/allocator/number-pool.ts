/**
 * Numbers of a range, each given out at most once: a bitmap that grows with the highest number in
 * use. Addresses, subnets, ports and network identifiers are all counted with it.
 */

const WORD_BITS = 32;
const FULL = 0xffff_ffff;

export class NumberPool {
  readonly first: number;
  readonly last: number;
  #words = new Uint32Array(8);
  #used = 0;
  #next: number;

  /** Both ends included; a range whose end lies before its start has no numbers. */
  constructor(first: number, last: number) {
    this.first = first;
    this.last = Math.max(last, first - 1);
    this.#next = first;
  }

  get used(): number {
    return this.#used;
  }

  get capacity(): number {
    return this.last - this.first + 1;
  }

  has(number: number): boolean {
    const at = number - this.first;
    const word = this.#words[Math.floor(at / WORD_BITS)] ?? 0;
    return ((word >>> (at % WORD_BITS)) & 1) === 1;
  }

  contains(number: number): boolean {
    return number >= this.first && number <= this.last;
  }

  /** Marks a number; false if it was taken or lies outside the range. */
  take(number: number): boolean {
    if (!this.contains(number) || this.has(number)) return false;
    const at = number - this.first;
    const index = Math.floor(at / WORD_BITS);
    this.#grow(index);
    this.#words[index] = ((this.#words[index] ?? 0) | (1 << (at % WORD_BITS))) >>> 0;
    this.#used += 1;
    return true;
  }

  /** Takes the lowest free number. */
  takeLowest(): number | undefined {
    return this.#takeFrom(this.first);
  }

  /**
   * Takes the next free number after the one taken so last, starting over at the end: what was let
   * go is used again as late as possible.
   */
  takeNext(): number | undefined {
    const number = this.#takeFrom(this.#next) ?? this.#takeFrom(this.first);
    if (number !== undefined) this.#next = number + 1;
    return number;
  }

  /** Lets a number go; false if it was not taken. */
  release(number: number): boolean {
    if (!this.contains(number) || !this.has(number)) return false;
    const at = number - this.first;
    const index = Math.floor(at / WORD_BITS);
    this.#words[index] = ((this.#words[index] ?? 0) & ~(1 << (at % WORD_BITS))) >>> 0;
    this.#used -= 1;
    return true;
  }

  #takeFrom(start: number): number | undefined {
    if (this.#used >= this.capacity) return undefined;
    let number = start;
    while (number <= this.last) {
      const at = number - this.first;
      const full = at % WORD_BITS === 0 && this.#words[at / WORD_BITS] === FULL;
      if (full) number += WORD_BITS;
      else if (this.take(number)) return number;
      else number += 1;
    }
    return undefined;
  }

  #grow(index: number): void {
    if (index < this.#words.length) return;
    const words = new Uint32Array(Math.max(index + 1, this.#words.length * 2));
    words.set(this.#words);
    this.#words = words;
  }
}
