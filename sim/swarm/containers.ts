/**
 * What runs on a machine: containers that outlive the process that started them and end with the
 * machine. The executor is what the real agent drives them through.
 */

import { create } from "@bufbuild/protobuf";
import type { Controller, Executor } from "#agent/executor.ts";
import { EngineError } from "#base/error.ts";
import { TaskExitError } from "#model/task-exit.ts";
import { type Deferred, deferred, sleep } from "#platform/async.ts";
import type { Task } from "#wire/gen/swarmkit/objects_pb.js";
import { NodeDescriptionSchema } from "#wire/gen/swarmkit/types_pb.js";
import type { SeededRandom } from "../random.ts";
import type { Process } from "./process.ts";

interface Container {
  readonly task: Task;
  isRunning: boolean;
  exitCode: number | undefined;
  /** Resolved at its end, whoever waits. */
  ended: Deferred<void>;
}

export interface RunningTask {
  readonly taskId: string;
  readonly serviceId: string;
  readonly slot: bigint;
}

export class Machine {
  readonly #random: SeededRandom;
  readonly #containers = new Map<string, Container>();
  /** Probability that preparing or starting a container fails. */
  failure = 0;

  constructor(random: SeededRandom) {
    this.#random = random;
  }

  running(): readonly RunningTask[] {
    return [...this.#containers.values()]
      .filter(({ isRunning }) => isRunning)
      .map(({ task: { id, serviceId, slot } }) => ({ taskId: id, serviceId, slot }));
  }

  /** All stop; what was made of them on disk stays. */
  powerCut(): void {
    for (const container of this.#containers.values()) end(container, 137);
  }

  /** One of them ends by itself. */
  exitSome(): string | undefined {
    const victim = this.#random.pick([...this.#containers.values()].filter((c) => c.isRunning));
    if (victim !== undefined) end(victim, 1);
    return victim?.task.id;
  }

  executor(process: Process): Executor {
    return {
      describe: async () =>
        create(NodeDescriptionSchema, {
          hostname: process.nodeId,
          platform: { os: "linux", architecture: "x86_64" },
          resources: { nanoCpus: 8_000_000_000n, memoryBytes: 32n << 30n },
        }),
      configure: async () => {},
      controller: (task) => this.#controller(process, task),
      retain: async (taskIds) => {
        await process.sleep(this.#random.between(1, 50));
        for (const [id, container] of this.#containers) {
          if (taskIds.has(id)) continue;
          end(container, 137);
          this.#containers.delete(id);
        }
      },
    };
  }

  #controller(process: Process, task: Task): Controller {
    const work = (low: number, high: number, signal: AbortSignal) =>
      sleep(process, this.#random.between(low, high), signal);
    const find = () => this.#containers.get(task.id);
    return {
      update: async () => {},
      prepare: async (signal) => {
        await work(1, 300, signal);
        if (find() !== undefined) return;
        if (this.#random.chance(this.failure)) throw new EngineError("not-found", "no such image");
        const container = { task, isRunning: false, exitCode: undefined, ended: deferred() };
        this.#containers.set(task.id, container);
      },
      start: async (signal) => {
        await work(1, 200, signal);
        const container = find();
        if (container === undefined) throw new EngineError("not-found", "no such container");
        if (container.isRunning) return;
        if (container.exitCode !== undefined) throw new TaskExitError(container.exitCode, "exited");
        if (this.#random.chance(this.failure)) {
          end(container, 1);
          throw new TaskExitError(1, "failed at once");
        }
        container.isRunning = true;
      },
      wait: async (signal) => {
        const container = find();
        if (container === undefined) throw new EngineError("not-found", "no such container");
        if (container.isRunning) await unlessAborted(container.ended.promise, signal);
        if (!process.isAlive) return await new Promise(() => {});
        if (container.exitCode !== 0) throw new TaskExitError(container.exitCode ?? 137, "exited");
      },
      shutdown: async (signal) => {
        await work(1, 500, signal);
        const container = find();
        if (container !== undefined) end(container, 143);
      },
      terminate: async () => {
        const container = find();
        if (container !== undefined) end(container, 137);
      },
      remove: async (signal) => {
        await work(1, 100, signal);
        const container = find();
        if (container !== undefined) end(container, 137);
        this.#containers.delete(task.id);
      },
      close: async () => {},
      containerStatus: async () => undefined,
      portStatus: async () => undefined,
      logs: async function* () {},
    };
  }
}

function end(container: Container, exitCode: number): void {
  container.exitCode ??= exitCode;
  if (!container.isRunning) return;
  container.isRunning = false;
  container.ended.resolve();
}

async function unlessAborted(promise: Promise<void>, signal: AbortSignal): Promise<void> {
  const ended = deferred();
  const stop = () => ended.reject(signal.reason);
  if (signal.aborted) stop();
  signal.addEventListener("abort", stop, { once: true });
  try {
    await Promise.race([promise, ended.promise]);
  } finally {
    signal.removeEventListener("abort", stop);
  }
}
