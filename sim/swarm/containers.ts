/**
 * What runs on a machine: containers that outlive the process that started them and end with the
 * machine. The executor is what the real agent drives them through.
 */

import { create } from "@bufbuild/protobuf";
import type { Controller, Dependencies, Executor } from "#agent/executor.ts";
import { EngineError } from "#base/error.ts";
import type { Log } from "#base/ports.ts";
import { canBeReached, type DrainPorts, drain } from "#engine/swarm-executor/drain.ts";
import type { Release, ReleasedTasks } from "#engine/swarm-executor/ports.ts";
import { stateOf } from "#model/task.ts";
import { TaskExitError } from "#model/task-exit.ts";
import { type Deferred, deferred, sleep } from "#platform/async.ts";
import type { Task } from "#wire/gen/swarmkit/objects_pb.js";
import { NodeDescriptionSchema, TaskState } from "#wire/gen/swarmkit/types_pb.js";
import type { SeededRandom } from "../random.ts";
import type { Timeline } from "../timeline.ts";
import type { TablesPort } from "./data-path.ts";
import { type Payload, payloadsOf } from "./laws/payloads.ts";
import type { Process } from "./process.ts";
import { behaviourOf, imageOf } from "./specs.ts";

/** How a container came to its end: of itself (also with its machine), or as somebody had said. */
export type End =
  | { readonly ordered: false }
  /** `release`: what the wait for the other nodes came to; undefined where nobody had to be waited for. */
  | { readonly ordered: true; readonly release: Release | undefined };

/** What is told of containers as they begin and end, and of what they miss. */
export interface MachineEvents {
  begins(task: Task): void;
  ends(task: Task): void;
  /** A task's secret or config, as its node was sent it; undefined where it was not. */
  reads(task: Task, payload: Payload, data: Uint8Array | undefined): void;
}

/** What a controller needs of its process. */
interface Surroundings {
  readonly process: Process;
  readonly tables: TablesPort;
  readonly log: Log;
}

interface Container {
  readonly task: Task;
  isRunning: boolean;
  /** Requests that it is about. */
  connections: number;
  /** Once it was told to stop: nothing that comes is answered any more. */
  stop: End | undefined;
  exitCode: number | undefined;
  /** Resolved at its end, whoever waits. */
  ended: Deferred<void>;
}

const OF_ITSELF: End = { ordered: false };
/** Docker's, which connections have to finish. */
const GRACE_MS = 10_000;

export interface RunningTask {
  readonly taskId: string;
  readonly serviceId: string;
  readonly slot: bigint;
}

export class Machine {
  readonly #random: SeededRandom;
  readonly #events: MachineEvents;
  readonly #containers = new Map<string, Container>();
  /** Of containers that are not there any more. */
  readonly #ends = new Map<string, End>();
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

  /**
   * A request comes in, and takes its time. Undefined if it is answered, else what became of the
   * container; "never" if it never ran.
   */
  receives(taskId: string, durationMs: number, timeline: Timeline): End | "never" | undefined {
    const container = this.#containers.get(taskId);
    if (container === undefined) return this.#ends.get(taskId) ?? "never";
    if (container.stop !== undefined) return container.stop;
    if (!container.isRunning) return container.exitCode === undefined ? "never" : OF_ITSELF;
    container.connections++;
    timeline.after(durationMs, () => {
      container.connections--;
    });
    return undefined;
  }

  /** Whether something runs here that is on the network. */
  isOn(networkId: string): boolean {
    return [...this.#containers.values()].some(
      ({ task, isRunning, stop }) =>
        isRunning &&
        stop === undefined &&
        task.networks.some(({ network }) => network?.id === networkId),
    );
  }

