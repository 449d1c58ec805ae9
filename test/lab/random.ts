/** Choices that a printed seed replays. */

export type Choose = (bound: number) => number;

/** mulberry32: small, and good enough to choose with. */
export function seeded(seed: number): Choose {
  let state = seed >>> 0;
  return (bound) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % bound;
  };
}

export function pick<T>(choose: Choose, items: readonly T[]): T {
  const item = items[choose(items.length)];
  if (item === undefined) throw new Error("nothing to choose from");
  return item;
}
