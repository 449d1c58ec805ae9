/**
 * A host whose containers only pretend, with the real keeper of tables: tasks run until they are told
 * to stop, and stop only when their node may stop them. Its data path can be held up by a test.
 */

import { create } from "@bufbuild/protobuf";
import type { Controller, Executor } from "#agent/executor.ts";
import { NodeTables } from "#engine/swarm-executor/node-tables.ts";
import type { Release } from "#engine/swarm-executor/ports.ts";
import { deferred } from "#platform/async.ts";
import { silentLog } from "#platform/log.ts";
import { realClock } from "#platform/real-ports.ts";
import type { NetworkTable } from "#wire/gen/skep/dataplane_pb.js";
import type { Task } from "#wire/gen/swarmkit/objects_pb.js";
import { ContainerStatusSchema, NodeDescriptionSchema } from "#wire/gen/swarmkit/types_pb.js";

const LOOK_MS = 20;
const UNTIL_MS = 30_000;

export class TaskHost {
  readonly name: string;
  /** As the kernel of this host is. */
  kernel: ReadonlyMap<string, NetworkTable> = new Map();
  dataPathPort = 0;
  readonly running = new Set<string>();
  /** How each task that was stopped had been let go. */
  readonly stopped = new Map<string, Release>();
  #held = deferred();
  #tables: NodeTables | undefined;

  constructor(name: string) {
    this.name = name;
    this.#held.resolve();
  }

  async open(directory: string): Promise<Executor> {
    const tables = await NodeTables.open({
      path: `${directory}/${this.name}.tables`,
      dataPath: {
        setTables: async (networks, port) => {
          await this.#held.promise;
          this.kernel = networks;
          this.dataPathPort = port;
        },
      },
      clock: realClock,
      log: silentLog,
    });
    this.#tables = tables;
    return {
      describe: async () =>
        create(NodeDescriptionSchema, {
          hostname: this.name,
          platform: { os: "linux", architecture: "x86_64" },
          resources: { nanoCpus: 8_000_000_000n, memoryBytes: 8n << 30n },
          engine: { plugins: [{ type: "Network", name: "overlay" }] },
          dataPathAddr: "127.0.0.1",
        }),
      configure: async () => undefined,
      applyTables: (message) => tables.apply(message),
      tablesSource: (source) => tables.source(source),
      controller: (task) => this.#controller(task, tables),
    };
  }

  async close(): Promise<void> {
    this.release();
    await this.#tables?.close();
  }

  /** Its kernel does not change any more, until it is released. */
  hold(): void {
    this.#held = deferred();
  }

  release(): void {
    this.#held.resolve();
  }

  /** Endpoints of that network that this host sends traffic to. */
  ready(networkName: string): readonly string[] {
    const table = [...this.kernel.values()].find(({ name }) => name === networkName);
    return (table?.endpoints ?? []).filter(({ ready }) => ready).map(({ taskId }) => taskId);
  }

  #controller(task: Task, tables: NodeTables): Controller {
    const over = deferred();
    return {
      update: async () => undefined,
      prepare: async () => undefined,
      start: async () => {
        this.running.add(task.id);
      },
      wait: async (signal) => {
        this.running.add(task.id);
        const stop = () => over.resolve();
        signal.addEventListener("abort", stop, { once: true });
        await over.promise;
        signal.throwIfAborted();
      },
      shutdown: async (signal) => {
        this.stopped.set(task.id, await tables.released(task.id, signal));
        this.running.delete(task.id);
      },
      terminate: async () => undefined,
      remove: async () => {
        this.running.delete(task.id);
      },
      close: async () => undefined,
      containerStatus: async () => create(ContainerStatusSchema, { containerId: `c-${task.id}` }),
      portStatus: async () => undefined,
      async *logs() {
        // Nothing to say.
      },
    };
  }
}

/** Looks again until it is so: what is waited for happens in many places of one process. */
export async function until(what: string, condition: () => boolean): Promise<void> {
  const deadline = Date.now() + UNTIL_MS;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`not so after ${UNTIL_MS} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}