  /** All stop; what was made of them on disk stays. */
  powerCut(): void {
    for (const container of this.#containers.values()) this.#end(container, 137);
  }

  /** What was made of them is gone, too. */
  forget(): void {
    for (const id of this.#containers.keys()) this.#ends.set(id, OF_ITSELF);
    this.#containers.clear();
  }

  /** One of them ends by itself. */
  exitSome(): string | undefined {
    const victim = this.#random.pick([...this.#containers.values()].filter((c) => c.isRunning));
    if (victim !== undefined) this.#end(victim, 1);
    return victim?.task.id;
  }

  executor(process: Process, tables: TablesPort, log: Log): Executor {
    this.#dependencies = undefined;
    return {
      describe: async () =>
        create(NodeDescriptionSchema, {
          hostname: process.nodeId,
          dataPathAddr: `192.168.0.${process.nodeId.replace(/\D/g, "")}`,
          platform: { os: "linux", architecture: "x86_64" },
          resources: { nanoCpus: 8_000_000_000n, memoryBytes: 32n << 30n },
        }),
      configure: async () => {},
      applyTables: (message) => tables.apply(message),
      tablesSource: (source) => tables.source(source),
      controller: (task, dependencies) => {
        this.#dependencies = dependencies;
        return this.#controller({ process, tables, log }, task, dependencies);
      },
      retain: async (taskIds) => {
        await process.sleep(this.#random.between(1, 50));
        for (const [id, container] of this.#containers) {
          if (taskIds.has(id)) continue;
          this.#orderEnd(container, 137);
          this.#delete(id);
        }
      },
    };
  }

  #controller(
    { process, tables, log }: Surroundings,
    assigned: Task,
    dependencies: Dependencies,
  ): Controller {
    let task = assigned;
    let isActivated = false;
    const work = (low: number, high: number, signal: AbortSignal) =>
      sleep(process, this.#random.between(low, high), signal);
    const find = () => this.#containers.get(task.id);
    return {
      update: async (newer) => {
        task = newer;
      },
      prepare: async (signal) => {
        await work(1, 300, signal);
        if (find() !== undefined) return;
        if (this.#random.chance(this.failure)) throw new EngineError("not-found", "no such image");
        this.#readPayloads(task, dependencies);
        this.#containers.set(task.id, {
          task,
          isRunning: false,
          connections: 0,
          stop: undefined,
          exitCode: undefined,
          ended: deferred(),
        });
      },
      start: async (signal) => {
        await work(1, 200, signal);
        const container = find();
        if (container === undefined) throw new EngineError("not-found", "no such container");
        isActivated = true;
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
        const container = find();
        if (container?.isRunning === true) {
          const isReady = isActivated || stateOf(task) === TaskState.RUNNING;
          const ports = { releases: tables.tables, clock: process, log };
          const release = isReady ? await this.#drain(ports, container, signal) : undefined;
          // Unless it has ended of itself meanwhile.
          if (container.isRunning) container.stop ??= { ordered: true, release };
        }
        await work(1, 500, signal);
        if (container !== undefined) this.#end(container, 143);
      },
      terminate: async () => {
        const container = find();
        if (container !== undefined) this.#orderEnd(container, 137);
      },
      remove: async (signal) => {
        await work(1, 100, signal);
        const container = find();
        if (container !== undefined) this.#orderEnd(container, 137);
        this.#delete(task.id);
      },
      close: async () => {},
      containerStatus: async () => undefined,
      portStatus: async () => undefined,
      logs: async function* () {},
    };
  }

  /** As the real controller does: undefined where there is nothing to wait for. */
  async #drain(
    { releases, clock, log }: DrainPorts,
    container: Container,
    signal: AbortSignal,
  ): Promise<Release | undefined> {
    const { task } = container;
    if (!canBeReached(task)) return undefined;
    let release: Release | undefined;
    const heard: ReleasedTasks = {
      released: async (...asked) => {
        release = await releases.released(...asked);
        return release;
      },
    };
    const over = new AbortController();
    void container.ended.promise.then(() => over.abort());
    const connections = async () => container.connections;
    const either = AbortSignal.any([signal, over.signal]);
    try {
      await drain(
        { releases: heard, clock, log },
        { task, connections, graceMs: GRACE_MS },
        either,
      );
    } catch (error) {
      if (signal.aborted || !over.signal.aborted) throw error;
    }
    return release;
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

  /** At once, and without asking anybody. */
  #orderEnd(container: Container, exitCode: number): void {
    if (container.isRunning) container.stop ??= { ordered: true, release: undefined };
    this.#end(container, exitCode);
  }

  #delete(taskId: string): void {
    const container = this.#containers.get(taskId);
    if (container !== undefined) this.#ends.set(taskId, container.stop ?? OF_ITSELF);
    this.#containers.delete(taskId);
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
