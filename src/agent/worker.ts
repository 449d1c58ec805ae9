/**
 * All tasks of this node. Takes assignments apart, keeps one manager per task, and stores every
 * status before it is reported. After a restart it goes on with what is on disk, whether or not a
 * manager can be reached.
 *
 * Removing a task takes its files away first: if the process dies in between, the container is a
 * leftover that the executor finds with the next complete assignment (`Executor.retain`), and not a
 * task that comes back to life.
 */

import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { EngineError, messageOf } from "#base/error.ts";
import type { Clock, Log } from "#base/ports.ts";
import { sleep } from "#platform/async.ts";
import type { AssignmentChange } from "#wire/gen/swarmkit/dispatcher_pb.js";
import { AssignmentChange_AssignmentAction as Action } from "#wire/gen/swarmkit/dispatcher_pb.js";
import type { SubscriptionMessage } from "#wire/gen/swarmkit/logbroker_pb.js";
import type { Task } from "#wire/gen/swarmkit/objects_pb.js";
import { TaskState, type TaskStatus, TaskStatusSchema } from "#wire/gen/swarmkit/types_pb.js";
import { createDependencies } from "./dependencies.ts";
import { isFinal, stateAfterFailure } from "./do-step.ts";
import type { Controller, Executor, StatusListener } from "./executor.ts";
import { Limiter } from "./limiter.ts";
import { startTaskManager, type TaskManager } from "./task-manager.ts";
import type { TaskStore } from "./task-store.ts";

export interface WorkerOptions {
  readonly executor: Executor;
  readonly store: TaskStore;
  readonly clock: Clock;
  readonly log: Log;
  /** How many tasks may pull and create at once. */
  readonly prepareLimit: number;
  /** Hears every status once it is stored. */
  readonly onStatus: StatusListener;
}

/** A task that has just got its manager. */
export type TaskListener = (manager: TaskManager) => void;

export interface Worker {
  /** Goes on with the tasks on disk. */
  start(): Promise<void>;
  /** Applies an assignment; a complete one removes every task that it does not name. */
  apply(changes: readonly AssignmentChange[], complete: boolean): void;
  /** The newest status of every task, for a manager that has just been met. */
  statuses(): ReadonlyMap<string, TaskStatus>;
  /** The managers of tasks that a subscription asks for. */
  matching(subscription: SubscriptionMessage): readonly TaskManager[];
  /** Hears of tasks that are started from now on; returns how to stop. */
  onTask(listener: TaskListener): () => void;
  /** Resolves when no removal is under way. */
  settled(): Promise<void>;
  /** Ends all loops and leaves the containers as they are. */
  close(): Promise<void>;
}

const REMOVE_RETRY_MIN_MS = 1_000;
const REMOVE_RETRY_MAX_MS = 30_000;

export function createWorker(options: WorkerOptions): Worker {
  return new TaskWorker(options);
}

class TaskWorker implements Worker {
  readonly #options: WorkerOptions;
  readonly #dependencies = createDependencies();
  readonly #prepareSlots: Limiter;
  readonly #managers = new Map<string, TaskManager>();
  /** Tasks whose controller could not be made: nothing runs, only the status is remembered. */
  readonly #refused = new Map<string, TaskStatus>();
  readonly #removals = new Map<string, Promise<void>>();
  readonly #listeners = new Set<TaskListener>();
  readonly #closing = new AbortController();

  constructor(options: WorkerOptions) {
    this.#options = options;
    this.#prepareSlots = new Limiter(options.prepareLimit);
  }

  async start(): Promise<void> {
    const tasks = await this.#options.store.load();
    for (const task of tasks) this.#startTask(task);
    if (tasks.length > 0) this.#options.log.info("resuming tasks", { tasks: tasks.length });
  }

