/** What the executor needs of the host beside its containers, images, networks and volumes. */

import type { NetworkTable, TablesMessage } from "#wire/gen/skep/dataplane_pb.js";
import type { Node, Task } from "#wire/gen/swarmkit/objects_pb.js";
import type {
  EncryptionKey,
  GenericResource,
  PluginDescription,
} from "#wire/gen/swarmkit/types_pb.js";

/** The facts of the host that a scheduler places by. */
export interface HostFacts {
  readonly hostname: string;
  /** As `uname -m` says: "x86_64", "aarch64". */
  readonly architecture: string;
  readonly os: string;
  readonly cpus: number;
  readonly memoryBytes: number;
  readonly engineVersion: string;
  readonly engineLabels: Readonly<Record<string, string>>;
  readonly plugins: readonly Pick<PluginDescription, "type" | "name">[];
  readonly genericResources?: readonly GenericResource[];
  readonly network?: NetworkFacts;
}

/** What other nodes, and the allocator of addresses, need to know of this host's network. */
export interface NetworkFacts {
  /** Where VXLAN packets go to and come from; empty while there is no data path. */
  readonly dataPathAddr: string;
  readonly wireguardPublicKey: Uint8Array;
  /** UDP port of it. */
  readonly wireguardPort: number;
  /** CIDRs that the host's own routes lead to. */
  readonly routes: readonly string[];
  /** Where packets of the host itself may come from. */
  readonly addresses: readonly string[];
}

/**
 * A task's part in the swarm's networks. The data path knows services and endpoints from the
 * managers; the executor tells it when this task's endpoint may be used.
 */
export interface TaskNetworks {
  /** Makes the networks that the task is attached to exist on this host. */
  ensure(task: Task, signal: AbortSignal): Promise<void>;
  /** The container runs and is healthy: traffic may come. Repeated after a restart. */
  activate(task: Task, containerId: string): Promise<void>;
  /** Resolves when traffic has been led elsewhere; only then is the container stopped. */
  deactivate(task: Task, signal: AbortSignal): Promise<void>;
  /** The task has gone from this host. */
  release(task: Task): Promise<void>;
  /** This node's own record: addresses of its load balancers, ingress. */
  configure?(node: Node): Promise<void>;
  setKeys?(keys: readonly EncryptionKey[]): Promise<void>;
}

/** The kernel side of the data path (`engine/overlay/`). */
export interface DataPath {
  /**
   * Resolves when the kernel is what the tables say. Called again before it has resolved, the newer
   * tables are the ones to bring about. `port`: UDP port of VXLAN.
   */
  setTables(tables: ReadonlyMap<string, NetworkTable>, port: number): Promise<void>;
}

/** The newest tables on disk. What goes wrong with it is said in the log, and lives without it. */
export interface TablesFile {
  /** Undefined when there are none, or none that can be read. */
  load(): Promise<TablesMessage | undefined>;
  /** In place of what is there, all or nothing. */
  store(message: TablesMessage): Promise<void>;
  remove(): Promise<void>;
}

/**
 * released: no node sends new traffic to the task any more. Otherwise nobody can say so: the
 * managers do not know how, none of them is in reach, or one waits too long for a node.
 */
export type Release = "released" | "unsupported" | "lost" | "late";

/** What managers say of the tasks that shall stop (docs/network.md, the drain barrier). */
export interface ReleasedTasks {
  /** Waits for a bounded time, `limitMs` at most; rejects with the signal's reason. */
  released(taskId: string, signal: AbortSignal, limitMs?: number): Promise<Release>;
}

/** Containers that are not the swarm's, on networks that are: `docker run --network overlay`. */
export interface TaskAttachments {
  /** The container of the task's attachment spec may use the networks of the task. */
  attach(task: Task, signal: AbortSignal): Promise<void>;
  /** Resolves when the container has left. */
  detached(task: Task, signal: AbortSignal): Promise<void>;
  /** Takes the container off the networks. */
  detach(task: Task): Promise<void>;
}
