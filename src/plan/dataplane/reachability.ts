/**
 * Which nodes answer over the networks, as this node itself finds: managers miss a node that lost its
 * power only when its heartbeats have, and until then its tasks would get connections. Pure: questions
 * and answers go in, and who is silent comes out.
 *
 * A node is silent after three questions without an answer, and heard again after three answers in a
 * row, so that a link that comes and goes stays out. One that has never answered is not judged: a
 * firewall may keep the questions from it.
 */

import type { PlacedTask } from "./placed-network.ts";

const MISSES = 3;
const ANSWERS = 3;

interface Hearing {
  readonly heard: boolean;
  readonly silent: boolean;
  /** Of the newest outcome, in a row. */
  readonly run: number;
  readonly answered: boolean;
}

const UNHEARD: Hearing = { heard: false, silent: false, run: 0, answered: false };

export class Reachability {
  readonly #nodes = new Map<string, Hearing>();
  #silent: ReadonlySet<string> = new Set();

  /** Nodes that have answered, and do not any more; another set only when it changes. */
  get silent(): ReadonlySet<string> {
    return this.#silent;
  }

  /** Forgets nodes that are no peers any more; true when that changes who is silent. */
  keep(nodeIds: ReadonlySet<string>): boolean {
    let changed = false;
    for (const [id, { silent }] of this.#nodes) {
      if (nodeIds.has(id)) continue;
      this.#nodes.delete(id);
      changed ||= silent;
    }
    if (changed) this.#collect();
    return changed;
  }

  /** Takes an outcome in; true when it changes whether the node is silent. */
  observe(nodeId: string, answered: boolean): boolean {
    const before = this.#nodes.get(nodeId) ?? UNHEARD;
    const run = before.answered === answered ? before.run + 1 : 1;
    const heard = before.heard || answered;
    const silent = before.silent
      ? !(answered && run >= ANSWERS)
      : heard && !answered && run >= MISSES;
    this.#nodes.set(nodeId, { heard, silent, run, answered });
    if (silent === before.silent) return false;
    this.#collect();
    return true;
  }

  #collect(): void {
    this.#silent = new Set([...this.#nodes].filter(([, { silent }]) => silent).map(([id]) => id));
  }
}

/**
 * Tasks of silent nodes out of the balance, as long as their service has others that are ready: to
 * try is better than to refuse.
 */
export function withoutSilent(
  tasks: readonly PlacedTask[],
  silent: ReadonlySet<string>,
): readonly PlacedTask[] {
  if (silent.size === 0) return tasks;
  const served = servedElsewhere(tasks, silent);
  return tasks.map((task) => {
    if (!silent.has(task.nodeId)) return task;
    // Its managers want it to end, and it cannot be asked: nothing will come of its connections.
    if (!task.ready) return { ...task, lost: true as const };
    return served.has(task.serviceId) ? { ...task, ready: false } : task;
  });
}

/** Services with a ready task on a node that is not silent. */
export function servedElsewhere(
  tasks: readonly {
    readonly ready: boolean;
    readonly nodeId: string;
    readonly serviceId: string;
  }[],
  silent: ReadonlySet<string>,
): ReadonlySet<string> {
  return new Set(
    tasks
      .filter(({ ready, nodeId }) => ready && !silent.has(nodeId))
      .map(({ serviceId }) => serviceId),
  );
}
