/**
 * Writes what nodes report into the store. Everything that comes in while one write is on its way
 * goes into the next: one raft entry carries the reports of a whole cluster, and a lone report
 * waits for nothing. What is reported twice before it is written is written once.
 *
 * A task's report is acknowledged before it is written: should this leader fall, the session falls
 * with it, and nodes tell their next session everything anew. Registrations wait for their write.
 */

import { create, equals } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { EngineError, messageOf } from "#base/error.ts";
import { must } from "#base/invariant.ts";
import type { Clock, Log } from "#base/ports.ts";
import { hasLetGo, isTerminal, stateOf } from "#model/task.ts";
import { type Deferred, deferred, sleep } from "#platform/async.ts";
import type { Tx } from "#store/types.ts";
import {
  type NodeDescription,
  NodeDescriptionSchema,
  type NodeStatus_State,
  NodeStatusSchema,
  TaskState,
  type TaskStatus,
  TaskStatusSchema,
  VolumePublishStatus_State,
} from "#wire/gen/swarmkit/types_pb.js";
import type { ClusterState } from "../state.ts";

export interface NodeUpdate {
  readonly state: NodeStatus_State;
  readonly message: string;
  /** Empty = as it was. */
  readonly addr: string;
  /** Undefined = as it was. */
  readonly description: NodeDescription | undefined;
}

export interface StatusWriterOptions {
  readonly state: ClusterState;
  readonly clock: Clock;
  readonly log: Log;
  /** This manager, as `applied_by`. */
  readonly nodeId: string;
}

type Entry =
  | { readonly kind: "task"; readonly id: string; readonly status: TaskStatus }
  | { readonly kind: "node"; readonly id: string; readonly update: NodeUpdate }
  | { readonly kind: "volume"; readonly id: string; readonly nodeIds: ReadonlySet<string> };

/** Most entries of one write. */
const BATCH_MAX = 10_000;
const RETRY_MS = 100;

export class StatusWriter {
  readonly #options: StatusWriterOptions;
  readonly #signal: AbortSignal;
  #waiting = new Map<string, Entry>();
  /** Settles when everything that waits now is written. */
  #written: Deferred<void> = deferred();
  #writing = false;

  /** Writes until the signal is aborted. */
  constructor(options: StatusWriterOptions, signal: AbortSignal) {
    this.#options = options;
    this.#signal = signal;
  }

  task(id: string, status: TaskStatus): void {
    const known = this.#waiting.get(`task/${id}`);
    if (known?.kind === "task" && known.status.state > status.state) return;
    this.#add({ kind: "task", id, status });
  }

