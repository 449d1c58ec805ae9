/**
 * Tasks that wait for a node, grouped by service and spec: within a group all tasks ask for the same,
 * so that a node that refuses one refuses all. A group that found no node is tried again only on
 * nodes that have become better since.
 */

import type { Task } from "#wire/gen/swarmkit/objects_pb.js";
import type { NodeInfo } from "./node-info.ts";

export interface Group {
  readonly key: string;
  readonly taskIds: Set<string>;
  /** Set while blocked: nodes that improved after this count are worth a try. */
  triedAt: number | undefined;
  /** The reason on the tasks of a blocked group, and when it may be written anew. */
  reason: string;
  explainAtMs: number;
}

export class Groups {
  readonly #groups = new Map<string, Group>();
  /** Groups to look at in this turn. */
  readonly ready = new Set<Group>();
  readonly #blocked = new Set<Group>();

  add(task: Task): void {
    const key = groupKeyOf(task);
    let group = this.#groups.get(key);
    if (group === undefined) {
      group = { key, taskIds: new Set(), triedAt: undefined, reason: "", explainAtMs: 0 };
      this.#groups.set(key, group);
    }
    if (group.taskIds.has(task.id)) return;
    group.taskIds.add(task.id);
    this.ready.add(group);
  }

  remove(task: Task): void {
    const group = this.#groups.get(groupKeyOf(task));
    if (group?.taskIds.delete(task.id) !== true || group.taskIds.size > 0) return;
    this.#groups.delete(group.key);
    this.ready.delete(group);
    this.#blocked.delete(group);
  }

  block(group: Group, triedAt: number): void {
    if (!this.#groups.has(group.key)) return;
    group.triedAt = triedAt;
    this.#blocked.add(group);
  }

  /** Some node improved: all that are blocked are worth a look. */
  wakeBlocked(): void {
    for (const group of this.#blocked) this.ready.add(group);
    this.#blocked.clear();
  }
}

/** Tasks of one service made from one spec. */
export function groupKeyOf(task: Task): string {
  // Without a service or a version nothing says that two tasks ask for the same.
  if (task.serviceId === "" || task.specVersion === undefined) return task.id;
  return `${task.serviceId}/${task.specVersion.index}`;
}

/** Nodes in the order in which they last improved. */
export class Improvements {
  #log: { readonly at: number; readonly info: NodeInfo }[] = [];
  #now = 0;

  get now(): number {
    return this.#now;
  }

  note(info: NodeInfo, nodes: number): void {
    this.#now += 1;
    info.improvedAt = this.#now;
    this.#log.push({ at: this.#now, info });
    if (this.#log.length > 2 * nodes + 1024) {
      this.#log = this.#log.filter(({ at, info: one }) => one.improvedAt === at);
    }
  }

  /** Nodes that improved after `at`, the least loaded first. */
  since(at: number): NodeInfo[] {
    const nodes: NodeInfo[] = [];
    for (let i = this.#log.length - 1; i >= 0; i--) {
      const entry = this.#log[i];
      if (entry === undefined || entry.at <= at) break;
      if (entry.info.improvedAt === entry.at) nodes.push(entry.info);
    }
    return nodes.sort((a, b) => a.active - b.active);
  }
}
