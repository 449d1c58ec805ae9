/**
 * A machine's disk as the raft log, the snapshot files and the agent's task store use it. What was
 * synced survives; of everything else a crash keeps what it likes, down to sectors of one write.
 * Everything takes time, so that a crash can come between any two operations.
 */

import type { TaskStore } from "#agent/task-store.ts";
import type { FileSystem } from "#platform/wal/file-system.ts";
import { CrashFs } from "#platform/wal/testing/crash-fs.ts";
import type { Task } from "#wire/gen/swarmkit/objects_pb.js";
import type { TaskStatus } from "#wire/gen/swarmkit/types_pb.js";
import type { SeededRandom } from "../random.ts";
import type { Process } from "./process.ts";

export interface DiskSpeed {
  readonly syncMs: readonly [number, number];
}

/** Files that hold less have hardly more than one record. */
const ROT_FROM_BYTES = 4_096;

export class MachineDisk {
  readonly #random: SeededRandom;
  readonly #raftFiles: CrashFs;
  #speed: DiskSpeed;
  readonly #tasks = new Map<string, Task>();
  readonly #statuses = new Map<string, TaskStatus>();
  #stalledMs = 0;

  constructor(random: SeededRandom, speed: DiskSpeed) {
    this.#random = random;
    this.#speed = speed;
    this.#raftFiles = new CrashFs(() => random.int(1_000_000) / 1_000_000);
  }

  /** The next sync takes that much longer. */
  stall(durationMs: number): void {
    this.#stalledMs = durationMs;
  }

  calm(speed: DiskSpeed): void {
    this.#speed = speed;
    this.#stalledMs = 0;
  }

  /** The process that wrote has ended. */
  crash(): void {
    this.#raftFiles.restart();
  }

  /**
   * One bit of the raft log or of a snapshot turns round. Not near the end of what is written, where
   * no log can tell it from a write that was torn.
   */
  rot(): string {
    const path = this.#random.pick(this.#raftFiles.paths());
    if (path === undefined) return "nothing";
    const used = this.#raftFiles.usedOf(path);
    if (used < ROT_FROM_BYTES) return "nothing";
    const at = this.#random.int(Math.floor(used / 2));
    this.#raftFiles.flipBit(path, at);
    return `byte ${at} of ${path}`;
  }

  /** The directory of the raft log is deleted. */
  forgetRaft(): void {
    this.#raftFiles.clear();
  }

  /** Another disk is in its place. */
  forgetAll(): void {
    this.forgetRaft();
    this.#tasks.clear();
    this.#statuses.clear();
  }

  raftFiles(process: Process): FileSystem {
    return this.#raftFiles.portFor((what) =>
      process.sleep(what === "sync" ? this.#syncMs() : this.#random.int(3)),
    );
  }

  openTasks(process: Process): TaskStore {
    const sync = () => process.sleep(this.#syncMs());
    return {
      load: async () =>
        [...this.#tasks.values()].map((task) => {
          const status = this.#statuses.get(task.id) ?? task.status;
          return { ...task, status };
        }),
      putTask: async (task) => {
        await sync();
        this.#tasks.set(task.id, task);
      },
      putStatus: async (taskId, status) => {
        await sync();
        if (this.#tasks.has(taskId)) this.#statuses.set(taskId, status);
      },
      delete: async (taskId) => {
        await sync();
        this.#tasks.delete(taskId);
        this.#statuses.delete(taskId);
      },
      reseal: async () => {},
      close: async () => {},
    };
  }

  #syncMs(): number {
    const stalledMs = this.#stalledMs;
    this.#stalledMs = 0;
    return stalledMs + this.#random.between(...this.#speed.syncMs);
  }
}
