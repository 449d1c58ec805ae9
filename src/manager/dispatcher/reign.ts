/**
 * The dispatcher during one reign of this manager: sessions, liveness, and the feeds that keep every
 * connected node's assignments current. One watch of the store serves all nodes; a change costs
 * what it touches, not what is connected. Everything here ends with the reign's signal.
 */

import { create } from "@bufbuild/protobuf";
import { durationMs } from "@bufbuild/protobuf/wkt";
import { EngineError, isErrorCode, messageOf } from "#base/error.ts";
import type { Clock, Log, Random, Timer } from "#base/ports.ts";
import { hasLetGo } from "#model/task.ts";
import type { Change, ChangeBatch, ReadView } from "#store/types.ts";
import {
  type NodeDescription,
  NodeStatus_State as NodeState,
  NodeStatusSchema,
  TaskState,
} from "#wire/gen/swarmkit/types_pb.js";
import type { ClusterState } from "../state.ts";
import { AssignmentSet } from "./assignment-set.ts";
import { Bell } from "./bell.ts";
import { DEFAULT_HEARTBEAT_PERIOD_MS, type NodeSession, NodeSessions } from "./node-sessions.ts";
import { clusterOf, type ManagerPeer } from "./session-message.ts";
import { StatusWriter } from "./status-writer.ts";

export interface ReignOptions {
  readonly state: ClusterState;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly nodeId: string;
  /** Managers to tell nodes of; by default those whose node object has a manager address. */
  readonly managers: (view: ReadView) => readonly ManagerPeer[];
  /** Whether a node is a member of the raft group that does not answer; never for a worker. */
  readonly isSilent: (nodeId: string) => boolean;
  /** How long a node is down before its tasks are given up, milliseconds. */
  readonly orphanAfterMs: number;
}

/** One open assignments stream. */
export interface AssignmentFeed {
  readonly set: AssignmentSet;
  /** Rings when the set has something pending. */
  readonly bell: Bell;
  /** Aborted when the feed can no longer be kept current. */
  readonly signal: AbortSignal;
  close(): void;
}

interface OpenFeed extends AssignmentFeed {
  readonly lost: AbortController;
  /** Changes up to this index are in the set from the start. */
  readonly from: number;
}

const UNKNOWN_MESSAGE = 'Node moved to "unknown" state due to leadership change in cluster';
const EXPIRED_MESSAGE = "heartbeat failure";
const EXPIRED_UNKNOWN_MESSAGE = 'heartbeat failure for node in "unknown" state';

export class Reign {
  readonly sessions: NodeSessions;
  readonly writer: StatusWriter;
  readonly #options: ReignOptions;
  readonly #signal: AbortSignal;
  readonly #feeds = new Map<string, Set<OpenFeed>>();
  /** Session streams per node, to be woken when there may be something to tell. */
  readonly #listeners = new Map<string, Set<Bell>>();
  readonly #orphaning = new Map<string, Timer>();
  #managers: readonly ManagerPeer[] = [];

  constructor(options: ReignOptions, signal: AbortSignal) {
    this.#options = options;
    this.#signal = signal;
    this.writer = new StatusWriter(options, signal);
    this.sessions = new NodeSessions({
      clock: options.clock,
      random: options.random,
      isSilent: options.isSilent,
      onExpired: (nodeId, unknown) => {
        this.#markDown(nodeId, unknown ? EXPIRED_UNKNOWN_MESSAGE : EXPIRED_MESSAGE);
      },
    });
  }

  get managers(): readonly ManagerPeer[] {
    return this.#managers;
  }

