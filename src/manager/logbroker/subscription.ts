/**
 * One client's wish for logs: which nodes may hold them, which of these have delivered, and what
 * could not be had. Without `follow` it is complete when every node has finished or is known not
 * to; with it, it goes on and takes in nodes of tasks that are placed later.
 */

import { create } from "@bufbuild/protobuf";
import { EngineError } from "#base/error.ts";
import { Channel } from "#platform/channel.ts";
import type { ReadView } from "#store/types.ts";
import {
  type LogMessage,
  type LogSelector,
  type LogSubscriptionOptions,
  type SubscriptionMessage,
  SubscriptionMessageSchema,
} from "#wire/gen/swarmkit/logbroker_pb.js";
import type { Task } from "#wire/gen/swarmkit/objects_pb.js";
import { TaskState } from "#wire/gen/swarmkit/types_pb.js";

/** Batches that a slow client may keep waiting; beyond it nodes are slowed down. */
const BATCHES_MAX = 64;

export class Subscription {
  readonly message: SubscriptionMessage;
  /** What nodes have published, for the client. */
  readonly batches = new Channel<readonly LogMessage[]>(BATCHES_MAX);
  readonly #selector: LogSelector;
  readonly #follow: boolean;
  /** Nodes that were asked and have not finished. */
  readonly #open = new Set<string>();
  /** Nodes that were ever asked: none is asked twice. */
  readonly #asked = new Set<string>();
  readonly #unscheduled = new Set<string>();
  readonly #problems: string[] = [];
  /** Set once all nodes were asked for the first time; before, nothing can be complete. */
  #begun = false;

  constructor(id: string, selector: LogSelector, options: LogSubscriptionOptions | undefined) {
    this.#selector = selector;
    this.#follow = options?.follow ?? false;
    this.message = create(SubscriptionMessageSchema, { id, selector, options });
  }

  get id(): string {
    return this.message.id;
  }

  get follow(): boolean {
    return this.#follow;
  }

  /** Nodes that have to be asked, by what the view knows; call once. */
  begin(view: ReadView): readonly string[] {
    const nodes: string[] = [];
    const ask = (nodeId: string) => {
      if (this.#ask(nodeId)) nodes.push(nodeId);
    };
    for (const nodeId of this.#selector.nodeIds) ask(nodeId);
    for (const task of this.#tasksOf(view)) {
      if (task.nodeId === "") this.#unscheduled.add(task.id);
      else ask(task.nodeId);
    }
    return nodes;
  }

  /** The caller has asked all nodes of `begin`. */
  begun(): void {
    this.#begun = true;
    this.#checkComplete();
  }

  /** A task was made or changed: the node to ask now, if there is a new one. */
  taskChanged(task: Task): string | undefined {
    if (!this.#follow) return undefined;
    const selected =
      this.#selector.taskIds.includes(task.id) ||
      this.#selector.serviceIds.includes(task.serviceId);
    if (!selected) return undefined;
    if (task.nodeId === "") {
      this.#unscheduled.add(task.id);
      return undefined;
    }
    this.#unscheduled.delete(task.id);
    return this.#ask(task.nodeId) ? task.nodeId : undefined;
  }

  /** True when that node should be publishing. */
  expects(nodeId: string): boolean {
    return this.#asked.has(nodeId);
  }

  /** The node has delivered all, or will not deliver more for the given reason. */
  nodeDone(nodeId: string, problem?: string): void {
    if (!this.#open.delete(nodeId)) return;
    if (problem !== undefined) this.#problems.push(problem);
    // A node that was lost may come back, and is then asked again.
    if (problem !== undefined && this.#follow) this.#asked.delete(nodeId);
    this.#checkComplete();
  }

  /** A node connected: true when it has to be asked (again). */
  nodeConnected(nodeId: string, view: ReadView): boolean {
    if (!this.#follow || this.#asked.has(nodeId)) return false;
    const wanted =
      this.#selector.nodeIds.includes(nodeId) ||
      this.#tasksOf(view).some((task) => task.nodeId === nodeId);
    return wanted && this.#ask(nodeId);
  }

  #ask(nodeId: string): boolean {
    if (this.#asked.has(nodeId)) return false;
    this.#asked.add(nodeId);
    this.#open.add(nodeId);
    return true;
  }

  #tasksOf(view: ReadView): readonly Task[] {
    const tasks: Task[] = [];
    for (const id of this.#selector.taskIds) {
      const task = view.get("task", id);
      if (task !== undefined) tasks.push(task);
    }
    for (const serviceId of this.#selector.serviceIds) {
      for (const task of view.find("task", "service", serviceId)) {
        // What does not run yet has nothing to say, and would only delay the end.
        if (!this.#follow && (task.status?.state ?? TaskState.NEW) < TaskState.RUNNING) continue;
        tasks.push(task);
      }
    }
    return tasks;
  }

  #checkComplete(): void {
    if (this.#follow || !this.#begun || this.#open.size > 0) return;
    const problems = [
      ...this.#problems,
      ...[...this.#unscheduled].map((id) => `task ${id} has not been scheduled`),
    ];
    this.batches.end(
      problems.length === 0
        ? undefined
        : new EngineError(
            "unknown",
            "warning: incomplete log stream. some logs could not be retrieved for the following " +
              `reasons: ${problems.join(", ")}`,
          ),
    );
  }
}
