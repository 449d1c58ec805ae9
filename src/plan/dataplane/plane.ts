/**
 * The data path of the swarm as its leader keeps it: tables, what each connected node has yet to be
 * told of them, and the drain barrier. Pure; the manager feeds it changes and acknowledgements, and
 * is told which node has something to fetch.
 */

import type { ChangeBatch, ReadView } from "#store/types.ts";
import { type BarrierCounts, DrainBarrier } from "./barrier.ts";
import { TablesFeed } from "./feed.ts";
import { DataPlaneTables, type RowKind, type TablesListener } from "./tables.ts";

export class DataPlane implements TablesListener {
  readonly #tables = new DataPlaneTables(this);
  readonly #barrier: DrainBarrier;
  readonly #feeds = new Map<string, Set<TablesFeed>>();
  readonly #onPending: (feed: TablesFeed) => void;

  /** `onPending` is called for a feed, maybe often, when there is something to take from it. */
  constructor(onPending: (feed: TablesFeed) => void) {
    this.#onPending = onPending;
    this.#barrier = new DrainBarrier(this.#tables, (nodeId, taskId) => {
      this.#each(nodeId, (feed) => feed.release(taskId));
    });
  }

  get revision(): number {
    return this.#tables.revision;
  }

  counts(): BarrierCounts {
    return this.#barrier.counts();
  }

  /** Nodes that have yet to acknowledge withdrawals of up to that revision, with their number. */
  lateSince(revision: number): ReadonlyMap<string, number> {
    return this.#barrier.lateSince(revision);
  }

  /** Everything that the view has; called once, first. */
  load(view: ReadView): void {
    this.#tables.load(view);
    for (const task of view.all("task")) this.#barrier.found(task);
  }

  apply(batch: ChangeBatch): void {
    this.#tables.apply(batch);
    for (const change of batch.changes) {
      if (change.kind === "node") this.#barrier.node(change.object.id);
      if (change.kind === "task") this.#barrier.task(change.object, change.action === "delete");
    }
  }

  /** A feed for a node that knows nothing yet, or not any more. */
  open(nodeId: string): TablesFeed {
    this.#barrier.restart(nodeId);
    const feed = new TablesFeed(this.#tables, nodeId, this.#barrier.releasedOn(nodeId));
    const feeds = this.#feeds.get(nodeId);
    if (feeds === undefined) this.#feeds.set(nodeId, new Set([feed]));
    else feeds.add(feed);
    return feed;
  }

  close(feed: TablesFeed): void {
    const feeds = this.#feeds.get(feed.nodeId);
    if (feeds?.delete(feed) && feeds.size === 0) this.#feeds.delete(feed.nodeId);
  }

  acknowledge(nodeId: string, revision: number): void {
    this.#barrier.acknowledge(nodeId, revision);
  }

  row(networkId: string, kind: RowKind, id: string): void {
    this.#eachOn(networkId, (feed) => feed.row(networkId, kind, id));
  }

  header(networkId: string): void {
    this.#eachOn(networkId, (feed) => feed.whole(networkId));
  }

  serves(nodeId: string, networkId: string, serves: boolean): void {
    this.#each(nodeId, (feed) => (serves ? feed.whole(networkId) : feed.gone(networkId)));
  }

  dataPathPort(): void {
    for (const nodeId of this.#feeds.keys()) this.#each(nodeId, (feed) => feed.dataPathPort());
  }

  #eachOn(networkId: string, tell: (feed: TablesFeed) => void): void {
    for (const nodeId of this.#tables.nodesOf(networkId)) this.#each(nodeId, tell);
  }

  #each(nodeId: string, tell: (feed: TablesFeed) => void): void {
    for (const feed of this.#feeds.get(nodeId) ?? []) {
      tell(feed);
      this.#onPending(feed);
    }
  }
}
