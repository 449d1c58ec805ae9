/**
 * What one node has to know: its tasks, and the secrets, configs and volumes that they use. Pure:
 * store changes go in, assignment changes come out. A node that starts from a complete assignment
 * and applies every increment holds what a complete assignment of the newest state would give it.
 *
 * Invariants: a secret or config is with the node exactly while an unfinished task there refers to
 * it, and travels before the first task that needs it; changes of a task's status are not sent
 * back to the node that reported them.
 */

import { create } from "@bufbuild/protobuf";
import { sameAssignment } from "#model/stable-task.ts";
import type { Change, ReadView } from "#store/types.ts";
import {
  AssignmentChange_AssignmentAction as Action,
  type Assignment,
  type AssignmentChange,
  AssignmentChangeSchema,
  AssignmentSchema,
} from "#wire/gen/swarmkit/dispatcher_pb.js";
import {
  ConfigSchema,
  SecretSchema,
  type Task,
  TaskSchema,
  type Volume,
} from "#wire/gen/swarmkit/objects_pb.js";
import {
  VolumePublishStatus_State as PublishState,
  ResourceType,
  TaskState,
  VolumeAssignmentSchema,
  type VolumePublishStatus,
} from "#wire/gen/swarmkit/types_pb.js";

type Item = Assignment["item"];
type DependencyKind = "secret" | "config";

interface Dependency {
  readonly kind: DependencyKind;
  readonly id: string;
}

export class AssignmentSet {
  readonly #nodeId: string;
  readonly #tasks = new Map<string, Task>();
  /** Last publish state per volume that the node knows of. */
  readonly #volumes = new Map<string, PublishState>();
  /** Secrets and configs held per user: a task id, or a volume id for its secrets. */
  readonly #held = new Map<string, readonly Dependency[]>();
  readonly #users = new Map<string, Set<string>>();
  /** Not yet taken, in the order in which they have to be applied. */
  readonly #pending = new Map<string, AssignmentChange>();

  constructor(nodeId: string) {
    this.#nodeId = nodeId;
  }

  /** Changes that wait to be taken. */
  get pending(): number {
    return this.#pending.size;
  }

  /** Everything that the view has for the node; called once, first. */
  load(view: ReadView): void {
    for (const task of view.find("task", "node", this.#nodeId)) this.#putTask(view, task);
    for (const volume of view.all("volume")) this.#putVolume(view, volume);
  }

  /** Takes one committed change in; `view` contains it and may be newer. */
  apply(view: ReadView, change: Change): void {
    if (change.kind === "task") {
      if (change.object.nodeId !== this.#nodeId) return;
      if (change.action === "delete") this.#dropTask(change.object.id);
      else this.#putTask(view, change.object);
    } else if (change.kind === "volume") {
      if (change.action === "delete") this.#forgetVolume(change.object.id);
      else this.#putVolume(view, change.object);
    }
  }

  /** The oldest pending changes, at least one if there is any, within both limits. */
  take(maxChanges: number, maxBytes: number): AssignmentChange[] {
    const taken: AssignmentChange[] = [];
    let bytes = 0;
    for (const [key, change] of this.#pending) {
      bytes += payloadBytes(change);
      if (taken.length > 0 && (taken.length >= maxChanges || bytes > maxBytes)) break;
      taken.push(change);
      this.#pending.delete(key);
    }
    return taken;
  }

  #putTask(view: ReadView, task: Task): void {
    const state = task.status?.state ?? TaskState.NEW;
    if (state < TaskState.ASSIGNED) return;
    const known = this.#tasks.get(task.id);
    this.#tasks.set(task.id, task);
    if (known === undefined && state <= TaskState.RUNNING) {
      this.#hold(view, task.id, dependenciesOf(task));
    }
    // In ASSIGNED the scheduler has the last word, so that every change there is news to the node.
    const news =
      known === undefined || state === TaskState.ASSIGNED || !sameAssignment(known, task);
    if (news) this.#push("task", task.id, { case: "task", value: task }, Action.UPDATE);
    else this.#refresh(task);
    if (state > TaskState.RUNNING) this.#release(task.id);
  }

  /** What still waits must not tell of a task as live whose secrets are withdrawn meanwhile. */
  #refresh(task: Task): void {
    const key = `task/${task.id}`;
    if (!this.#pending.has(key)) return;
    const assignment = create(AssignmentSchema, { item: { case: "task", value: task } });
    this.#pending.set(key, create(AssignmentChangeSchema, { assignment, action: Action.UPDATE }));
  }

  #dropTask(taskId: string): void {
    if (!this.#tasks.delete(taskId)) return;
    const value = create(TaskSchema, { id: taskId });
    this.#push("task", taskId, { case: "task", value }, Action.REMOVE);
    this.#release(taskId);
  }

  #putVolume(view: ReadView, volume: Volume): void {
    const status = volume.publishStatus.find(({ nodeId }) => nodeId === this.#nodeId);
    if (status === undefined || status.state < PublishState.PUBLISHED) return;
    const known = this.#volumes.get(volume.id);
    if (known === status.state) return;
    if (status.state > PublishState.PENDING_NODE_UNPUBLISH) {
      this.#forgetVolume(volume.id);
      return;
    }
    if (known === undefined) this.#hold(view, volume.id, secretsOf(volume));
    this.#volumes.set(volume.id, status.state);
    // Told also to a node that never heard of the volume: it may have forgotten in a restart.
    const removing = status.state === PublishState.PENDING_NODE_UNPUBLISH;
    const value = volumeAssignment(volume, status);
    const action = removing ? Action.REMOVE : Action.UPDATE;
    this.#push("volume", volume.id, { case: "volume", value }, action);
  }

  #forgetVolume(volumeId: string): void {
    if (this.#volumes.delete(volumeId)) this.#release(volumeId);
  }

  #hold(view: ReadView, userId: string, dependencies: readonly Dependency[]): void {
    if (dependencies.length === 0) return;
    this.#held.set(userId, dependencies);
    for (const { kind, id } of dependencies) {
      const key = `${kind}/${id}`;
      const users = this.#users.get(key);
      if (users !== undefined) {
        users.add(userId);
        continue;
      }
      this.#users.set(key, new Set([userId]));
      const item = dependencyItem(view, kind, id);
      if (item !== undefined) this.#push(kind, id, item, Action.UPDATE);
    }
  }

  #release(userId: string): void {
    const dependencies = this.#held.get(userId);
    if (dependencies === undefined) return;
    this.#held.delete(userId);
    for (const { kind, id } of dependencies) {
      const key = `${kind}/${id}`;
      const users = this.#users.get(key);
      if (users === undefined || !users.delete(userId) || users.size > 0) continue;
      this.#users.delete(key);
      const item: Item =
        kind === "secret"
          ? { case: "secret", value: create(SecretSchema, { id }) }
          : { case: "config", value: create(ConfigSchema, { id }) };
      this.#push(kind, id, item, Action.REMOVE);
    }
  }

