/**
 * Where the nodes' own routes lead, all together: what a network of the swarm would hide from some
 * node if it lay there. Counted, so that a route goes when the last node that has it does.
 */

import { type Prefix, parsePrefix } from "#model/ip.ts";
import type { Node } from "#wire/gen/swarmkit/objects_pb.js";
import type { Delta } from "../delta.ts";
import { baseOf } from "./address-pool.ts";

interface Counted {
  readonly prefix: Prefix;
  nodes: number;
}

export class NodeRoutes {
  readonly #routes = new Map<string, Counted>();
  #all: readonly Prefix[] | undefined;
  #nodes = 0;
  #described = 0;

  /** Every route that some node has, once. */
  get all(): readonly Prefix[] {
    this.#all ??= [...this.#routes.values()].map(({ prefix }) => prefix);
    return this.#all;
  }

  /** Whether nodes have been heard at all; a swarm's first networks wait for its first node. */
  get known(): boolean {
    return this.#nodes === 0 || this.#described > 0;
  }

  take({ before, after }: Delta<Node>): void {
    this.#nodes += (after === undefined ? 0 : 1) - (before === undefined ? 0 : 1);
    const [was, is] = [before?.description, after?.description];
    this.#described += (is === undefined ? 0 : 1) - (was === undefined ? 0 : 1);
    if (was?.routes === is?.routes) return;
    for (const route of new Set(is?.routes)) this.#count(route, 1);
    for (const route of new Set(was?.routes)) this.#count(route, -1);
  }

  #count(text: string, by: 1 | -1): void {
    const known = this.#routes.get(text);
    if (known !== undefined) {
      known.nodes += by;
      if (known.nodes > 0) return;
      this.#routes.delete(text);
      this.#all = undefined;
      return;
    }
    const prefix = parsePrefix(text);
    // A default route leads everywhere, which says nothing.
    if (prefix === undefined || prefix.length === 0) return;
    this.#routes.set(text, { prefix: baseOf(prefix), nodes: by });
    this.#all = undefined;
  }
}
