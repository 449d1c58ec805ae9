/**
 * Figures of a manager: its store, its place in the raft group, the leader's data path. One object
 * for the life of the process, so that counts survive a manager that is demoted and promoted again.
 */

import { isErrorCode } from "#base/error.ts";
import { Counter, counter, doublingBuckets, type Family, gauge, Histogram } from "#base/metrics.ts";
import type { DataPlaneServer } from "#manager/dataplane/service.ts";
import type { ManagerPart } from "#manager/manager-ports.ts";
import type { RaftNode, RaftTimings } from "#manager/raft/node.ts";
import type { ClusterState } from "#manager/state.ts";
import type { FileSystem } from "#platform/wal/file-system.ts";
import type { ChangeBatch, ReadView } from "#store/types.ts";
import type { Task } from "#wire/gen/swarmkit/objects_pb.js";
import { NodeStatus_State as NodeState, TaskState } from "#wire/gen/swarmkit/types_pb.js";

/** What a running manager can be asked. */
export interface ManagerParts {
  readonly raft: Pick<RaftNode, "state" | "status">;
  readonly dataPlane: Pick<DataPlaneServer, "status">;
}

/** Nodes that are named because they hold something up. */
const NAMED_MAX = 100;

export class ManagerMetrics {
  readonly #nowMs: () => number;
  readonly #transactions = new Histogram(
    "swarm_raft_transaction_latency_seconds",
    "Raft transaction latency.",
  );
  readonly #snapshots = new Histogram(
    "swarm_raft_snapshot_latency_seconds",
    "Raft snapshot create latency.",
  );
  readonly #writes = new Histogram(
    "swarm_store_write_tx_latency_seconds",
    "Raft store write tx latency.",
  );
  readonly #syncs = new Histogram(
    "etcd_disk_wal_fsync_duration_seconds",
    "The latency distributions of fsync called by wal.",
    { buckets: doublingBuckets(0.001, 14) },
  );
  readonly #delays = new Histogram(
    "swarm_dispatcher_scheduling_delay_seconds",
    "Scheduling delay is the time a task takes to go from NEW to RUNNING state.",
  );
  readonly #lost = new Counter(
    "skep_raft_proposals_lost_total",
    "Changes whose outcome was not known when leadership was lost.",
  );
  #parts: ManagerParts | undefined;

  constructor(monotonicMs: () => number) {
    this.#nowMs = monotonicMs;
  }

  readonly timings: RaftTimings = {
    transaction: (seconds, outcome) => {
      if (outcome === "lost") this.#lost.add();
      else this.#transactions.observe(seconds);
    },
    snapshot: (seconds) => this.#snapshots.observe(seconds),
  };

  /** The same files; a write to the log, which is on disk when it ends, is measured. */
  timedFiles(files: FileSystem): FileSystem {
    return {
      ...files,
      openDurable: async (path) => {
        const file = await files.openDurable(path);
        return {
          write: async (bytes, offset) => {
            const startMs = this.#nowMs();
            await file.write(bytes, offset);
            this.#syncs.observe((this.#nowMs() - startMs) / 1000);
          },
          sync: () => file.sync(),
          close: () => file.close(),
        };
      },
    };
  }

  /** The same state, with the time measured that writers wait. */
  timedState(state: ClusterState): ClusterState {
    return {
      ...state,
      update: async (actor, write) => {
        const startMs = this.#nowMs();
        const result = await state.update(actor, write);
        this.#writes.observe((this.#nowMs() - startMs) / 1000);
        return result;
      },
    };
  }

  /** From when the manager has its parts until it closes. */
  part(parts: ManagerParts): ManagerPart {
    this.#parts = parts;
    return {
      name: "metrics",
      lead: (signal) => this.#followTasks(parts.raft.state, signal),
      close: async () => {
        if (this.#parts === parts) this.#parts = undefined;
      },
    };
  }

  families(): readonly Family[] {
    const histograms = [
      this.#transactions,
      this.#snapshots,
      this.#writes,
      this.#syncs,
      this.#delays,
      this.#lost,
    ].map((one) => one.family());
    const manager = gauge(
      "swarm_node_manager",
      "Whether this node is a manager or not",
      this.#parts === undefined ? 0 : 1,
    );
    if (this.#parts === undefined) return [manager, ...histograms];
    const { raft, dataPlane } = this.#parts;
    return [
      manager,
      gauge(
        "swarm_manager_leader",
        "Indicates if this manager node is a leader",
        raft.state.isLeader() ? 1 : 0,
      ),
      ...histograms,
      ...storeFamilies(raft.state.view()),
      ...raftFamilies(raft),
      ...dataPlaneFamilies(dataPlane),
    ];
  }

  async #followTasks(state: ClusterState, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        for await (const batch of state.watch({ signal }))
          this.#lookForStarts(batch, state.nowMs());
      } catch (error) {
        if (signal.aborted) return;
        // Fell behind: figures have a gap, and that is all.
        if (!isErrorCode(error, "out-of-range")) throw error;
      }
    }
  }

  #lookForStarts({ changes }: ChangeBatch, nowMs: number): void {
    for (const change of changes) {
      if (change.kind !== "task" || change.action !== "update") continue;
      if (stateOf(change.old) >= TaskState.RUNNING) continue;
      if (stateOf(change.object) !== TaskState.RUNNING) continue;
      const { seconds = 0n, nanos = 0 } = change.object.meta?.createdAt ?? {};
      const createdMs = Number(seconds) * 1000 + nanos / 1e6;
      this.#delays.observe(Math.max(nowMs - createdMs, 0) / 1000);
    }
  }
}

