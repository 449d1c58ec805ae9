/**
 * The swarm's executor on this host: describes the host to the scheduler and gives every task its
 * controller. Containers of tasks that the manager no longer knows are leftovers of a crash or of a
 * time without managers, and are removed when a manager has said what this node is to run.
 */

import { create } from "@bufbuild/protobuf";
import type { Controller, Dependencies, Executor, TablesSource } from "#agent/executor.ts";
import { EngineError, isErrorCode, messageOf } from "#base/error.ts";
import type { Clock, Log } from "#base/ports.ts";
import { Semaphore } from "#platform/async.ts";
import type { TablesMessage } from "#wire/gen/skep/dataplane_pb.js";
import type { Task } from "#wire/gen/swarmkit/objects_pb.js";
import { type NodeDescription, NodeDescriptionSchema } from "#wire/gen/swarmkit/types_pb.js";
import type { ContainerService, EventBus, ImageService, VolumeService } from "../ports.ts";
import { createAttachmentController } from "./attachment-controller.ts";
import { TASK_ID_LABEL } from "./container-body.ts";
import {
  type ContainerTaskController,
  type ControllerPorts,
  createContainerController,
} from "./container-controller.ts";
import { createImagePulls } from "./image-pulls.ts";
import type { NodeTables } from "./node-tables.ts";
import type { TaskWithdrawer } from "./operator-stops.ts";
import type { HostFacts, TaskAttachments, TaskNetworks } from "./ports.ts";
import { openTaskFiles } from "./task-files.ts";
import { type IdentityOptions, TaskIdentities } from "./task-identity.ts";

export interface SwarmExecutorOptions {
  readonly containers: ContainerService;
  readonly images: ImageService;
  readonly volumes: VolumeService;
  readonly events: EventBus;
  readonly clock: Clock;
  readonly log: Log;
  /** Looked at every time the node describes itself. */
  readonly host: () => Promise<HostFacts>;
  /** Directory below the exec root for secrets and configs; a tmpfs is mounted there if need be. */
  readonly filesDir: string;
  /** The swarm's data path; without it tasks use the host's networks only. */
  readonly networks?: TaskNetworks;
  /** The kernel side of the data path; without it managers are not asked for network tables. */
  readonly tables?: NodeTables;
  /** Containers that are not the swarm's; without it their tasks are rejected. */
  readonly attachments?: TaskAttachments;
  /** Asks the swarm for identities of tasks; without it they get none. */
  readonly issueIdentity?: IdentityOptions["issue"];
  /** How many containers may be starting at once; default 8. */
  readonly startLimit?: number;
}

const START_LIMIT = 8;

export interface IdentityKeeper {
  /** The swarm trusts other roots: the tasks of this host are told, and get new identities. */
  rootsChanged(): void;
}

export async function createSwarmExecutor(
  options: SwarmExecutorOptions,
): Promise<Executor & TaskWithdrawer & IdentityKeeper> {
  const executor = new SwarmExecutor(options);
  await executor.open();
  return executor;
}

const NO_NETWORKS: TaskNetworks = {
  ensure: async () => undefined,
  activate: async () => undefined,
  deactivate: async () => undefined,
  release: async () => undefined,
};

const NO_DEPENDENCIES: Dependencies = {
  secret: () => undefined,
  config: () => undefined,
  complete: () => false,
};

class SwarmExecutor implements Executor, TaskWithdrawer, IdentityKeeper {
  readonly #options: SwarmExecutorOptions;
  readonly #networks: TaskNetworks;
  /** Whether the managers keep network tables, as far as is known. */
  #hasTables = true;
  /** Tasks that have a controller: whatever a manager says, they are not leftovers. */
  readonly #live = new Map<string, Controller | ContainerTaskController>();
  #ports: ControllerPorts | undefined;
  #identities: TaskIdentities | undefined;
  #dependencies: Dependencies = NO_DEPENDENCIES;
  #description: NodeDescription | undefined;

  readonly applyTables?: (message: TablesMessage) => Promise<void>;
  readonly tablesSource?: (source: TablesSource) => void;

  constructor(options: SwarmExecutorOptions) {
    this.#options = options;
    this.#networks = options.networks ?? NO_NETWORKS;
    const { tables } = options;
    if (tables === undefined) return;
    this.applyTables = (message) => tables.apply(message);
    this.tablesSource = (source) => {
      if (source !== "lost") this.#hasTables = source === "following";
      tables.source(source);
    };
  }

