/**
 * What the agent asks of whatever runs tasks. An `Executor` knows the host; it hands out one
 * `Controller` per task, which owns everything that task has on the host (container, networks,
 * files). The agent decides *when* an operation runs and what its outcome means for the task's
 * state; a controller never looks at states.
 *
 * Every operation is idempotent: after a crash the agent asks again for what may already be done,
 * and a controller that finds it done answers success. Errors are facts about the task and end it
 * (REJECTED before STARTING, FAILED after), except `EngineError`s marked `retryable`, which the
 * agent tries again, and cancellation through the signal, which never changes a state.
 */

import type { TablesMessage } from "#wire/gen/skep/dataplane_pb.js";
import type { LogMessage, LogSubscriptionOptions } from "#wire/gen/swarmkit/logbroker_pb.js";
import type { Config, Node, Secret, Task } from "#wire/gen/swarmkit/objects_pb.js";
import type {
  ContainerStatus,
  EncryptionKey,
  NodeDescription,
  PortStatus,
  TaskStatus,
} from "#wire/gen/swarmkit/types_pb.js";

/** Secrets and configs that a manager has handed to this node; in memory only, never on disk. */
export interface Dependencies {
  /** The secret of that id for that task (a task's own copy wins over the shared one). */
  secret(secretId: string, taskId: string): Secret | undefined;
  config(configId: string): Config | undefined;
  /**
   * True once a manager has sent a complete assignment since this process started. Before that, a
   * missing secret says nothing: it may still be on its way.
   */
  complete(): boolean;
}

/**
 * following: a manager keeps the tables of this node current. lost: none does at this moment.
 * unsupported: the managers do not know the protocol, and no tables will ever come of them.
 */
export type TablesSource = "following" | "lost" | "unsupported";

export interface Executor {
  /** The host as the scheduler sees it. TLS facts are added by the agent. */
  describe(): Promise<NodeDescription>;
  /** The manager's record of this node changed (labels, availability, network attachments). */
  configure(node: Node): Promise<void>;
  setNetworkBootstrapKeys?(keys: readonly EncryptionKey[]): Promise<void>;
  /**
   * Endpoint tables of the networks that this node serves (docs/network.md), in the order in which
   * the manager sent them. Resolves when the kernel is what they say.
   */
  applyTables?(message: TablesMessage): Promise<void>;
  /** Whether tables come, told when that changes; "lost" until the first have been applied. */
  tablesSource?(source: TablesSource): void;
  /** Throws when the task cannot be run by this executor at all; the task is then rejected. */
  controller(task: Task, dependencies: Dependencies): Controller;
  /**
   * Called with the ids of every task of this node once a manager has sent a complete assignment:
   * whatever the executor holds for any other task is a leftover and may be removed.
   */
  retain?(taskIds: ReadonlySet<string>): Promise<void>;
}

export interface Controller {
  /** The assignment changed; never concurrent with another operation of this controller. */
  update(task: Task): Promise<void>;
  /** `listener` hears when the task, which runs, shall get no new traffic any more. */
  onWithdrawn?(listener: () => void): void;
  /** Everything up to a created, not started container. */
  prepare(signal: AbortSignal): Promise<void>;
  /** Starts, and waits until healthy where there is a health check. */
  start(signal: AbortSignal): Promise<void>;
  /** Resolves when the task has exited with 0; rejects with a `TaskExitError` (model/) otherwise. */
  wait(signal: AbortSignal): Promise<void>;
  /** Stops gracefully; success when there is nothing to stop. */
  shutdown(signal: AbortSignal): Promise<void>;
  /** Stops at once. */
  terminate(signal: AbortSignal): Promise<void>;
  /** Removes everything that the task has on this host, running or not. */
  remove(signal: AbortSignal): Promise<void>;
  /** Lets go of handles of this process; the container stays as it is. */
  close(): Promise<void>;
  containerStatus(): Promise<ContainerStatus | undefined>;
  /** What host-mode ports were bound to. */
  portStatus(): Promise<PortStatus | undefined>;
  logs(options: LogSubscriptionOptions, signal: AbortSignal): AsyncIterable<LogMessage>;
}

/** Where statuses go once they are safe on disk. */
export type StatusListener = (taskId: string, status: TaskStatus) => void;
