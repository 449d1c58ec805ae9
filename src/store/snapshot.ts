/** All tables as SwarmKit's StoreSnapshot, and back. */

import { create } from "@bufbuild/protobuf";
import { type StoreSnapshot, StoreSnapshotSchema } from "#wire/gen/swarmkit/snapshot_pb.js";
import { changeOf, versionOf } from "./actions.ts";
import { KINDS, type Stored } from "./kinds.ts";
import { Draft, emptyState, type State } from "./tables.ts";
import type { Change, Kind, ObjectTypes, ReadView } from "./types.ts";

/** The snapshot's field of each kind. */
const FIELDS = {
  node: "nodes",
  service: "services",
  task: "tasks",
  network: "networks",
  cluster: "clusters",
  secret: "secrets",
  config: "configs",
  extension: "extensions",
  resource: "resources",
  volume: "volumes",
} as const satisfies Record<Kind, keyof StoreSnapshot>;

/** Shares the objects of the view: encode it, do not keep or change it. */
export function storeSnapshotOf(view: ReadView): StoreSnapshot {
  const snapshot = create(StoreSnapshotSchema);
  for (const kind of KINDS) fill(snapshot, kind, [...view.all(kind)]);
  return snapshot;
}

/** A part of a snapshot: some objects of one kind. Encoded parts, joined, are the whole. */
export function storeSnapshotPart<K extends Kind>(
  kind: K,
  objects: readonly ObjectTypes[K][],
): StoreSnapshot {
  const snapshot = create(StoreSnapshotSchema);
  fill(snapshot, kind, objects);
  return snapshot;
}

function fill(snapshot: StoreSnapshot, kind: Kind, objects: readonly Stored[]): void {
  // The field of a kind holds objects of that kind, which is what the callers pass.
  (snapshot as unknown as Record<string, readonly Stored[]>)[FIELDS[kind]] = objects;
}

/** The objects of one kind in a snapshot. */
export function objectsOfSnapshot(snapshot: StoreSnapshot, kind: Kind): readonly Stored[] {
  return snapshot[FIELDS[kind]];
}

/** A state put together from the parts of a snapshot, in any order. */
export class StateBuilder {
  readonly #draft = new Draft(emptyState());

  add(part: StoreSnapshot): void {
    for (const kind of KINDS) {
      for (const object of part[FIELDS[kind]]) this.#draft.put(kind, object);
    }
  }

  get state(): State {
    return this.#draft.state;
  }
}

export function stateOfSnapshot(snapshot: StoreSnapshot): State {
  const builder = new StateBuilder();
  builder.add(snapshot);
  return builder.state;
}

/** What leads from one state to another, judged by the versions of the objects. */
export function difference(before: State, after: State): readonly Change[] {
  const changes: Change[] = [];
  for (const kind of KINDS) {
    const old = before[kind].objects;
    const now = after[kind].objects;
    for (const [id, object] of old.entries()) {
      if (!now.has(id)) push(changes, kind, object, undefined);
    }
    for (const [id, object] of now.entries()) {
      const previous = old.get(id);
      if (previous !== undefined && versionOf(previous) === versionOf(object)) continue;
      push(changes, kind, previous, object);
    }
  }
  return changes;
}

function push(
  changes: Change[],
  kind: Kind,
  before: Stored | undefined,
  after: Stored | undefined,
): void {
  const change = changeOf(kind, before, after);
  if (change !== undefined) changes.push(change);
}