  #push(kind: string, id: string, item: Item, action: Action): void {
    const key = `${kind}/${id}`;
    // Moved to the end: it must not overtake what it depends on.
    this.#pending.delete(key);
    const assignment = create(AssignmentSchema, { item });
    this.#pending.set(key, create(AssignmentChangeSchema, { assignment, action }));
  }
}

/** Secrets and configs that a task refers to, each once. */
function dependenciesOf(task: Task): readonly Dependency[] {
  const found = new Map<string, Dependency>();
  const add = (kind: DependencyKind, id: string) => found.set(`${kind}/${id}`, { kind, id });
  for (const { resourceType, resourceId } of task.spec?.resourceReferences ?? []) {
    if (resourceType === ResourceType.SECRET) add("secret", resourceId);
    else if (resourceType === ResourceType.CONFIG) add("config", resourceId);
  }
  if (task.spec?.runtime.case === "container") {
    const container = task.spec.runtime.value;
    for (const { secretId } of container.secrets) add("secret", secretId);
    for (const { configId } of container.configs) add("config", configId);
  }
  return [...found.values()];
}

function secretsOf(volume: Volume): readonly Dependency[] {
  const ids = new Set(volume.spec?.secrets.map(({ secret }) => secret));
  return [...ids].map((id) => ({ kind: "secret", id }));
}

/** Undefined when the object is gone: its users will say that they miss it. */
function dependencyItem(view: ReadView, kind: DependencyKind, id: string): Item | undefined {
  if (kind === "secret") {
    const value = view.get("secret", id);
    return value === undefined ? undefined : { case: "secret", value };
  }
  const value = view.get("config", id);
  return value === undefined ? undefined : { case: "config", value };
}

function volumeAssignment(volume: Volume, status: VolumePublishStatus) {
  return create(VolumeAssignmentSchema, {
    id: volume.id,
    volumeId: volume.volumeInfo?.volumeId ?? "",
    driver: volume.spec?.driver,
    volumeContext: volume.volumeInfo?.volumeContext ?? {},
    publishContext: status.publishContext,
    accessMode: volume.spec?.accessMode,
    secrets: volume.spec?.secrets ?? [],
  });
}

/** What can be large in a change; the rest is small and counted by number. */
function payloadBytes({ assignment }: AssignmentChange): number {
  const item = assignment?.item;
  return item?.case === "secret" || item?.case === "config"
    ? (item.value.spec?.data.length ?? 0)
    : 0;
}
