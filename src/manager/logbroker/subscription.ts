/**
 * One client's wish for logs: which nodes may hold them, which of these have delivered, and what
 * could not be had. Without `follow` it is complete when every node has finished or is known not
 * to; with it, it goes on and takes in nodes of tasks that are placed later. A node that is lost
 * while it is followed and comes back is asked to go on where it was.
 */

import { create } from "@bufbuild/protobuf";
import { TimestampSchema } from "@bufbuild/protobuf/wkt";
import { EngineError } from "#base/error.ts";
import { holdsNode } from "#model/task.ts";
import { msOfTimestamp } from "#model/time.ts";
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
  /** Lines passed on: by node the time of each task's newest, nanoseconds. */
  readonly #passedOn = new Map<string, Map<string, bigint>>();
  /** What nodes that were lost had sent of their tasks: up to then nothing is passed on again. */
  readonly #floors = new Map<string, bigint>();
  /** Nodes that know of it, or did before they were lost. */
  readonly #told = new Set<string>();
  /** Nodes that were lost, and since when, ms. */
  readonly #lost = new Map<string, number>();
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

  /**
   * The node has delivered all, or will not deliver more for the given reason. True if it is lost from
   * now on, while it is followed: it may come back, and is then asked again.
   */
  nodeDone(nodeId: string, nowMs: number, problem?: string): boolean {
    if (!this.#open.delete(nodeId)) return false;
    if (problem === undefined || !this.#follow) {
      if (problem !== undefined) this.#problems.push(problem);
      this.#checkComplete();
      return false;
    }
    this.#asked.delete(nodeId);
    for (const [taskId, ns] of this.#passedOn.get(nodeId) ?? []) this.#floors.set(taskId, ns);
    // It may be lost and be asked for many of its tasks.
    if (this.#lost.has(nodeId)) return false;
    this.#lost.set(nodeId, nowMs);
    return true;
  }

  /** Since when the node is lost, ms; undefined while it is there. */
  lostSince(nodeId: string): number | undefined {
    return this.#lost.get(nodeId);
  }

  /** What to ask the node for: all that was asked for, or what came after it was lost. */
  messageFor(nodeId: string): SubscriptionMessage {
    const lostMs = this.#lost.get(nodeId);
    const isFirst = !this.#told.has(nodeId);
    const { options } = this.message;
    this.#lost.delete(nodeId);
    this.#told.add(nodeId);
    if (isFirst || lostMs === undefined || options === undefined) return this.message;
    const passedOn = [...(this.#passedOn.get(nodeId)?.values() ?? [])];
    // Of a node that had not sent anything all is news, unless only the end was asked for.
    if (passedOn.length === 0 && options.tail === 0n) return this.message;
    const first = passedOn.reduce((a, b) => (a < b ? a : b), BigInt(lostMs) * 1_000_000n);
    const since = create(TimestampSchema, {
      seconds: first / 1_000_000_000n,
      nanos: Number(first % 1_000_000_000n),
    });
    return { ...this.message, options: { ...options, tail: 0n, since } };
  }

  /** The task is no more. */
  taskDeleted({ id, nodeId }: Task): void {
    this.#unscheduled.delete(id);
    this.#floors.delete(id);
    this.#passedOn.get(nodeId)?.delete(id);
  }

  /** The lines that are to be passed on: without those that a node sends a second time. */
  admit(nodeId: string, messages: readonly LogMessage[]): readonly LogMessage[] {
    if (!this.#follow) return messages;
    const passedOn = this.#passedOn.get(nodeId) ?? new Map<string, bigint>();
    this.#passedOn.set(nodeId, passedOn);
    return messages.filter(({ context, timestamp }) => {
      const taskId = context?.taskId ?? "";
      const ns = (timestamp?.seconds ?? 0n) * 1_000_000_000n + BigInt(timestamp?.nanos ?? 0);
      if (ns <= (this.#floors.get(taskId) ?? -1n)) return false;
      passedOn.set(taskId, ns);
      return true;
    });
  }

  /** In whose name to say that a node is lost: of its tasks, as far as they are known, one that ran. */
  taskOn(nodeId: string, view: ReadView): Task | undefined {
    const rank = (task: Task) => (holdsNode(task) ? 1 : 0);
    const createdMs = (task: Task) => msOfTimestamp(task.meta?.createdAt) ?? 0;
    return this.#tasksOf(view)
      .filter((task) => task.nodeId === nodeId)
      .sort((a, b) => rank(b) - rank(a) || createdMs(b) - createdMs(a))[0];
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