  /** Resolves when it is committed. */
  node(id: string, update: NodeUpdate): Promise<void> {
    const known = this.#waiting.get(`node/${id}`);
    const earlier = known?.kind === "node" ? known.update : undefined;
    this.#add({
      kind: "node",
      id,
      update: {
        ...update,
        addr: update.addr === "" ? (earlier?.addr ?? "") : update.addr,
        description: update.description ?? earlier?.description,
      },
    });
    return this.#written.promise;
  }

  volumeUnpublished(id: string, nodeId: string): void {
    const known = this.#waiting.get(`volume/${id}`);
    const nodeIds = new Set(known?.kind === "volume" ? known.nodeIds : []).add(nodeId);
    this.#add({ kind: "volume", id, nodeIds });
  }

  #add(entry: Entry): void {
    this.#waiting.set(`${entry.kind}/${entry.id}`, entry);
    void this.#run();
  }

  async #run(): Promise<void> {
    if (this.#writing) return;
    this.#writing = true;
    // What all connections bring in this turn of the event loop goes together.
    await new Promise((resolve) => setImmediate(resolve));
    while (this.#waiting.size > 0) {
      const batch = [...this.#waiting.values()];
      const written = this.#written;
      this.#waiting = new Map();
      this.#written = deferred();
      written.promise.catch(() => undefined);
      try {
        for (let at = 0; at < batch.length; at += BATCH_MAX) {
          await this.#write(batch.slice(at, at + BATCH_MAX));
        }
        written.resolve();
      } catch (error) {
        written.reject(error);
      }
    }
    this.#writing = false;
  }

  /** Throws only when this manager no longer leads. */
  async #write(entries: readonly Entry[]): Promise<void> {
    const { state, clock, log } = this.#options;
    for (;;) {
      if (this.#signal.aborted) throw stopped();
      try {
        await state.update("dispatcher", (tx) => {
          for (const entry of entries) this.#apply(tx, entry);
        });
        return;
      } catch (error) {
        if (this.#signal.aborted || !state.isLeader()) throw stopped();
        const failure = EngineError.from(error);
        log.warn("writing reported statuses failed", {
          entries: entries.length,
          reason: failure.message,
        });
        if (!failure.retryable) return this.#writeApart(entries, failure);
        await sleep(clock, RETRY_MS, this.#signal).catch(() => undefined);
      }
    }
  }

  /** One entry that the store refuses must not keep back the others. */
  async #writeApart(entries: readonly Entry[], reason: EngineError): Promise<void> {
    const [only] = entries;
    if (only === undefined) return;
    if (entries.length === 1) {
      this.#options.log.error("dropping a report that the store refuses", {
        kind: only.kind,
        id: only.id,
        reason: messageOf(reason),
      });
      return;
    }
    const middle = Math.ceil(entries.length / 2);
    await this.#write(entries.slice(0, middle));
    await this.#write(entries.slice(middle));
  }

  #apply(tx: Tx, entry: Entry): void {
    switch (entry.kind) {
      case "task":
        return this.#applyTask(tx, entry.id, entry.status);
      case "node":
        return applyNode(tx, entry.id, entry.update);
      case "volume":
        return applyVolume(tx, entry.id, entry.nodeIds);
    }
  }

  #applyTask(tx: Tx, id: string, status: TaskStatus): void {
    const task = tx.get("task", id);
    if (task === undefined) return;
    const applied = {
      appliedBy: this.#options.nodeId,
      appliedAt: timestampFromMs(this.#options.state.nowMs()),
    };
    // A report that others have overtaken: states never go back.
    if (stateOf(task) > status.state) {
      // A manager ended the task before its node did; now the node has.
      const heard = isTerminal(task) && !hasLetGo(task) && status.state > TaskState.RUNNING;
      if (heard)
        tx.update("task", { ...task, status: { ...must(task.status, "status"), ...applied } });
      return;
    }
    const same = task.status !== undefined && sameReport(task.status, status);
    if (same && (hasLetGo(task) || !isTerminal(task))) return;
    tx.update("task", { ...task, status: { ...status, ...applied } });
  }
}

function applyNode(tx: Tx, id: string, update: NodeUpdate): void {
  const node = tx.get("node", id);
  if (node === undefined) return;
  const status = create(NodeStatusSchema, {
    state: update.state,
    message: update.message,
    addr: update.addr === "" ? (node.status?.addr ?? "") : update.addr,
  });
  const description = update.description ?? node.description;
  const same =
    node.status !== undefined &&
    equals(NodeStatusSchema, node.status, status) &&
    (description === node.description ||
      (description !== undefined &&
        node.description !== undefined &&
        equals(NodeDescriptionSchema, description, node.description)));
  if (!same) tx.update("node", { ...node, status, description });
}

function applyVolume(tx: Tx, id: string, nodeIds: ReadonlySet<string>): void {
  const volume = tx.get("volume", id);
  if (volume === undefined) return;
  const publishStatus = volume.publishStatus.map((status) =>
    nodeIds.has(status.nodeId)
      ? { ...status, state: VolumePublishStatus_State.PENDING_UNPUBLISH }
      : status,
  );
  tx.update("volume", { ...volume, publishStatus });
}

function sameReport(stored: TaskStatus, reported: TaskStatus): boolean {
  const { appliedBy, appliedAt } = stored;
  return equals(TaskStatusSchema, stored, { ...reported, appliedBy, appliedAt });
}

function stopped(): EngineError {
  return new EngineError("aborted", "dispatcher is stopped");
}
