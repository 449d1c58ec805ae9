/**
 * Nodes by how many wanted tasks they have: buckets, so that moving a node and finding the least
 * loaded ones cost the same however many nodes there are.
 */

import type { NodeInfo } from "./node-info.ts";

export class LoadOrder {
  readonly #buckets: Set<NodeInfo>[] = [];
  readonly #places = new Map<NodeInfo, number>();

  get size(): number {
    return this.#places.size;
  }

  /** Files a node under its present load. */
  place(info: NodeInfo): void {
    const load = Math.max(info.active, 0);
    const place = this.#places.get(info);
    if (place === load) return;
    if (place !== undefined) this.#buckets[place]?.delete(info);
    while (this.#buckets.length <= load) this.#buckets.push(new Set());
    this.#buckets[load]?.add(info);
    this.#places.set(info, load);
  }

  remove(info: NodeInfo): void {
    const place = this.#places.get(info);
    if (place !== undefined) this.#buckets[place]?.delete(info);
    this.#places.delete(info);
  }

  /**
   * The least loaded first. Nodes may be placed anew meanwhile: one that got heavier is seen again
   * where it is then.
   */
  *[Symbol.iterator](): Iterator<NodeInfo> {
    for (let load = 0; load < this.#buckets.length; load++) {
      const bucket = this.#buckets[load];
      if (bucket !== undefined && bucket.size > 0) yield* bucket;
    }
  }
}
