/**
 * The drain barrier: a task that was taken out of the balance may be stopped when every node that
 * could still send it traffic has acknowledged tables without it. Nothing of this is stored: a new
 * leader takes every task that is withdrawn for withdrawn now, and the nodes that connect to it
 * acknowledge anew.
 *
 * Waited for are nodes that serve a network of the task, that are not known to be down, and that
 * speak this protocol at all (they describe a data path address; other engines never do).
 */

import { isDown } from "#model/node.ts";
import type { Node, Task } from "#wire/gen/swarmkit/objects_pb.js";
import { isReady, isToEnd, reachableBy } from "./rows.ts";
import type { DataPlaneTables } from "./tables.ts";

interface Withdrawal {
  readonly taskId: string;
  readonly nodeId: string;
  readonly networkIds: readonly string[];
  readonly revision: number;
  readonly waiting: Set<string>;
}

/** How far the barrier holds things up, for metrics. */
export interface BarrierCounts {
  readonly withdrawn: number;
  readonly released: number;
}

export class DrainBarrier {
  readonly #tables: DataPlaneTables;
  readonly #onRelease: (nodeId: string, taskId: string) => void;
  readonly #withdrawals = new Map<string, Withdrawal>();
  /** By the node that is waited for. */
  readonly #waitingFor = new Map<string, Set<Withdrawal>>();
  readonly #released = new Map<string, Set<string>>();
  /** Tasks that nodes may know as ready. */
  readonly #ready = new Set<string>();
  /** Newest revision that a node has acknowledged. */
  readonly #acknowledged = new Map<string, number>();

  constructor(tables: DataPlaneTables, onRelease: (nodeId: string, taskId: string) => void) {
    this.#tables = tables;
    this.#onRelease = onRelease;
  }

  counts(): BarrierCounts {
    let released = 0;
    for (const tasks of this.#released.values()) released += tasks.size;
    return { withdrawn: this.#withdrawals.size, released };
  }

  /** Nodes that have not acknowledged a withdrawal which that revision has, and how many of them. */
  lateSince(revision: number): ReadonlyMap<string, number> {
    const late = new Map<string, number>();
    for (const [nodeId, withdrawals] of this.#waitingFor) {
      let count = 0;
      for (const withdrawal of withdrawals) if (withdrawal.revision <= revision) count += 1;
      if (count > 0) late.set(nodeId, count);
    }
    return late;
  }

  /** Tasks of the node that may be stopped. */
  releasedOn(nodeId: string): Iterable<string> {
    return this.#released.get(nodeId) ?? [];
  }

  /** A task as a new leader finds it: what nodes know of it is not known. */
  found(task: Task): void {
    if (isToEnd(task)) this.#ready.add(task.id);
    this.task(task, false);
  }

  /** The task as it is now; the tables must contain what is said of it. */
  task(task: Task, gone: boolean): void {
    const networkIds = gone ? [] : [...reachableBy(task).keys()];
    if (networkIds.length === 0) this.#forget(task);
    else if (isReady(task)) {
      // Its node may have changed its mind.
      this.#forget(task);
      this.#ready.add(task.id);
    } else if (isToEnd(task)) this.#withdraw(task, networkIds);
  }

  /** The node as it is now: it may not have to be waited for any more. */
  node(nodeId: string): void {
    for (const withdrawal of this.#waitingFor.get(nodeId) ?? []) {
      if (!this.#counts(nodeId, withdrawal.networkIds)) this.#settle(nodeId, withdrawal);
    }
    if (this.#tables.node(nodeId) === undefined) this.#acknowledged.delete(nodeId);
  }

  /** The kernel of the node is what the tables of that revision say. */
  acknowledge(nodeId: string, revision: number): void {
    this.#acknowledged.set(nodeId, Math.max(revision, this.#acknowledged.get(nodeId) ?? 0));
    for (const withdrawal of this.#waitingFor.get(nodeId) ?? []) {
      if (withdrawal.revision <= revision) this.#settle(nodeId, withdrawal);
    }
  }

  /** The node starts over: what it acknowledged before says nothing of its kernel now. */
  restart(nodeId: string): void {
    this.#acknowledged.delete(nodeId);
  }

  #withdraw(task: Task, networkIds: readonly string[]): void {
    if (this.#withdrawals.has(task.id) || this.#released.get(task.nodeId)?.has(task.id)) return;
    const { revision } = this.#tables;
    const waiting = new Set<string>();
    for (const networkId of networkIds) {
      // No row of one that was never ready changes, so nobody would have anything to acknowledge.
      for (const nodeId of this.#ready.has(task.id) ? this.#tables.nodesOf(networkId) : []) {
        if (!this.#counts(nodeId, [networkId])) continue;
        if ((this.#acknowledged.get(nodeId) ?? -1) < revision) waiting.add(nodeId);
      }
    }
    const { id: taskId, nodeId } = task;
    const withdrawal: Withdrawal = { taskId, nodeId, networkIds, revision, waiting };
    if (waiting.size === 0) {
      this.#release(withdrawal);
      return;
    }
    this.#withdrawals.set(taskId, withdrawal);
    for (const other of waiting) {
      const withdrawals = this.#waitingFor.get(other);
      if (withdrawals === undefined) this.#waitingFor.set(other, new Set([withdrawal]));
      else withdrawals.add(withdrawal);
    }
  }

  #forget({ id, nodeId }: Task): void {
    const withdrawal = this.#withdrawals.get(id);
    this.#withdrawals.delete(id);
    this.#ready.delete(id);
    for (const other of withdrawal?.waiting ?? []) {
      if (withdrawal !== undefined) removeFrom(this.#waitingFor, other, withdrawal);
    }
    removeFrom(this.#released, nodeId, id);
  }

  #settle(nodeId: string, withdrawal: Withdrawal): void {
    removeFrom(this.#waitingFor, nodeId, withdrawal);
    withdrawal.waiting.delete(nodeId);
    if (withdrawal.waiting.size > 0) return;
    this.#withdrawals.delete(withdrawal.taskId);
    this.#release(withdrawal);
  }

  #release({ nodeId, taskId }: Withdrawal): void {
    const tasks = this.#released.get(nodeId);
    if (tasks === undefined) this.#released.set(nodeId, new Set([taskId]));
    else tasks.add(taskId);
    this.#onRelease(nodeId, taskId);
  }

  #counts(nodeId: string, networkIds: readonly string[]): boolean {
    const node = this.#tables.node(nodeId);
    if (node === undefined || isDown(node) || !speaks(node)) return false;
    return networkIds.some((networkId) => this.#tables.serves(nodeId, networkId));
  }
}

/** Whether the node follows the tables at all. */
function speaks({ description }: Node): boolean {
  return (description?.dataPathAddr ?? "") !== "";
}

function removeFrom<T>(table: Map<string, Set<T>>, key: string, item: T): void {
  const items = table.get(key);
  if (items?.delete(item) && items.size === 0) table.delete(key);
}
