/**
 * Choosing nodes for the tasks of one service. Each task goes to the node that has fewest tasks of
 * the service, of those to the one that has fewest tasks at all; nodes on which the service failed
 * again and again come last. Placement preferences divide the nodes into branches first, which are
 * filled evenly.
 *
 * As long as there are nodes without a task of the service, and mostly there are, the search ends
 * after as many nodes as there are tasks to place.
 */

import type { Node } from "#wire/gen/swarmkit/objects_pb.js";
import { Heap } from "../heap.ts";
import { type Demand, type Refusals, refusalOf } from "./filters.ts";
import type { NodeInfo } from "./node-info.ts";

export interface Search {
  readonly demand: Demand;
  /** How many failures speak against a node. */
  readonly penalty: (info: NodeInfo) => number;
  /** Puts the next task on a node and counts it there. */
  readonly assign: (info: NodeInfo) => void;
  readonly refusals: Refusals;
}

/** Places up to `count` tasks on nodes, given in order of their load; how many it placed. */
export function spread(search: Search, count: number, nodes: Iterable<NodeInfo>): number {
  const { demand, penalty, assign, refusals } = search;
  const later = new Set<NodeInfo>();
  let placed = 0;
  for (const info of nodes) {
    if (placed === count) return placed;
    // One seen again is one that just got a task here.
    if (later.has(info)) continue;
    const refusal = refusalOf(info, demand);
    if (refusal >= 0) {
      refusals.add(info, refusal);
      continue;
    }
    if (info.countOf(demand.serviceId) === 0 && penalty(info) === 0) {
      assign(info);
      placed += 1;
    }
    later.add(info);
  }
  if (placed === count) return placed;
  return placed + fill(search, count - placed, later);
}

/** Further tasks for nodes that have some already. */
function fill(search: Search, count: number, nodes: Iterable<NodeInfo>): number {
  const { demand, penalty, assign, refusals } = search;
  const heap = new Heap<NodeInfo>((a, b) => {
    const penalties = penalty(a) - penalty(b);
    if (penalties !== 0) return penalties < 0;
    const counts = a.countOf(demand.serviceId) - b.countOf(demand.serviceId);
    return counts !== 0 ? counts < 0 : a.active < b.active;
  }, nodes);
  let placed = 0;
  while (placed < count) {
    const info = heap.pop();
    if (info === undefined) break;
    const refusal = refusalOf(info, demand);
    if (refusal >= 0) {
      refusals.add(info, refusal);
      continue;
    }
    assign(info);
    placed += 1;
    heap.push(info);
  }
  return placed;
}

interface Branch {
  readonly nodes: NodeInfo[];
  tasks: number;
}

/** As `spread`, but evenly over the values of the labels first, those of the first label outermost. */
export function spreadOverLabels(
  search: Search,
  count: number,
  nodes: Iterable<NodeInfo>,
  labels: readonly string[],
): number {
  const [label, ...inner] = labels;
  if (label === undefined) return spread(search, count, nodes);
  const branches = branchesOf(search.demand, nodes, label);
  let placed = 0;
  // A branch without room passes its share on to the others.
  let open = branches;
  while (placed < count && open.length > 0) {
    const shares = levelOut(open, count - placed);
    const withRoom: Branch[] = [];
    for (const [at, branch] of open.entries()) {
      const share = shares[at] ?? 0;
      const done = share === 0 ? 0 : spreadOverLabels(search, share, branch.nodes, inner);
      branch.tasks += done;
      placed += done;
      if (done === share) withRoom.push(branch);
    }
    open = withRoom;
  }
  return placed;
}

function branchesOf(demand: Demand, nodes: Iterable<NodeInfo>, label: string): Branch[] {
  const branches = new Map<string, Branch>();
  for (const info of new Set(nodes)) {
    const value = labelOf(info.node, label);
    const branch = branches.get(value) ?? { nodes: [], tasks: 0 };
    branch.nodes.push(info);
    branch.tasks += info.countOf(demand.serviceId);
    branches.set(value, branch);
  }
  return [...branches.values()];
}

/** How many of `count` new tasks each branch gets so that the fullest have least to add. */
function levelOut(branches: readonly Branch[], count: number): number[] {
  const shares = branches.map(() => 0);
  const heap = new Heap<number>(
    (a, b) => total(branches, shares, a) < total(branches, shares, b),
    branches.keys(),
  );
  for (let left = count; left > 0; left--) {
    const at = heap.pop();
    if (at === undefined) break;
    shares[at] = (shares[at] ?? 0) + 1;
    heap.push(at);
  }
  return shares;
}

function total(branches: readonly Branch[], shares: readonly number[], at: number): number {
  return (branches[at]?.tasks ?? 0) + (shares[at] ?? 0);
}

function labelOf(node: Node, path: string): string {
  const lower = path.toLowerCase();
  if (lower.startsWith("node.labels.")) {
    return node.spec?.annotations?.labels[path.slice("node.labels.".length)] ?? "";
  }
  if (lower.startsWith("engine.labels.")) {
    return node.description?.engine?.labels[path.slice("engine.labels.".length)] ?? "";
  }
  return "";
}