  /** Before any node is let in: nobody is known to be alive. */
  async begin(): Promise<void> {
    const { state } = this.#options;
    this.#readCluster(state.view());
    await state.update("dispatcher", (tx) => {
      for (const node of Array.from(tx.all("node"))) {
        const nodeState = node.status?.state ?? NodeState.UNKNOWN;
        if (nodeState === NodeState.DOWN) continue;
        if (nodeState === NodeState.UNKNOWN && node.status?.message === UNKNOWN_MESSAGE) continue;
        const addr = node.status?.addr ?? "";
        const status = create(NodeStatusSchema, {
          state: NodeState.UNKNOWN,
          message: UNKNOWN_MESSAGE,
          addr,
        });
        tx.update("node", { ...node, status });
      }
    });
    for (const node of state.view().all("node")) {
      if (node.status?.state === NodeState.DOWN) this.#orphanLater(node.id);
      else this.sessions.expect(node.id);
    }
  }

  /** Follows the store until the reign ends. */
  async run(): Promise<void> {
    const { state, log } = this.#options;
    while (!this.#signal.aborted) {
      // No await between the view and the watch: nothing is lost in between.
      const { view, batches } = state.viewAndWatch({ signal: this.#signal });
      this.#readCluster(view);
      this.#ringAll();
      try {
        for await (const batch of batches) this.#route(batch);
      } catch (error) {
        if (this.#signal.aborted) return;
        if (!isErrorCode(error, "out-of-range")) throw error;
        // Fell behind the store's memory of changes; nodes ask for complete assignments again.
        log.warn("dispatcher fell behind the store and starts over", { reason: messageOf(error) });
        const reason = new EngineError("unavailable", "assignments have to be read anew");
        for (const feeds of this.#feeds.values()) {
          for (const feed of feeds) feed.lost.abort(reason);
        }
      }
    }
  }

  /** Ends all sessions and timers. */
  close(): void {
    this.sessions.clear(new EngineError("aborted", "dispatcher is stopped"));
    for (const timer of this.#orphaning.values()) timer.cancel();
    this.#orphaning.clear();
  }

  /** Lets a node in, or takes up the session that it has; resolves when the store knows. */
  async register(
    nodeId: string,
    sessionId: string,
    description: NodeDescription | undefined,
    addr: string,
  ): Promise<NodeSession> {
    const known = this.sessions.find(nodeId, sessionId);
    if (known === undefined) this.sessions.checkRate(nodeId);
    if (this.#options.state.view().get("node", nodeId) === undefined) {
      throw new EngineError("not-found", "node not found");
    }
    // It must not expire while its registration is being written: down would be the last word.
    this.sessions.touch(nodeId);
    this.#orphaning.get(nodeId)?.cancel();
    this.#orphaning.delete(nodeId);
    await this.writer.node(nodeId, { state: NodeState.READY, message: "", addr, description });
    if (this.#signal.aborted) throw new EngineError("aborted", "dispatcher is stopped");
    // While it was written, the session may have been lost or the node been given another one.
    const session = this.sessions.find(nodeId, sessionId) ?? this.sessions.open(nodeId);
    if (session !== known) {
      this.#options.log.info("node registered", { node: nodeId, session: session.id, addr });
    }
    return session;
  }

  /** Opens a feed with everything that is committed now. */
  openFeed(nodeId: string): AssignmentFeed {
    const view = this.#options.state.view();
    const set = new AssignmentSet(nodeId);
    set.load(view);
    const lost = new AbortController();
    const feed: OpenFeed = {
      set,
      bell: new Bell(),
      lost,
      signal: lost.signal,
      from: view.index,
      close: () => removeFrom(this.#feeds, nodeId, feed),
    };
    addTo(this.#feeds, nodeId, feed);
    return feed;
  }

  /** A bell that rings when the node's session message may have changed. */
  listen(nodeId: string): { readonly bell: Bell; close(): void } {
    const bell = new Bell();
    addTo(this.#listeners, nodeId, bell);
    return { bell, close: () => removeFrom(this.#listeners, nodeId, bell) };
  }

  /** The list of managers may have changed outside of the store. */
  refreshManagers(): void {
    this.#managers = this.#options.managers(this.#options.state.view());
    this.#ringAll();
  }

  #route({ index, changes }: ChangeBatch): void {
    const view = this.#options.state.view();
    let clusterChanged = false;
    let nodesChanged = false;
    for (const change of changes) {
      if (change.kind === "task") this.#routeTask(view, index, change, change.object.nodeId);
      else if (change.kind === "volume") {
        for (const { nodeId } of publishStatuses(change)) {
          this.#routeTask(view, index, change, nodeId);
        }
      } else if (change.kind === "node") {
        nodesChanged = true;
        if (change.action === "delete") this.#nodeRemoved(change.object.id);
        else this.#ring(change.object.id);
      } else if (change.kind === "cluster") clusterChanged = true;
    }
    if (clusterChanged) this.#readCluster(view);
    const managersChanged = nodesChanged && this.#managersChanged(view);
    if (clusterChanged || managersChanged) this.#ringAll();
  }

  #routeTask(view: ReadView, index: number, change: Change, nodeId: string): void {
    for (const feed of this.#feeds.get(nodeId) ?? []) {
      if (index <= feed.from) continue;
      feed.set.apply(view, change);
      if (feed.set.pending > 0) feed.bell.ring();
    }
  }

  #readCluster(view: ReadView): void {
    const period = clusterOf(view)?.spec?.dispatcher?.heartbeatPeriod;
    const periodMs = period === undefined ? 0 : durationMs(period);
    this.sessions.setPeriod(periodMs > 0 ? periodMs : DEFAULT_HEARTBEAT_PERIOD_MS);
    this.#managersChanged(view);
  }

  #managersChanged(view: ReadView): boolean {
    const before = this.#managers;
    this.#managers = this.#options.managers(view);
    return JSON.stringify(before) !== JSON.stringify(this.#managers);
  }

  #ring(nodeId: string): void {
    for (const bell of this.#listeners.get(nodeId) ?? []) bell.ring();
  }

  #ringAll(): void {
    for (const nodeId of this.#listeners.keys()) this.#ring(nodeId);
  }

  #nodeRemoved(nodeId: string): void {
    this.sessions.drop(nodeId, new EngineError("not-found", "node not found"));
    this.#orphaning.get(nodeId)?.cancel();
    this.#orphaning.delete(nodeId);
  }

  #markDown(nodeId: string, message: string): void {
    this.#options.log.warn("node is down", { node: nodeId, reason: message });
    this.#orphanLater(nodeId);
    this.writer
      .node(nodeId, { state: NodeState.DOWN, message, addr: "", description: undefined })
      .catch(() => undefined);
  }

  /** A node that stays away for this long gives up what it ran: its tasks no longer count. */
  #orphanLater(nodeId: string): void {
    const { clock, log, orphanAfterMs } = this.#options;
    this.#orphaning.get(nodeId)?.cancel();
    const timer = clock.setTimer(orphanAfterMs, () => {
      this.#orphaning.delete(nodeId);
      this.#orphanTasks(nodeId).catch((error: unknown) => {
        if (this.#signal.aborted) return;
        log.error("orphaning the tasks of a lost node failed", {
          node: nodeId,
          reason: messageOf(error),
        });
        this.#orphanLater(nodeId);
      });
    });
    this.#orphaning.set(nodeId, timer);
  }

  async #orphanTasks(nodeId: string): Promise<void> {
    await this.#options.state.update("dispatcher", (tx) => {
      if (tx.get("node", nodeId)?.status?.state !== NodeState.DOWN) return;
      for (const task of Array.from(tx.find("task", "node", nodeId))) {
        const { status } = task;
        if (status === undefined || status.state < TaskState.ASSIGNED || hasLetGo(task)) continue;
        tx.update("task", { ...task, status: { ...status, state: TaskState.ORPHANED } });
      }
    });
  }
}

function publishStatuses(change: Change & { kind: "volume" }) {
  return change.object.publishStatus;
}

function addTo<T>(table: Map<string, Set<T>>, key: string, item: T): void {
  const items = table.get(key);
  if (items === undefined) table.set(key, new Set([item]));
  else items.add(item);
}

function removeFrom<T>(table: Map<string, Set<T>>, key: string, item: T): void {
  const items = table.get(key);
  if (items?.delete(item) && items.size === 0) table.delete(key);
}
