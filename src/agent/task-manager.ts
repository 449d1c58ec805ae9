/**
 * One task on this node, from assignment to removal. A single loop asks the table (`do-step.ts`)
 * for the next step, has the controller carry it out, records the new status and asks again. A
 * change of the assignment interrupts the operation under way only if it makes another one due: a
 * pull survives the change from READY to RUNNING, and stops when the task is to be shut down.
 *
 * Invariants: one operation at a time; the state never goes back; a status is recorded before the
 * loop goes on; after `close` nothing is recorded any more.
 */

import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { EngineError, messageOf } from "#base/error.ts";
import { invariant } from "#base/invariant.ts";
import type { Clock, Log } from "#base/ports.ts";
import { sameAssignment } from "#model/stable-task.ts";
import { TaskExitError } from "#model/task-exit.ts";
import { type Deferred, deferred, sleep } from "#platform/async.ts";
import type { Task } from "#wire/gen/swarmkit/objects_pb.js";
import {
  ContainerStatusSchema,
  TaskState,
  type TaskStatus,
  TaskStatusSchema,
} from "#wire/gen/swarmkit/types_pb.js";
import { hasContainer, nextStep, type Step, stateAfterFailure } from "./do-step.ts";
import type { Controller } from "./executor.ts";
import type { Limiter } from "./limiter.ts";

export interface TaskManagerOptions {
  /** With the newest status known on this node. */
  readonly task: Task;
  readonly controller: Controller;
  readonly clock: Clock;
  readonly log: Log;
  /** Shared by all tasks of the node. */
  readonly prepareSlots: Limiter;
  /** Stores and reports a status; the loop waits for it. */
  readonly record: (taskId: string, status: TaskStatus) => Promise<void>;
}

export interface TaskManager {
  readonly controller: Controller;
  /** As assigned last, with the newest status. */
  task(): Task;
  /** A newer assignment; one that lowers the desired state is ignored. */
  update(task: Task): void;
  /** Ends the loop and waits for the operation under way; the container is left alone. */
  close(): Promise<void>;
}

interface Running {
  readonly step: Step;
  readonly abort: AbortController;
}

const RETRY_MIN_MS = 1_000;
const RETRY_MAX_MS = 10_000;

export function startTaskManager(options: TaskManagerOptions): TaskManager {
  const manager = new Manager(options);
  manager.start();
  return manager;
}

class Manager implements TaskManager {
  readonly controller: Controller;
  readonly #options: TaskManagerOptions;
  readonly #closing = new AbortController();
  #task: Task;
  #updated = false;
  #withdrawn = false;
  #running: Running | undefined;
  #wake: Deferred<void> = deferred();
  #retryMs = RETRY_MIN_MS;
  #loop: Promise<void> = Promise.resolve();

  constructor(options: TaskManagerOptions) {
    this.#options = options;
    this.#task = options.task;
    this.controller = options.controller;
  }

  start(): void {
    const { status } = this.#task;
    // Whoever withdrew it has gone with the process before this one, and it runs on.
    if (status?.withdrawn === true) this.#setWithdrawn(status, false);
    this.controller.onWithdrawn?.(() => this.#withdraw());
    this.#loop = this.#run();
  }

  #withdraw(): void {
    this.#withdrawn = true;
    const { status } = this.#task;
    if (status?.state === TaskState.RUNNING) this.#setWithdrawn(status, true);
  }