function stateOf({ status }: Task): TaskState {
  return status?.state ?? TaskState.NEW;
}

function storeFamilies(view: ReadView): readonly Family[] {
  const nodes = zeros(NodeState);
  for (const { status } of view.all("node")) {
    increase(nodes, NodeState[status?.state ?? NodeState.UNKNOWN]);
  }
  const tasks = zeros(TaskState);
  for (const task of view.all("task")) increase(tasks, TaskState[stateOf(task)]);
  const total = (kind: "service" | "network" | "secret" | "config") =>
    gauge(
      `swarm_manager_${kind}s_total`,
      `The number of ${kind}s in the cluster object store`,
      view.count(kind),
    );
  return [
    gauge("swarm_manager_nodes", "The number of nodes", byState(nodes)),
    gauge(
      "swarm_manager_tasks_total",
      "The number of tasks in the cluster object store",
      byState(tasks),
    ),
    total("service"),
    total("network"),
    total("secret"),
    total("config"),
  ];
}

/** A count for each name of an enum, in lower case. */
function zeros(names: Readonly<Record<string, string | number>>): Map<string, number> {
  const texts = Object.values(names).filter((name) => typeof name === "string");
  return new Map(texts.map((name) => [name.toLowerCase(), 0]));
}

function increase(counts: Map<string, number>, name = "unknown"): void {
  const key = name.toLowerCase();
  counts.set(key, (counts.get(key) ?? 0) + 1);
}

function byState(counts: ReadonlyMap<string, number>) {
  return [...counts].map(([state, value]) => ({ labels: { state }, value }));
}

function raftFamilies(raft: Pick<RaftNode, "status">): readonly Family[] {
  const status = raft.status();
  return [
    gauge("skep_raft_term", "Term of the raft group that this manager knows.", status.term),
    gauge(
      "skep_raft_has_leader",
      "Whether this manager knows a leader; without one nothing can be changed.",
      status.hasLeader ? 1 : 0,
    ),
    counter(
      "skep_raft_leader_changes_total",
      "Leaders that this manager has heard of, each time anew.",
      status.leaderChanges,
    ),
    gauge("skep_raft_committed_index", "Newest committed entry.", status.committed),
    gauge("skep_raft_applied_index", "Newest entry in the store.", status.applied),
    gauge("skep_raft_first_index", "Oldest entry that the log still has.", status.firstIndex),
    gauge("skep_raft_proposals_pending", "Changes that wait for their commit.", status.pending),
    gauge("skep_raft_members", "Members of the raft group.", [
      { labels: { role: "voter" }, value: status.voters.length },
      { labels: { role: "learner" }, value: status.learners.length },
    ]),
  ];
}

/** Empty unless this manager leads: elsewhere nobody knows. */
function dataPlaneFamilies(dataPlane: Pick<DataPlaneServer, "status">): readonly Family[] {
  const status = dataPlane.status();
  if (status === undefined) return [];
  const late = [...status.late].slice(0, NAMED_MAX);
  return [
    gauge("skep_dataplane_revision", "Revision of the newest network tables.", status.revision),
    gauge("skep_dataplane_watching_nodes", "Nodes that are told of changes.", status.watching),
    gauge(
      "skep_dataplane_withdrawn_tasks",
      "Tasks that shall stop and wait until every node has acknowledged their withdrawal.",
      status.withdrawn,
    ),
    gauge(
      "skep_dataplane_released_tasks",
      "Tasks whose withdrawal is acknowledged and that have not ended yet.",
      status.released,
    ),
    gauge(
      "skep_dataplane_late_nodes",
      "Nodes that have not acknowledged the withdrawal of tasks for ten seconds or more.",
      status.late.size,
    ),
    gauge(
      "skep_dataplane_late_acknowledgements",
      "Tasks that each late node holds up.",
      late.map(([node_id, value]) => ({ labels: { node_id }, value })),
    ),
  ];
}