  async open(): Promise<void> {
    const { containers, images, volumes, events, clock, log, startLimit } = this.#options;
    const issue = this.#options.issueIdentity;
    this.#identities = issue && new TaskIdentities({ issue, clock, log });
    this.#ports = {
      containers,
      images,
      volumes,
      events,
      clock,
      log,
      networks: this.#networks,
      releases: this.#options.tables,
      pulls: createImagePulls(images, clock),
      files: await openTaskFiles(
        this.#options.filesDir,
        () => this.#dependencies,
        this.#identities,
      ),
      starts: new Semaphore(startLimit ?? START_LIMIT),
      node: () => this.#description,
    };
    // Templates of tasks that are taken up before the first session need the node's name.
    await this.describe();
  }

  async describe(): Promise<NodeDescription> {
    const facts = await this.#options.host();
    const {
      dataPathAddr = "",
      wireguardPublicKey,
      wireguardPort = 0,
      routes = [],
      addresses = [],
    } = facts.network ?? {};
    this.#description = create(NodeDescriptionSchema, {
      hostname: facts.hostname,
      platform: { architecture: facts.architecture, os: facts.os },
      resources: {
        nanoCpus: BigInt(facts.cpus) * 1_000_000_000n,
        memoryBytes: BigInt(facts.memoryBytes),
        generic: [...(facts.genericResources ?? [])],
      },
      engine: {
        engineVersion: facts.engineVersion,
        labels: { ...facts.engineLabels },
        plugins: this.#pluginsOf(facts).sort((a, b) =>
          `${a.type}/${a.name}` < `${b.type}/${b.name}` ? -1 : 1,
        ),
      },
      // Nodes that give an address are waited for to acknowledge tables: without a data path, none.
      dataPathAddr: this.#options.tables === undefined ? "" : dataPathAddr,
      wireguardPublicKey: wireguardPublicKey ?? new Uint8Array(),
      wireguardPort,
      routes: [...routes],
      addresses: [...addresses],
    });
    return this.#description;
  }

  /** Managers that keep no tables (Docker Engines) place nothing here that could not reach its network. */
  #pluginsOf({ plugins }: HostFacts): HostFacts["plugins"][number][] {
    if (this.#hasTables) return [...plugins];
    return plugins.filter(({ type, name }) => type !== "Network" || name !== "overlay");
  }

  async configure(node: Parameters<Executor["configure"]>[0]): Promise<void> {
    await this.#networks.configure?.(node);
  }

  async setNetworkBootstrapKeys(
    keys: Parameters<NonNullable<Executor["setNetworkBootstrapKeys"]>>[0],
  ): Promise<void> {
    await this.#networks.setKeys?.(keys);
  }

  controller(task: Task, dependencies: Dependencies): Controller {
    const ports = this.#ports;
    if (ports === undefined) throw new EngineError("internal", "the executor is not open");
    this.#dependencies = dependencies;
    const controller = this.#make(ports, task);
    this.#live.set(task.id, controller);
    return controller;
  }

  async withdraw(taskId: string, graceMs: number | undefined): Promise<void> {
    const controller = this.#live.get(taskId);
    if (controller === undefined || !("withdraw" in controller)) return;
    try {
      await controller.withdraw(graceMs, new AbortController().signal);
    } catch (error) {
      this.#options.log.warn("traffic could not be led away from a task before its end", {
        task: taskId,
        reason: messageOf(error),
      });
    }
  }

  rootsChanged(): void {
    this.#identities?.renewAll();
  }

  async retain(taskIds: ReadonlySet<string>): Promise<void> {
    const { containers, log } = this.#options;
    const keeps = (id: string) => taskIds.has(id) || this.#live.has(id);
    const filters = new Map([["label", [TASK_ID_LABEL]]]);
    for (const { Id, Labels } of await containers.list({ all: true, filters })) {
      const taskId = Labels[TASK_ID_LABEL] ?? "";
      if (keeps(taskId)) continue;
      log.info("removing the container of a task that is not this node's any more", {
        container: Id,
        task: taskId,
      });
      try {
        await containers.remove(Id, { force: true, volumes: true });
      } catch (error) {
        if (isErrorCode(error, "not-found")) continue;
        log.warn("removing a leftover container failed", {
          container: Id,
          reason: messageOf(error),
        });
      }
    }
    await this.#ports?.files.retain(keeps);
  }

  #make(ports: ControllerPorts, task: Task): Controller | ContainerTaskController {
    const onClosed = () => this.#live.delete(task.id);
    const runtime = task.spec?.runtime.case;
    const attachments = this.#options.attachments;
    if (runtime === "attachment" && attachments !== undefined) {
      return createAttachmentController(this.#networks, attachments, task, onClosed);
    }
    return createContainerController(ports, task, onClosed);
  }
}