  apply(changes: readonly AssignmentChange[], complete: boolean): void {
    if (this.#closing.signal.aborted) return;
    // Secrets and configs first: a task of the same message may need them.
    this.#dependencies.apply(changes, complete);
    const assigned = new Set<string>();
    for (const { assignment, action } of changes) {
      if (assignment?.item.case !== "task") continue;
      const task = assignment.item.value;
      if (action === Action.REMOVE) this.#removeTask(task.id);
      else {
        assigned.add(task.id);
        this.#assignTask(task);
      }
    }
    if (complete) this.#dropOthers(assigned);
  }

  statuses(): ReadonlyMap<string, TaskStatus> {
    const statuses = new Map(this.#refused);
    for (const [id, manager] of this.#managers) {
      const status = manager.task().status;
      if (status !== undefined) statuses.set(id, status);
    }
    return statuses;
  }

  matching({ selector }: SubscriptionMessage): readonly TaskManager[] {
    if (selector === undefined) return [];
    return [...this.#managers.values()].filter((manager) => {
      const task = manager.task();
      return (
        selector.taskIds.includes(task.id) ||
        selector.serviceIds.includes(task.serviceId) ||
        selector.nodeIds.includes(task.nodeId)
      );
    });
  }

  onTask(listener: TaskListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async settled(): Promise<void> {
    while (this.#removals.size > 0) await Promise.all(this.#removals.values());
  }

  async close(): Promise<void> {
    this.#closing.abort(new EngineError("cancelled", "the agent is closing"));
    await Promise.all([...this.#managers.values()].map((manager) => manager.close()));
    await Promise.allSettled(this.#removals.values());
    await Promise.allSettled(
      [...this.#managers.values()].map(({ controller }) => controller.close()),
    );
    await this.#options.store.close();
  }

  #assignTask(task: Task): void {
    const manager = this.#managers.get(task.id);
    if (manager !== undefined) {
      const before = manager.task();
      manager.update(task);
      if (manager.task() !== before) this.#storeTask(task);
      return;
    }
    if (this.#refused.has(task.id)) return;
    const removal = this.#removals.get(task.id);
    if (removal === undefined) {
      this.#storeTask(task);
      this.#startTask(task);
      // A manager ended it before this node heard of it; it waits for the node's word all the same.
      const { status } = task;
      if (status !== undefined && isFinal(status.state)) this.#options.onStatus(task.id, status);
    } else {
      // Taken away and given back: the old container has to be gone before the new one is made.
      void this.#assignAfter(removal, task);
    }
  }

  async #assignAfter(removal: Promise<void>, task: Task): Promise<void> {
    await removal;
    if (!this.#closing.signal.aborted && !this.#managers.has(task.id)) this.#assignTask(task);
  }

  #startTask(task: Task): void {
    const log = this.#options.log.child({ task: task.id, service: task.serviceId });
    let controller: Controller;
    try {
      controller = this.#options.executor.controller(task, this.#dependencies);
    } catch (error) {
      this.#refuse(task, error, log);
      return;
    }
    const manager = startTaskManager({
      task,
      controller,
      clock: this.#options.clock,
      log,
      prepareSlots: this.#prepareSlots,
      record: (taskId, status) => this.#record(taskId, status),
    });
    this.#managers.set(task.id, manager);
    for (const listener of this.#listeners) listener(manager);
  }

  #refuse(task: Task, error: unknown, log: Log): void {
    const state = task.status?.state ?? TaskState.ASSIGNED;
    const status = create(TaskStatusSchema, {
      state: state > TaskState.RUNNING ? state : stateAfterFailure(state),
      message: "resolving controller failed",
      err: messageOf(error),
      timestamp: timestampFromMs(this.#options.clock.nowMs()),
    });
    log.warn("this node cannot run the task", { reason: status.err });
    this.#refused.set(task.id, status);
    void this.#record(task.id, status);
  }

  #dropOthers(assigned: ReadonlySet<string>): void {
    for (const id of [...this.#managers.keys(), ...this.#refused.keys()]) {
      if (!assigned.has(id)) this.#removeTask(id);
    }
    this.#options.executor.retain?.(assigned).catch((error: unknown) => {
      this.#options.log.warn("removing leftovers of other tasks failed", {
        reason: messageOf(error),
      });
    });
  }

  #removeTask(taskId: string): void {
    const manager = this.#managers.get(taskId);
    this.#managers.delete(taskId);
    this.#refused.delete(taskId);
    const removal = this.#remove(taskId, manager).finally(() => this.#removals.delete(taskId));
    // A task may be named twice; the later removal has nothing left to do but wait.
    const earlier = this.#removals.get(taskId);
    this.#removals.set(
      taskId,
      earlier === undefined ? removal : Promise.all([earlier, removal]).then(() => undefined),
    );
  }

  async #remove(taskId: string, manager: TaskManager | undefined): Promise<void> {
    const log = this.#options.log.child({ task: taskId });
    // Both at once: the files must not wait for an operation that ignores its signal.
    const closed = manager?.close();
    await this.#options.store.delete(taskId).catch((error: unknown) => {
      log.error("the files of a removed task stay behind", { reason: messageOf(error) });
    });
    await closed;
    if (manager !== undefined) await this.#removeController(manager.controller, log);
  }

  async #removeController(controller: Controller, log: Log): Promise<void> {
    const signal = this.#closing.signal;
    for (let waitMs = REMOVE_RETRY_MIN_MS; !signal.aborted; ) {
      try {
        await controller.remove(signal);
        break;
      } catch (error) {
        if (signal.aborted) break;
        log.warn("removing a task failed and will be tried again", { reason: messageOf(error) });
      }
      await sleep(this.#options.clock, waitMs, signal).catch(() => undefined);
      waitMs = Math.min(waitMs * 2, REMOVE_RETRY_MAX_MS);
    }
    await controller.close().catch((error: unknown) => {
      log.warn("closing a controller failed", { reason: messageOf(error) });
    });
  }

  #storeTask(task: Task): void {
    // Not waited for: should the assignment be lost, the manager still has it.
    this.#options.store.putTask(task).catch((error: unknown) => {
      if (this.#closing.signal.aborted) return;
      this.#options.log.error("cannot store an assignment; it would be lost by a restart", {
        task: task.id,
        reason: messageOf(error),
      });
    });
  }

  async #record(taskId: string, status: TaskStatus): Promise<void> {
    try {
      await this.#options.store.putStatus(taskId, status);
    } catch (error) {
      if (this.#closing.signal.aborted) return;
      this.#options.log.error("cannot store a task status", {
        task: taskId,
        reason: messageOf(error),
      });
    }
    if (!this.#closing.signal.aborted) this.#options.onStatus(taskId, status);
  }
}
