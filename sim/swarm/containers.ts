/**
 * What runs on a machine: containers that outlive the process that started them and end with the
 * machine. The executor is what the real agent drives them through.
 */

import { create } from "@bufbuild/protobuf";
import type { Controller, Dependencies, Executor } from "#agent/executor.ts";
import { EngineError } from "#base/error.ts";
import { TaskExitError } from "#model/task-exit.ts";
import { type Deferred, deferred, sleep } from "#platform/async.ts";
import type { Task } from "#wire/gen/swarmkit/objects_pb.js";
import { NodeDescriptionSchema } from "#wire/gen/swarmkit/types_pb.js";
import type { SeededRandom } from "../random.ts";
import { type Payload, payloadsOf } from "./laws/payloads.ts";
import type { Process } from "./process.ts";
import { behaviourOf, imageOf } from "./specs.ts";

/** What is told of containers as they begin and end, and of what they miss. */
export interface MachineEvents {
  begins(task: Task): void;
  ends(task: Task): void;
  /** A task's secret or config, as its node was sent it; undefined where it was not. */
  reads(task: Task, payload: Payload, data: Uint8Array | undefined): void;
}

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
  readonly #events: MachineEvents;
  readonly #containers = new Map<string, Container>();
  /** What the agent that runs now was sent; undefined before its first task. */
  #dependencies: Dependencies | undefined;
  /** Probability that preparing or starting a container fails. */
  failure = 0;

  constructor(random: SeededRandom, events: MachineEvents) {
    this.#random = random;
    this.#events = events;
  }

  /** Whether the node was sent it and still has it; undefined where nobody can tell. */
  holds({ kind, id }: Payload): boolean | undefined {
    const held = this.#dependencies;
    if (held === undefined) return undefined;
    return (kind === "secret" ? held.secret(id, "") : held.config(id)) !== undefined;
  }

  running(): readonly RunningTask[] {
    return [...this.#containers.values()]
      .filter(({ isRunning }) => isRunning)
      .map(({ task: { id, serviceId, slot } }) => ({ taskId: id, serviceId, slot }));
  }

  /** All stop; what was made of them on disk stays. */
  powerCut(): void {
    for (const container of this.#containers.values()) this.#end(container, 137);
  }

  /** What was made of them is gone, too. */
  forget(): void {
    this.#containers.clear();
  }

  /** One of them ends by itself. */
  exitSome(): string | undefined {
    const victim = this.#random.pick([...this.#containers.values()].filter((c) => c.isRunning));
    if (victim !== undefined) this.#end(victim, 1);
    return victim?.task.id;
  }

  executor(process: Process): Executor {
    this.#dependencies = undefined;
    return {
      describe: async () =>
        create(NodeDescriptionSchema, {
          hostname: process.nodeId,
          platform: { os: "linux", architecture: "x86_64" },
          resources: { nanoCpus: 8_000_000_000n, memoryBytes: 32n << 30n },
        }),
      configure: async () => {},
      controller: (task, dependencies) => {
        this.#dependencies = dependencies;
        return this.#controller(process, task, dependencies);
      },
      retain: async (taskIds) => {
        await process.sleep(this.#random.between(1, 50));
        for (const [id, container] of this.#containers) {
          if (taskIds.has(id)) continue;
          this.#end(container, 137);
          this.#containers.delete(id);
        }
      },
    };
  }

  #controller(process: Process, task: Task, dependencies: Dependencies): Controller {
    const work = (low: number, high: number, signal: AbortSignal) =>
      sleep(process, this.#random.between(low, high), signal);
    const find = () => this.#containers.get(task.id);
    return {
      update: async () => {},
      prepare: async (signal) => {
        await work(1, 300, signal);
        if (find() !== undefined) return;
        if (this.#random.chance(this.failure)) throw new EngineError("not-found", "no such image");
        this.#readPayloads(task, dependencies);
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
          this.#end(container, 1);
          throw new TaskExitError(1, "failed at once");
        }
        container.isRunning = true;
        this.#events.begins(task);
        this.#behave(process, container);
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
        if (container !== undefined) this.#end(container, 143);
      },
      terminate: async () => {
        const container = find();
        if (container !== undefined) this.#end(container, 137);
      },
      remove: async (signal) => {
        await work(1, 100, signal);
        const container = find();
        if (container !== undefined) this.#end(container, 137);
        this.#containers.delete(task.id);
      },
      close: async () => {},
      containerStatus: async () => undefined,
      portStatus: async () => undefined,
      logs: async function* () {},
    };
  }

  /** What the program does of its own, as its image says. */
  #behave(process: Process, container: Container): void {
    const behaviour = behaviourOf(imageOf(container.task.spec));
    if (behaviour === "app") return;
    const isBad = behaviour === "bad" || this.#random.chance(this.failure);
    const lifeMs = this.#random.between(0, behaviour === "bad" ? 1_500 : 4_000);
    process.outlivedBy(lifeMs, () => this.#end(container, isBad ? 1 : 0));
  }

  #readPayloads(task: Task, dependencies: Dependencies): void {
    for (const payload of payloadsOf(task)) {
      const { kind, id } = payload;
      const found = kind === "secret" ? dependencies.secret(id, task.id) : dependencies.config(id);
      if (found === undefined && !dependencies.complete()) {
        throw new EngineError("unavailable", `${kind} ${id} has not come yet`, { retryable: true });
      }
      this.#events.reads(task, payload, found?.spec?.data);
      if (found === undefined) throw new EngineError("not-found", `${kind} ${id} is not here`);
    }
  }

  #end(container: Container, exitCode: number): void {
    container.exitCode ??= exitCode;
    if (!container.isRunning) return;
    container.isRunning = false;
    this.#events.ends(container.task);
    container.ended.resolve();
  }
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
