/**
 * The managers that a node knows, each with a weight: an exponentially smoothed record of how well
 * it went with them. Picking is random in proportion to weight, so that nodes spread over managers
 * and keep away from those that fail, without ever giving one up for good. Pure but for the random
 * numbers it is handed.
 */

import type { Random } from "#base/ports.ts";

export interface Remote {
  readonly nodeId: string;
  /** "host:port". */
  readonly addr: string;
}

export interface WeightedRemote extends Remote {
  readonly weight: number;
}

/** What one success (or, negative, one failure) counts. */
export const OBSERVATION_WEIGHT = 10;
const WEIGHT_MAX = 256;
/** Share of the newest observation in the new weight. */
const SMOOTHING = 0.5;

export class Remotes {
  readonly #weights = new Map<string, { remote: Remote; weight: number }>();

  constructor(initial: readonly Remote[] = []) {
    for (const remote of initial) this.observe(remote, OBSERVATION_WEIGHT);
  }

  /** Takes one observation in; a remote that was not known starts with it. */
  observe(remote: Remote, observation: number): void {
    const key = keyOf(remote);
    const known = this.#weights.get(key);
    const mixed =
      known === undefined ? observation : SMOOTHING * observation + (1 - SMOOTHING) * known.weight;
    const weight = Math.max(-WEIGHT_MAX, Math.min(WEIGHT_MAX, mixed));
    this.#weights.set(key, { remote, weight });
  }

  /** The list that a manager sent replaces what is known; weights of those that stay are mixed. */
  replace(remotes: readonly WeightedRemote[]): void {
    const named = new Set<string>();
    for (const { nodeId, addr, weight } of remotes) {
      if (addr === "") continue;
      named.add(keyOf({ nodeId, addr }));
      this.observe({ nodeId, addr }, weight);
    }
    // An empty list would leave the node with nobody to ask.
    if (named.size === 0) return;
    for (const key of this.#weights.keys()) if (!named.has(key)) this.#weights.delete(key);
  }

  remove(remote: Remote): void {
    this.#weights.delete(keyOf(remote));
  }

  list(): readonly WeightedRemote[] {
    return [...this.#weights.values()].map(({ remote, weight }) => ({ ...remote, weight }));
  }

  /**
   * One of them by weight, or undefined if there is none. Weights are moved up so that the worst
   * still has a small chance; those in `exclude` (node ids) are left out.
   */
  pick(random: Random, exclude: readonly string[] = []): Remote | undefined {
    const choices = [...this.#weights.values()].filter(
      ({ remote }) => !exclude.includes(remote.nodeId),
    );
    if (choices.length === 0) return undefined;
    const lowest = Math.min(...choices.map(({ weight }) => weight));
    const bias = lowest < 1 ? 1 - lowest : 0;
    const shares = choices.map(({ weight }) => Math.max(1, Math.round(weight + bias)));
    let point = random.int(shares.reduce((sum, share) => sum + share, 0));
    for (const [at, share] of shares.entries()) {
      point -= share;
      if (point < 0) return choices[at]?.remote;
    }
    return choices.at(-1)?.remote;
  }
}

function keyOf({ nodeId, addr }: Remote): string {
  return `${nodeId}@${addr}`;
}
