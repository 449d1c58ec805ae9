/**
 * A host whose containers only pretend, with the real keeper of tables: tasks run until they are told
 * to stop, and stop only when their node may stop them. Its data path can be held up by a test.
 */

import { create } from "@bufbuild/protobuf";
import type { Controller, Executor } from "#agent/executor.ts";
import { must } from "#base/invariant.ts";
import type { Swarm } from "#daemon/swarm-node/swarm.ts";
import type { Loan } from "#engine/networks/lend.ts";
import type { AttachmentRecord, EndpointRecord } from "#engine/networks/records.ts";
import { SwarmAttachments } from "#engine/overlay/attachments.ts";
import { createAttachmentController } from "#engine/swarm-executor/attachment-controller.ts";
import { NodeTables } from "#engine/swarm-executor/node-tables.ts";
import type { Release, TaskNetworks } from "#engine/swarm-executor/ports.ts";
import { tablesFile } from "#engine/swarm-executor/tables-file.ts";
import { deferred } from "#platform/async.ts";
import { silentLog } from "#platform/log.ts";
import { realClock } from "#platform/real-ports.ts";
import type { NetworkTable } from "#wire/gen/skep/dataplane_pb.js";
import type { Task } from "#wire/gen/swarmkit/objects_pb.js";
import { ContainerStatusSchema, NodeDescriptionSchema } from "#wire/gen/swarmkit/types_pb.js";

/** Networks are there at once. */
const NO_NETWORKS: TaskNetworks = {
  ensure: async () => undefined,
  activate: async () => undefined,
  deactivate: async () => undefined,
  release: async () => undefined,
};

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
  /** Containers that were started by hand and are on a network, by the loan that they have. */
  readonly attached = new Map<string, AttachmentRecord>();
  #lender: SwarmAttachments | undefined;
  #held = deferred();
  #tables: NodeTables | undefined;

  constructor(name: string) {
    this.name = name;
    this.#held.resolve();
  }

  /** Lends networks of the swarm once the host is a node of one. */
  get lender(): SwarmAttachments {
    return must(this.#lender, "lender");
  }

  /** `swarm` gives this host's own node. */
  async open(directory: string, swarm: () => Swarm | undefined = () => undefined) {
    this.#lender = new SwarmAttachments({
      isActive: () => swarm()?.info().state === "active",
      resources: () => must(swarm(), "swarm").resources(),
      networks: { attachments: () => [...this.attached.values()] },
      disconnect: async () => undefined,
      clock: realClock,
      log: silentLog,
    });
    return this.#open(directory);
  }

  /** What a start does with its loan. */
  attach(containerId: string, { id: loan, networkId, addresses }: Loan): void {
    const endpoint: EndpointRecord = {
      networkId,
      networkName: "",
      endpointId: loan,
      interface: "eth0",
      hostInterface: "veth0",
      bridge: "",
      mac: "",
      ipv4: addresses[0] ?? "",
      names: [],
      priority: 0,
      settings: {},
      loan,
    };
    const record = { version: 1, containerId, containerName: "", hostname: "", ports: [] } as const;
    this.attached.set(loan, { ...record, endpoints: [endpoint] });
  }

  async #open(directory: string): Promise<Executor> {
    const tables = await NodeTables.open({
      file: tablesFile(`${directory}/${this.name}.tables`, silentLog),
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
    if (task.spec?.runtime.case === "attachment") {
      return createAttachmentController(NO_NETWORKS, this.lender, task, () => undefined);
    }
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
