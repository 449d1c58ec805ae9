/**
 * The DataPlane service (docs/network.md): tells each node the tables of the networks that it
 * serves, takes its acknowledgements, and lets tasks be stopped when all have acknowledged their
 * withdrawal. Only the leader answers; what it knows is made of committed state and of what nodes
 * acknowledge to it, and is thrown away with its reign.
 *
 * A node works under its dispatcher session: when that ends, so does its stream. One node has one
 * stream; a newer one ends the older.
 */

import { EngineError, isErrorCode, messageOf } from "#base/error.ts";
import type { Clock, Log } from "#base/ports.ts";
import type { TablesFeed } from "#plan/dataplane/feed.ts";
import { DataPlane as Plane } from "#plan/dataplane/plane.ts";
import {
  conflictsOfNetwork,
  conflictsOfNode,
  type RouteConflict,
} from "#plan/dataplane/route-conflicts.ts";
import { sleep } from "#platform/async.ts";
import type { RpcContext, RpcHandlers } from "#platform/grpc/server.ts";
import type { ChangeBatch } from "#store/types.ts";
import type {
  AcknowledgeRequest,
  DataPlane,
  TablesMessage,
  WatchRequest,
} from "#wire/gen/skep/dataplane_pb.js";
import { callingNode } from "../authz/caller.ts";
import { Bell } from "../dispatcher/bell.ts";
import type { NodeSession } from "../dispatcher/node-sessions.ts";
import { holdReign, type Reign } from "../reign.ts";
import type { ClusterState } from "../state.ts";

export interface DataPlaneOptions {
  readonly state: ClusterState;
  readonly clock: Clock;
  readonly log: Log;
  /** This manager's node id: who calls over the local socket. */
  readonly nodeId: string;
  /** The dispatcher's open session of a node; throws what the Dispatcher answers without one. */
  readonly session: (nodeId: string, sessionId: string) => NodeSession;
}

/** How the leader's part of the data path stands. */
export interface DataPlaneStatus {
  /** Of the newest tables. */
  readonly revision: number;
  /** Nodes that are being told of changes. */
  readonly watching: number;
  /** Tasks whose withdrawal not all nodes have acknowledged; those that may be stopped. */
  readonly withdrawn: number;
  readonly released: number;
  /** Nodes that hold up the end of tasks for longer than they should, with the number of those. */
  readonly late: ReadonlyMap<string, number>;
}

export interface DataPlaneServer {
  readonly handlers: RpcHandlers<typeof DataPlane>;
  /** Undefined unless this manager leads. */
  status(): DataPlaneStatus | undefined;
  /** Serves until the signal is aborted; to be handed to `ClusterState.onLeadership`. */
  lead(signal: AbortSignal): Promise<void>;
}

/** The first change after a pause goes out at once; those that follow gather for this long. */
const GAP_MS = 10;
/** How often to look for nodes that do not acknowledge, which holds up the end of tasks. */
const LATE_CHECK_MS = 10_000;
/** Conflicts of routes that are told of at most. */
const WARNED_MAX = 1_000;

export function createDataPlane(options: DataPlaneOptions): DataPlaneServer {
  const reign = holdReign(
    (signal) => new DataPlaneReign(options, signal),
    "the data plane is stopped",
  );
  const { current } = reign;
  const caller = (context: RpcContext) => callingNode(context, options.nodeId);
  return {
    handlers: {
      watch: (request, context) => current().watch(request, caller(context), context),
      acknowledge: (request, context) => current().acknowledge(request, caller(context)),
    },
    status: () => reign.peek()?.status(),
    lead: reign.lead,
  };
}

interface Stream {
  readonly feed: TablesFeed;
  readonly bell: Bell;
  readonly ended: AbortController;
}

class DataPlaneReign implements Reign {
  readonly #options: DataPlaneOptions;
  readonly #signal: AbortSignal;
  /** By node. */
  readonly #streams = new Map<string, Stream>();
  readonly #warned = new Set<string>();
  #plane: Plane | undefined;
  #late: ReadonlyMap<string, number> = new Map();

  constructor(options: DataPlaneOptions, signal: AbortSignal) {
    this.#options = options;
    this.#signal = signal;
  }

