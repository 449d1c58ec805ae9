/**
 * Why a task is where it is: what it waits for, and for one without a node what each node lacks.
 * Made from a view when somebody asks, not kept.
 */

import { isTaskHeldBack, waitText } from "#model/start-order.ts";
import {
  endedByItself,
  holdsNode,
  isTerminal,
  isWanted,
  slotKeyOf,
  stateOf,
  taskName,
} from "#model/task.ts";
import type { ReadView } from "#store/types.ts";
import type { Node, Task } from "#wire/gen/swarmkit/objects_pb.js";
import { TaskState } from "#wire/gen/swarmkit/types_pb.js";
import { historyOf, type Slot, startMs } from "./orchestrator/slot.ts";
import { demandOf, Refusals, refusalOf, refusalsOf } from "./scheduler/filters.ts";
import { NodeInfo } from "./scheduler/node-info.ts";

export interface NodeVerdict {
  readonly nodeId: string;
  readonly hostname: string;
  /** All filters that refuse the node, in their order; none if it would take the task. */
  readonly refusedBy: readonly string[];
  /** What it lacks, for people: one for each of those filters. */
  readonly lacks: readonly string[];
}

export interface TaskExplanation {
  readonly taskId: string;
  readonly name: string;
  readonly state: string;
  readonly desiredState: string;
  /** One sentence: what it waits for, or that it waits for nothing. */
  readonly summary: string;
  readonly error: string;
  /** Filters that refuse nodes, the one that refuses most first. */
  readonly refusals: readonly {
    readonly filter: string;
    readonly nodes: number;
    readonly text: string;
  }[];
  readonly nodes: readonly NodeVerdict[];
  /** The node that comes nearest, and what it lacks; empty where it waits for no node. */
  readonly nearest: string;
}

export function explainTask(
  view: ReadView,
  taskId: string,
  nowMs: number,
): TaskExplanation | undefined {
  const task = view.get("task", taskId);
  if (task === undefined) return undefined;
  const waitsForNode = stateOf(task) === TaskState.PENDING && isWanted(task);
  const { refusals, nodes } = waitsForNode
    ? verdicts(view, task)
    : { refusals: new Refusals(), nodes: [] };
  return {
    taskId,
    name: taskName(task),
    state: TaskState[stateOf(task)].toLowerCase(),
    desiredState: TaskState[task.desiredState].toLowerCase(),
    summary: summaryOf(view, task, refusals, nodes, nowMs),
    error: errorOf(view, task),
    refusals: refusals.reasons(),
    nodes,
    nearest: nearestOf(nodes),
  };
}

function verdicts(view: ReadView, task: Task) {
  const demand = demandOf(task);
  const refusals = new Refusals();
  const nodes: NodeVerdict[] = [];
  for (const node of view.all("node")) {
    if (task.nodeId !== "" && task.nodeId !== node.id) continue;
    const info = nodeInfo(view, node);
    const refusal = refusalOf(info, demand);
    if (refusal >= 0) refusals.add(info, refusal);
    const filters = refusalsOf(info, demand);
    nodes.push({
      nodeId: node.id,
      hostname: node.description?.hostname ?? "",
      refusedBy: filters.map(({ name }) => name),
      lacks: filters.map(({ lacks }) => lacks(info, demand)),
    });
  }
  return { refusals, nodes };
}

/** The node with what its tasks hold of it. */
export function nodeInfo(view: ReadView, node: Node): NodeInfo {
  const info = new NodeInfo(node);
  for (const task of view.find("task", "node", node.id)) {
    if (holdsNode(task)) info.count(task, 1);
  }
  return info;
}

/** What the service forbids, or the node never has, is farther than anything that may come free. */
function distanceOf({ refusedBy }: NodeVerdict): number {
  const far = refusedBy.filter((name) => ["constraints", "platform", "plugins"].includes(name));
  return refusedBy.length + 10 * far.length;
}

function nearestOf(nodes: readonly NodeVerdict[]): string {
  const [best] = nodes
    .filter(({ lacks }) => lacks.length > 0)
    .sort((a, b) => distanceOf(a) - distanceOf(b) || (a.hostname < b.hostname ? -1 : 1));
  if (best === undefined || nodes.some(({ lacks }) => lacks.length === 0)) return "";
  return `${best.hostname}: ${best.lacks.join("; ")}`;
}

function summaryOf(
  view: ReadView,
  task: Task,
  refusals: Refusals,
  nodes: readonly NodeVerdict[],
  nowMs: number,
): string {
  if (isTerminal(task)) return "it has ended";
  if (!isWanted(task)) return "it is being stopped";
  const state = stateOf(task);
  if (state === TaskState.NEW) {
    const reason = task.status?.err ?? "";
    return `it waits for the allocator${reason === "" ? "" : `: ${reason}`}`;
  }
  const service = view.get("service", task.serviceId);
  if (service !== undefined && state === TaskState.PENDING && isTaskHeldBack(service, task)) {
    return `it ${waitText(service)}`;
  }
  if (state === TaskState.PENDING) {
    return nodes.some(({ refusedBy }) => refusedBy.length === 0)
      ? "it is about to be given a node"
      : refusals.text();
  }
  if (task.desiredState === TaskState.READY && state >= TaskState.READY) {
    return waitSummary(view, task, nowMs);
  }
  if (state >= task.desiredState) return "it is as it shall be";
  if (state === TaskState.ASSIGNED) return "it waits for its node to take it";
  if (state < TaskState.STARTING) return "its node prepares it: image, networks, volumes";
  return "it was started, and has yet to be healthy if it has a health check";
}

function waitSummary(view: ReadView, task: Task, nowMs: number): string {
  const atMs = startMs(slotOf(view, task), task, (nodeId) => view.get("node", nodeId));
  if (!Number.isFinite(atMs)) return "it is ready and waits for the task that it replaces to stop";
  const seconds = Math.max(0, Math.ceil((atMs - nowMs) / 1000));
  const { quickFailures: failures } = task;
  const why = failures < 2 ? "" : `: the ${failures} before it failed soon after they began`;
  return `it is ready and starts in ${seconds} s${why}`;
}

/** What the task has against it; while it waits to follow one that failed, what that one had. */
function errorOf(view: ReadView, task: Task): string {
  const own = task.status?.err ?? "";
  if (own !== "" || task.desiredState !== TaskState.READY) return own;
  const history = historyOf(slotOf(view, task));
  const before = history[history.indexOf(task) - 1];
  return before !== undefined && endedByItself(before) ? (before.status?.err ?? "") : "";
}

function slotOf(view: ReadView, task: Task): Slot {
  const key = slotKeyOf(task);
  const tasks = new Map<string, Task>();
  for (const other of view.find("task", "service", task.serviceId)) {
    if (slotKeyOf(other) === key) tasks.set(other.id, other);
  }
  return { key, number: task.slot, nodeId: task.nodeId, tasks };
}
