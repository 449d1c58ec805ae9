/**
 * What must hold of a swarm: the same objects on every manager at any time, and in the end exactly
 * the tasks that the services ask for, each once, where it should be.
 */

import { toBinary } from "@bufbuild/protobuf";
import type { RaftNode } from "#manager/raft/node.ts";
import { KIND_RULES } from "#store/kinds.ts";
import { storeSnapshotOf } from "#store/snapshot.ts";
import type { ChangeBatch, ReadView } from "#store/types.ts";
import type { Service, Task } from "#wire/gen/swarmkit/objects_pb.js";
import { StoreSnapshotSchema } from "#wire/gen/swarmkit/snapshot_pb.js";
import { NodeSpec_Availability as Availability } from "#wire/gen/swarmkit/specs_pb.js";
import { NodeRole, NodeStatus_State, TaskState } from "#wire/gen/swarmkit/types_pb.js";
import { Violation } from "../checker.ts";
import type { Host } from "./host.ts";

const ENTRIES_UNDER_WAY = 50;

/** Every object of a version is the same wherever it is seen. */
export class SameObjects {
  readonly #known = new Map<string, number>();
  changes = 0;

  sees(nodeId: string, { changes }: ChangeBatch): void {
    for (const { kind, action, object } of changes) {
      this.changes++;
      if (action === "delete") continue;
      const key = `${kind}/${object.id}@${object.meta?.version?.index ?? 0n}`;
      const digest = digestOf(toBinary(KIND_RULES[kind].schema, object as never));
      const known = this.#known.get(key);
      if (known === undefined) this.#known.set(key, digest);
      else if (known !== digest) {
        throw new Violation("state-machine safety", `${nodeId} holds another ${key} than others`);
      }
    }
  }
}

/** One leader per term. */
export class OneLeader {
  readonly #leaders = new Map<number, string>();

  get terms(): number {
    return this.#leaders.size;
  }

  leads(nodeId: string, term: number): void {
    const known = this.#leaders.get(term);
    if (known === undefined) this.#leaders.set(term, nodeId);
    else if (known !== nodeId) {
      throw new Violation("election safety", `${known} and ${nodeId} both lead term ${term}`);
    }
  }
}

export function digestOfView(view: ReadView): number {
  return digestOf(toBinary(StoreSnapshotSchema, storeSnapshotOf(view)));
}

/** Why the swarm is not yet what its services ask for; undefined if it is. */
export function unsettled(view: ReadView, hosts: readonly Host[]): string | undefined {
  const nodes = [...view.all("node")];
  const away = nodes.find(({ status }) => status?.state !== NodeStatus_State.READY);
  if (away !== undefined) return `node ${away.id} is not ready`;
  const expected = new Map<string, Task>();
  for (const service of view.all("service")) {
    const problem = collectTasks(view, service, expected);
    if (problem !== undefined) return problem;
  }
  return comparePlaces(expected, hosts);
}

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

function collectTasks(
  view: ReadView,
  service: Service,
  expected: Map<string, Task>,
): string | undefined {
  const wanted = [...view.find("task", "service", service.id)].filter(
    ({ desiredState }) => desiredState <= TaskState.RUNNING,
  );
  const places = wanted.map(({ slot, nodeId }) => (slot === 0n ? nodeId : String(slot)));
  if (new Set(places).size < places.length) return `${service.id} has two tasks in one slot`;
  const count = wantedCount(view, service);
  if (wanted.length !== count) return `${service.id} has ${wanted.length} tasks of ${count}`;
  for (const task of wanted) {
    if (task.status?.state !== TaskState.RUNNING) {
      const state = TaskState[task.status?.state ?? TaskState.NEW];
      const { id, nodeId, desiredState, status } = task;
      return `task ${id} of ${service.id} on ${nodeId} is ${state} and should be ${TaskState[desiredState]}: ${status?.message ?? ""} ${status?.err ?? ""}`;
    }
    if (imageOf(task.spec) !== imageOf(service.spec?.task)) {
      return `task ${task.id} of ${service.id} runs ${imageOf(task.spec)}`;
    }
    expected.set(task.id, task);
  }
  return undefined;
}

function wantedCount(view: ReadView, { spec }: Service): number {
  if (spec?.mode.case === "replicated") return Number(spec.mode.value.replicas);
  const isEligible = (availability: Availability | undefined) =>
    availability === Availability.ACTIVE;
  return [...view.all("node")].filter((node) => isEligible(node.spec?.availability)).length;
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

function imageOf(spec: Task["spec"]): string {
  return spec?.runtime.case === "container" ? spec.runtime.value.image : "";
}

function digestOf(bytes: Uint8Array): number {
  let digest = bytes.length;
  for (const byte of bytes) digest = (Math.imul(digest, 31) + byte) | 0;
  return digest;
}