  /** Beside the loop, which waits for the container's end; nothing else of the status changes. */
  #setWithdrawn(before: TaskStatus, withdrawn: boolean): void {
    if (this.#closing.signal.aborted) return;
    const timestamp = timestampFromMs(this.#options.clock.nowMs());
    const status = { ...before, withdrawn, timestamp };
    this.#task = { ...this.#task, status };
    this.#options.record(this.#task.id, status).catch((error: unknown) => {
      this.#options.log.error("the withdrawal of a task was not reported", { error });
    });
  }

  task(): Task {
    return this.#task;
  }

  update(task: Task): void {
    invariant(task.id === this.#task.id, `task ${task.id} sent to manager of ${this.#task.id}`);
    if (sameAssignment(task, this.#task)) return;
    if (task.desiredState < this.#task.desiredState) {
      this.#options.log.warn("ignoring an assignment that lowers the desired state", {
        from: this.#task.desiredState,
        to: task.desiredState,
      });
      return;
    }
    this.#task = { ...task, status: this.#task.status };
    this.#updated = true;
    const due = nextStep(this.#state(), task.desiredState);
    if (this.#running !== undefined && this.#running.step !== due) {
      this.#running.abort.abort(new EngineError("cancelled", "the assignment changed"));
    }
    this.#poke();
  }

  async close(): Promise<void> {
    const reason = new EngineError("cancelled", "the task manager is closing");
    this.#closing.abort(reason);
    this.#running?.abort.abort(reason);
    this.#poke();
    await this.#loop;
  }

  #poke(): void {
    this.#wake.resolve();
  }

  #state(): TaskState {
    return this.#task.status?.state ?? TaskState.NEW;
  }

  async #run(): Promise<void> {
    while (!this.#closing.signal.aborted) {
      try {
        await this.#turn();
      } catch (error) {
        // Not the task's fault (its own errors end in its status): try again, without spinning.
        this.#options.log.error("task step failed", { error });
        await this.#pause();
      }
    }
  }

  async #turn(): Promise<void> {
    this.#wake = deferred();
    if (this.#updated) {
      this.#updated = false;
      await this.controller.update(this.#task);
    }
    const step = nextStep(this.#state(), this.#task.desiredState);
    if (step.kind === "idle") {
      if (!this.#updated && !this.#closing.signal.aborted) await this.#wake.promise;
      return;
    }
    if (step.kind === "advance") return this.#enter(step.to, step.message);
    const abort = new AbortController();
    if (this.#closing.signal.aborted) return;
    this.#running = { step, abort };
    try {
      await this.#operate(step.operation, abort.signal);
    } catch (error) {
      this.#running = undefined;
      if (!abort.signal.aborted) await this.#failed(error);
      return;
    }
    this.#running = undefined;
    await this.#enter(step.to, step.message);
  }

  #operate(operation: (Step & { kind: "run" })["operation"], signal: AbortSignal): Promise<void> {
    switch (operation) {
      case "prepare":
        return this.#options.prepareSlots.run(signal, () => this.controller.prepare(signal));
      case "start":
        return this.controller.start(signal);
      case "wait":
        return this.controller.wait(signal);
      case "shutdown":
        return this.controller.shutdown(signal);
    }
  }

  async #enter(state: TaskState, message: string): Promise<void> {
    invariant(state >= this.#state(), `task goes back from ${this.#state()} to ${state}`);
    this.#retryMs = RETRY_MIN_MS;
    await this.#record({ state, message, err: "" }, 0);
  }

  async #failed(error: unknown): Promise<void> {
    const before = this.#state();
    const message = this.#task.status?.message ?? "";
    const failure = EngineError.from(error);
    if (failure.retryable) {
      this.#options.log.warn("task operation will be tried again", { reason: failure.message });
      await this.#record({ state: before, message, err: failure.message }, 0);
      await this.#pause();
      return;
    }
    const exitCode = failure instanceof TaskExitError ? failure.exitCode : 0;
    this.#options.log.info("task failed", { state: before, reason: failure.message });
    await this.#record(
      { state: stateAfterFailure(before), message, err: failure.message },
      exitCode,
    );
  }

  /** Makes the status the task's own, then stores and reports it. */
  async #record(
    change: { readonly state: TaskState; readonly message: string; readonly err: string },
    exitCode: number,
  ): Promise<void> {
    const previous = this.#task.status;
    if (
      previous?.state === change.state &&
      previous.message === change.message &&
      previous.err === change.err
    ) {
      return;
    }
    let status: TaskStatus = create(TaskStatusSchema, {
      ...change,
      timestamp: timestampFromMs(this.#options.clock.nowMs()),
    });
    if (hasContainer(change.state)) status = await this.#withContainer(status, exitCode);
    if (this.#closing.signal.aborted) return;
    if (this.#withdrawn && status.state === TaskState.RUNNING) status.withdrawn = true;
    this.#task = { ...this.#task, status };
    await this.#options.record(this.#task.id, status);
  }

  async #withContainer(status: TaskStatus, exitCode: number): Promise<TaskStatus> {
    const previous = this.#task.status;
    const ask = async <T>(what: string, question: () => Promise<T>): Promise<T | undefined> => {
      try {
        return await question();
      } catch (error) {
        this.#options.log.warn(`${what} is not available`, { reason: messageOf(error) });
        return undefined;
      }
    };
    const found =
      (await ask("container status", () => this.controller.containerStatus())) ??
      (previous?.runtimeStatus.case === "container" ? previous.runtimeStatus.value : undefined) ??
      create(ContainerStatusSchema);
    const container = exitCode === 0 ? found : { ...found, exitCode };
    const portStatus =
      (await ask("port status", () => this.controller.portStatus())) ?? previous?.portStatus;
    return { ...status, portStatus, runtimeStatus: { case: "container", value: container } };
  }

  /** Waits before another try, or until the assignment changes. */
  async #pause(): Promise<void> {
    if (this.#updated || this.#closing.signal.aborted) return;
    const over = new AbortController();
    const waitMs = this.#retryMs;
    this.#retryMs = Math.min(this.#retryMs * 2, RETRY_MAX_MS);
    this.#wake = deferred();
    await Promise.race([
      sleep(this.#options.clock, waitMs, over.signal).catch(() => undefined),
      this.#wake.promise,
    ]);
    over.abort();
  }
}
