/**
 * What a swarm must come to when it is left in peace: every manager votes and has what the leader
 * has, every service has exactly the tasks that it asks for, each once and where it should be, and
 * nothing else runs or is held.
 */

import type { RaftNode } from "#manager/raft/node.ts";
import { isJob, isTerminal, isWanted, slotKeyOf, stateOf } from "#model/task.ts";
import type { ReadView } from "#store/types.ts";
import type { Service, Task } from "#wire/gen/swarmkit/objects_pb.js";
import { NodeSpec_Availability as Availability } from "#wire/gen/swarmkit/specs_pb.js";
import {
  NodeRole,
  NodeStatus_State,
  TaskState,
  UpdateStatus_UpdateState as UpdateState,
} from "#wire/gen/swarmkit/types_pb.js";
import type { Host } from "../host.ts";
import { imageOf } from "../specs.ts";
import { tasksOfIteration } from "./jobs.ts";
import { payloadsOf } from "./payloads.ts";

const ENTRIES_UNDER_WAY = 50;
/** Tasks of a slot that are kept beside the one that runs. */
const HISTORY_MAX = 2;

const { UPDATING, ROLLBACK_STARTED, PAUSED, ROLLBACK_PAUSED } = UpdateState;
const UNSETTLED: readonly UpdateState[] = [UPDATING, ROLLBACK_STARTED, PAUSED, ROLLBACK_PAUSED];

/** Every node has the role that it should, and every manager a vote and what the leader has. */
export function unsettledManagers(
  view: ReadView,
  hosts: readonly Host[],
  leader: RaftNode,
): string | undefined {
  const { voters, learners } = leader.status();
  const [learner] = learners;
  if (learner !== undefined) return `${learner} has no vote yet`;
  for (const { nodeId, manager } of hosts) {
    const node = view.get("node", nodeId);
    const isManager = node?.spec?.desiredRole === NodeRole.MANAGER;
    const role = isManager ? "manager" : "worker";
    if (voters.includes(nodeId) !== isManager) return `${nodeId} votes or not, against its role`;
    if ((node?.role === NodeRole.MANAGER) !== isManager) return `${nodeId} is to become a ${role}`;
    if ((manager !== undefined) !== isManager) return `${nodeId} does not run as a ${role}`;
    // Clients write all the time: the newest entries are always on their way.
    const missing = view.index - (manager?.status().applied ?? view.index);
    if (missing > ENTRIES_UNDER_WAY) return `${nodeId} lacks ${missing} entries`;
  }
  return undefined;
}

/** Why the swarm is not yet what its services ask for; undefined if it is. */
export function unsettledServices(view: ReadView, hosts: readonly Host[]): string | undefined {
  for (const { id, status, spec } of view.all("node")) {
    if (status?.state !== NodeStatus_State.READY) return `node ${id} is not ready`;
    if (spec?.availability !== Availability.ACTIVE) return `node ${id} is not active`;
  }
  const expected = new Map<string, Task>();
  for (const service of view.all("service")) {
    const problem = isJob(service)
      ? unsettledJob(view, service)
      : (unsettledUpdate(service) ??
        collectTasks(view, service, expected) ??
        longHistory(view, service));
    if (problem !== undefined) return problem;
  }
  return leftOver(view) ?? comparePlaces(expected, hosts);
}

/** Nodes hold the secrets and configs of their tasks, and no others. */
export function misplacedPayloads(view: ReadView, hosts: readonly Host[]): string | undefined {
  for (const { nodeId, machine } of hosts) {
    const needed = new Set<string>();
    for (const task of view.find("task", "node", nodeId)) {
      if (isTerminal(task)) continue;
      for (const { kind, id } of payloadsOf(task)) needed.add(`${kind}/${id}`);
    }
    for (const kind of ["secret", "config"] as const) {
      for (const { id } of view.all(kind)) {
        const isNeeded = needed.has(`${kind}/${id}`);
        const isThere = machine.holds({ kind, id });
        if (isThere !== undefined && isThere !== isNeeded) {
          return `${nodeId} ${isThere ? "still has" : "lacks"} ${kind} ${id}`;
        }
      }
    }
  }
  return undefined;
}