  /** Follows the store until the reign ends. */
  async run(): Promise<void> {
    const { state, log } = this.#options;
    void this.#watchLate();
    while (!this.#signal.aborted) {
      // No await between the view and the watch: nothing is lost in between.
      const { view, batches } = state.viewAndWatch({ signal: this.#signal });
      const plane = new Plane((feed) => this.#ring(feed));
      plane.load(view);
      this.#plane = plane;
      for (const node of view.all("node")) this.#warn(conflictsOfNode(view, node));
      try {
        for await (const batch of batches) {
          plane.apply(batch);
          this.#lookForConflicts(batch);
        }
      } catch (error) {
        if (this.#signal.aborted) return;
        if (!isErrorCode(error, "out-of-range")) throw error;
        // Fell behind the store's memory of changes; nodes ask for complete tables again.
        log.warn("data plane fell behind the store and starts over", { reason: messageOf(error) });
        this.close(new EngineError("unavailable", "tables have to be read anew"));
      }
    }
  }

  close(reason: EngineError): void {
    this.#plane = undefined;
    for (const { ended } of this.#streams.values()) ended.abort(reason);
    this.#streams.clear();
  }

  status(): DataPlaneStatus | undefined {
    if (this.#plane === undefined) return undefined;
    return {
      ...this.#plane.counts(),
      revision: this.#plane.revision,
      watching: this.#streams.size,
      late: this.#late,
    };
  }

  async *watch(
    { sessionId }: WatchRequest,
    nodeId: string,
    context: RpcContext,
  ): AsyncGenerator<TablesMessage> {
    const session = this.#options.session(nodeId, sessionId);
    const plane = this.#current();
    const stream: Stream = {
      feed: plane.open(nodeId),
      bell: new Bell(),
      ended: new AbortController(),
    };
    const older = this.#streams.get(nodeId);
    older?.ended.abort(new EngineError("aborted", "the node watches by another stream"));
    this.#streams.set(nodeId, stream);
    const signal = AbortSignal.any([session.signal, context.signal, stream.ended.signal]);
    try {
      yield* this.#messages(stream, signal);
    } finally {
      plane.close(stream.feed);
      if (this.#streams.get(nodeId) === stream) this.#streams.delete(nodeId);
    }
  }

  acknowledge({ sessionId, revision }: AcknowledgeRequest, nodeId: string): object {
    this.#options.session(nodeId, sessionId);
    this.#current().acknowledge(nodeId, Number(revision));
    return {};
  }

  async *#messages({ feed, bell }: Stream, signal: AbortSignal): AsyncGenerator<TablesMessage> {
    const { clock } = this.#options;
    for (let sentMs = Number.NEGATIVE_INFINITY; ; ) {
      if (!feed.pending) {
        await bell.wait(signal);
        const gapMs = sentMs + GAP_MS - clock.monotonicMs();
        if (gapMs > 0) await sleep(clock, gapMs, signal);
        if (!feed.pending) continue;
      }
      signal.throwIfAborted();
      sentMs = clock.monotonicMs();
      yield* feed.take();
    }
  }

  #current(): Plane {
    if (this.#plane === undefined) throw new EngineError("aborted", "the data plane is stopped");
    return this.#plane;
  }

  #ring(feed: TablesFeed): void {
    const stream = this.#streams.get(feed.nodeId);
    if (stream?.feed === feed && feed.pending) stream.bell.ring();
  }

  #lookForConflicts({ changes }: ChangeBatch): void {
    const view = this.#options.state.view();
    for (const change of changes) {
      if (change.action === "delete") continue;
      if (change.kind === "node") {
        const { object } = change;
        const known = change.action === "update" && change.old.description === object.description;
        if (!known) this.#warn(conflictsOfNode(view, object));
      } else if (change.kind === "network") {
        this.#warn(conflictsOfNetwork(view, change.object));
      }
    }
  }

  /** Once for each, for as long as this manager leads. */
  #warn(conflicts: readonly RouteConflict[]): void {
    for (const conflict of conflicts) {
      const key = `${conflict.nodeId} ${conflict.subnet} ${conflict.route}`;
      if (this.#warned.has(key) || this.#warned.size >= WARNED_MAX) continue;
      this.#warned.add(key);
      this.#options.log.warn(
        "a route of a node leads into a network of the swarm: one of the two is out of reach there",
        { ...conflict },
      );
    }
  }

  /** Says which nodes hold up the end of tasks; whoever is down is not waited for. */
  async #watchLate(): Promise<void> {
    const { clock, log } = this.#options;
    let seen = 0;
    while (!this.#signal.aborted) {
      this.#late = this.#plane?.lateSince(seen) ?? new Map<string, number>();
      for (const [node, tasks] of this.#late) {
        log.warn("node has not acknowledged the withdrawal of tasks that shall stop", {
          node,
          tasks,
        });
      }
      seen = this.#plane?.revision ?? 0;
      await sleep(clock, LATE_CHECK_MS, this.#signal).catch(() => undefined);
    }
  }
}
