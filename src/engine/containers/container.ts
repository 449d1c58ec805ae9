/**
 * One container in memory: its record and state, who waits for its end, where its output goes. The
 * transitions are made by start, finish, control and remove; this is what they act on. State changes happen under the
 * container's lock, and reach the disk before they are told to anybody.
 */

import type { Timer } from "#base/ports.ts";
import { type Deferred, deferred } from "#platform/async.ts";
import type { Mount } from "#wire/gen/containerd/types_pb.js";
import type { JsonFileLog } from "../logs/json-file.ts";
import type { HealthState } from "./health-state.ts";
import { OutputHub } from "./output-hub.ts";
import type { ProcessIo } from "./process-io.ts";
import type { ContainerRecord, RunState } from "./record.ts";

export interface ExitNotice {
  readonly exitCode: number;
  /** False when the restart policy starts it again. */
  readonly final: boolean;
}

export class Container {
  record: ContainerRecord;
  state: RunState;
  readonly hub = new OutputHub();
  /** Absent for the log driver "none". */
  readonly log: JsonFileLog | undefined;
  /** Mounts of the file system, once asked for; they do not change. */
  rootfs: readonly Mount[] | undefined;
  /** While a process is there. */
  io: ProcessIo | undefined;
  /** Ends the watch over the running task, at the engine's close. */
  watch: AbortController | undefined;
  health: HealthState | undefined;
  stopHealthChecks: (() => void) | undefined;
  restartTimer: Timer | undefined;
  /** The delay that the policy waited before the present run, milliseconds. */
  lastDelayMs = 0;
  /** When the present run began, on the monotonic clock. */
  startedMonotonicMs = 0;
  /** A stop, kill or remove is under way: the coming end is wanted. */
  endWanted = false;
  /** A restart is under way: its end is not the one that --rm waits for. */
  restarts = false;
  /**
   * Until when a start by an earlier engine may be under way in containerd, on the monotonic clock;
   * 0 for a container that this engine has made.
   */
  inheritedUntilMs = 0;
  readonly execIds = new Set<string>();
  /** Signals on their way, until their event is published; none rejects. */
  readonly signals = new Set<Promise<unknown>>();
  readonly #exits = new Set<(notice: ExitNotice) => void>();
  readonly #removed = deferred<number>();
  #started: Deferred<void> = deferred();

  constructor(record: ContainerRecord, state: RunState, log: JsonFileLog | undefined) {
    this.record = record;
    this.state = state;
    this.log = log;
  }

  get id(): string {
    return this.record.id;
  }

  get name(): string {
    return this.record.name;
  }

  /** Calls once at the next end, final or not; returns how to stop that. */
  onExit(listener: (notice: ExitNotice) => void): () => void {
    this.#exits.add(listener);
    return () => this.#exits.delete(listener);
  }

  announceExit(notice: ExitNotice): void {
    const listeners = [...this.#exits];
    this.#exits.clear();
    for (const listener of listeners) listener(notice);
  }

  /** Resolves to the last exit code once the container is removed. */
  get removed(): Promise<number> {
    return this.#removed.promise;
  }

  announceRemoved(): void {
    this.#removed.resolve(this.state.exitCode);
  }

  /** Resolves when a process takes input: at once while one runs, else at the next start. */
  get started(): Promise<void> {
    return this.#started.promise;
  }

  announceStarted(): void {
    this.#started.resolve();
  }

  announceStopped(): void {
    this.#started.resolve();
    this.#started = deferred();
  }
}