function unsettledUpdate({ id, updateStatus, allocationError }: Service): string | undefined {
  if (allocationError !== "") return `${id} is not allocated: ${allocationError}`;
  const state = updateStatus?.state ?? UpdateState.UNKNOWN;
  if (!UNSETTLED.includes(state)) return undefined;
  return `${id} is ${UpdateState[state]}: ${updateStatus?.message ?? ""}`;
}

function collectTasks(
  view: ReadView,
  service: Service,
  expected: Map<string, Task>,
): string | undefined {
  const wanted = [...view.find("task", "service", service.id)].filter(isWanted);
  const places = wanted.map(slotKeyOf);
  if (new Set(places).size < places.length) return `${service.id} has two tasks in one slot`;
  const count = wantedCount(view, service);
  if (wanted.length !== count) return `${service.id} has ${wanted.length} tasks of ${count}`;
  for (const task of wanted) {
    if (stateOf(task) !== TaskState.RUNNING) {
      const { id, nodeId, desiredState, status } = task;
      return `task ${id} of ${service.id} on ${nodeId} is ${TaskState[stateOf(task)]} and should be ${TaskState[desiredState]}: ${status?.message ?? ""} ${status?.err ?? ""}`;
    }
    if (imageOf(task.spec) !== imageOf(service.spec?.task)) {
      return `task ${task.id} of ${service.id} runs ${imageOf(task.spec)}`;
    }
    expected.set(task.id, task);
  }
  return undefined;
}

function wantedCount(view: ReadView, { spec }: Service): number {
  return spec?.mode.case === "replicated" ? Number(spec.mode.value.replicas) : view.count("node");
}

function unsettledJob(view: ReadView, service: Service): string | undefined {
  const mode = service.spec?.mode;
  const tasks = tasksOfIteration(service, view.find("task", "service", service.id));
  const completed = tasks.filter((task) => stateOf(task) === TaskState.COMPLETE);
  if (mode?.case === "replicatedJob") {
    const { totalCompletions } = mode.value;
    // Who was thought lost, and replaced, may have come to its end all the same.
    const slots = new Set(completed.map(slotKeyOf)).size;
    if (slots === Number(totalCompletions)) return undefined;
    return `job ${service.id} has ${slots} completions of ${totalCompletions}`;
  }
  const here = completed.filter(({ nodeId }) => view.get("node", nodeId) !== undefined);
  const nodes = new Set(here.map(({ nodeId }) => nodeId));
  if (nodes.size < here.length) return `job ${service.id} completed twice on a node`;
  if (nodes.size === view.count("node")) return undefined;
  return `job ${service.id} has completed on ${nodes.size} nodes of ${view.count("node")}`;
}

function longHistory(view: ReadView, service: Service): string | undefined {
  const counts = new Map<string, number>();
  for (const task of view.find("task", "service", service.id)) {
    const key = slotKeyOf(task);
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  for (const [key, count] of counts) {
    if (count > HISTORY_MAX + 1) return `slot ${key} of ${service.id} has ${count} tasks`;
  }
  return undefined;
}

/** Tasks that shall stop and have not, or whose service is gone. */
function leftOver(view: ReadView): string | undefined {
  for (const task of view.all("task")) {
    const { id, serviceId, nodeId } = task;
    if (view.get("service", serviceId) === undefined) return `task ${id} has no service`;
    if (isWanted(task) || isTerminal(task)) continue;
    return `task ${id} of ${serviceId} on ${nodeId} shall stop and is ${TaskState[stateOf(task)]}`;
  }
  return undefined;
}

/** Containers that run against tasks that should. */
function comparePlaces(
  expected: ReadonlyMap<string, Task>,
  hosts: readonly Host[],
): string | undefined {
  const missing = new Set(expected.keys());
  for (const { nodeId, machine } of hosts) {
    for (const { taskId, serviceId } of machine.running()) {
      const task = expected.get(taskId);
      if (task === undefined) return `${nodeId} still runs ${taskId} of ${serviceId}`;
      if (task.nodeId !== nodeId) return `${nodeId} runs ${taskId}, which is ${task.nodeId}'s`;
      missing.delete(taskId);
    }
  }
  const [one] = missing;
  return one === undefined ? undefined : `task ${one} runs in the store, but nowhere else`;
}
