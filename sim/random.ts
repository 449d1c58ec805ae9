/**
 * Seeded entropy: the same seed gives the same run, on every machine. Each part of the world takes a
 * stream of its own (`fork`), so that a change in one does not reshuffle the others.
 */

import type { Random } from "#base/ports.ts";

export class SeededRandom implements Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** An independent stream, named so that forks of one seed differ. */
  fork(name: string): SeededRandom {
    let hash = this.#next();
    for (const letter of name) hash = Math.imul(hash ^ (letter.codePointAt(0) ?? 0), 0x01000193);
    return new SeededRandom(hash);
  }

  int(bound: number): number {
    return Math.floor(this.#unit() * bound);
  }

  bytes(length: number): Uint8Array {
    return Uint8Array.from({ length }, () => this.int(256));
  }

  /** In [low, high], both included. */
  between(low: number, high: number): number {
    return low + this.int(high - low + 1);
  }

  chance(probability: number): boolean {
    return this.#unit() < probability;
  }

  pick<T>(items: readonly T[]): T | undefined {
    return items[this.int(items.length)];
  }

  shuffle<T>(items: readonly T[]): T[] {
    const rest = [...items];
    const shuffled: T[] = [];
    while (rest.length > 0) shuffled.push(...rest.splice(this.int(rest.length), 1));
    return shuffled;
  }

  #unit(): number {
    return this.#next() / 2 ** 32;
  }

  /** Splitmix32: small, and good enough to choose faults. */
  #next(): number {
    this.#state = (this.#state + 0x9e3779b9) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 16), 0x21f0aaad);
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
    return (mixed ^ (mixed >>> 15)) >>> 0;
  }
}
