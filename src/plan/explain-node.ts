/** A node from the other side: which tasks without a node it refuses and why, and which of its own are not up. */

import { takesTasks } from "#model/node.ts";
import { isTerminal, isWanted, stateOf, taskName } from "#model/task.ts";
import type { ReadView } from "#store/types.ts";
import { TaskState } from "#wire/gen/swarmkit/types_pb.js";
import { explainTask, nodeInfo } from "./explain.ts";
import { demandOf, refusalsOf } from "./scheduler/filters.ts";

export interface NodeTask {
  readonly taskId: string;
  readonly name: string;
  readonly state: string;
  /** Filters, for a task that the node refuses. */
  readonly refusedBy: readonly string[];
  /** What the node lacks, or what the task waits for. */
  readonly reasons: readonly string[];
}

export interface NodeExplanation {
  /** Why it takes no task at all; empty if it takes some. */
  readonly takesNone: string;
  readonly refused: readonly NodeTask[];
  readonly waiting: readonly NodeTask[];
  /** Tasks of both kinds that are not told. */
  readonly leftOut: number;
}

/** Tasks of each kind told at most. */
const TASKS_MAX = 50;

export function explainNode(
  view: ReadView,
  nodeId: string,
  nowMs: number,
): NodeExplanation | undefined {
  const node = view.get("node", nodeId);
  if (node === undefined) return undefined;
  const info = nodeInfo(view, node);
  const refused: NodeTask[] = [];
  const waiting: NodeTask[] = [];
  let leftOut = 0;
  let takesNone = "";
  const tell = (list: NodeTask[], task: () => NodeTask) => {
    if (list.length < TASKS_MAX) list.push(task());
    else leftOut += 1;
  };
  for (const task of view.all("task")) {
    if (!isWanted(task) || isTerminal(task)) continue;
    const state = stateOf(task);
    const about = {
      taskId: task.id,
      name: taskName(task),
      state: TaskState[state].toLowerCase(),
    };
    const unplaced = task.nodeId === "" || (task.nodeId === nodeId && state === TaskState.PENDING);
    if (unplaced && state === TaskState.PENDING) {
      const demand = demandOf(task);
      const filters = refusalsOf(info, demand);
      if (filters.length === 0) continue;
      tell(refused, () => ({
        ...about,
        refusedBy: filters.map(({ name }) => name),
        reasons: filters.map(({ lacks }) => lacks(info, demand)),
      }));
    } else if (task.nodeId === nodeId && (state < task.desiredState || state === TaskState.READY)) {
      const reasons = [explainTask(view, task.id, nowMs)?.summary ?? "", task.status?.err ?? ""];
      tell(waiting, () => ({
        ...about,
        refusedBy: [],
        reasons: reasons.filter((reason) => reason !== ""),
      }));
    }
  }
  if (!takesTasks(node)) takesNone = "it is down, drained, paused or not ready";
  return { takesNone, refused, waiting, leftOut };
}
