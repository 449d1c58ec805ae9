/**
 * Decisions by a majority of a fixed set of voters. Immutable; ids are kept sorted, so that everything
 * derived from a set is printed and walked in one order. The empty set agrees with everything, which
 * makes a half-empty joint quorum behave like its other half.
 */

import type { NodeId } from "../types.ts";

/** The log index that a voter acknowledged; undefined if it has not reported. */
export type AckedIndex = (id: NodeId) => number | undefined;

/** Votes cast so far; a voter that is missing has not voted. */
export type Votes = ReadonlyMap<NodeId, boolean>;

export type VoteResult = "pending" | "lost" | "won";

export class MajorityConfig {
  static readonly EMPTY = new MajorityConfig([]);

  /** Ascending, without duplicates. */
  readonly ids: readonly NodeId[];
  readonly #members: ReadonlySet<NodeId>;

  constructor(ids: Iterable<NodeId>) {
    this.#members = new Set(ids);
    this.ids = [...this.#members].sort((a, b) => a - b);
  }

  get size(): number {
    return this.ids.length;
  }

  has(id: NodeId): boolean {
    return this.#members.has(id);
  }

  /** The highest index that a majority acknowledged; infinite for the empty set. */
  committedIndex(acked: AckedIndex): number {
    const size = this.ids.length;
    if (size === 0) return Number.POSITIVE_INFINITY;
    const indexes = this.ids.map((id) => acked(id) ?? 0).sort((a, b) => a - b);
    // The majority's slowest member decides: the (n/2+1)-th from the top.
    return indexes[size - (Math.floor(size / 2) + 1)] ?? 0;
  }

  voteResult(votes: Votes): VoteResult {
    const size = this.ids.length;
    if (size === 0) return "won";
    let yes = 0;
    let missing = 0;
    for (const id of this.ids) {
      const vote = votes.get(id);
      if (vote === undefined) missing++;
      else if (vote) yes++;
    }
    const needed = Math.floor(size / 2) + 1;
    if (yes >= needed) return "won";
    return yes + missing >= needed ? "pending" : "lost";
  }

  toString(): string {
    return `(${this.ids.map((id) => id.toString(16)).join(" ")})`;
  }
}

/**
 * Acknowledged indexes as a chart, one voter per line; the bar tells how many voters are behind.
 */
export function describeAcked(config: MajorityConfig, acked: AckedIndex): string {
  const size = config.size;
  if (size === 0) return "<empty majority quorum>";
  const lines = config.ids.map((id) => {
    const index = acked(id);
    const behind = config.ids.filter((other) => (acked(other) ?? 0) < (index ?? 0)).length;
    const bar =
      index === undefined
        ? `?${" ".repeat(size)}`
        : `${"x".repeat(behind)}>${" ".repeat(size - behind)}`;
    return `${bar} ${String(index ?? 0).padStart(5)}    (id=${id.toString(16)})\n`;
  });
  return `${" ".repeat(size)}    idx\n${lines.join("")}`;
}
