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

/**
 * What leads from one state to another, judged by the versions of the objects: per kind first what
 * goes, then what comes. Both tables are walked side by side, in the order of their ids: a lookup for
 * each object takes ten times as long, and this is done in one go.
 */
export function difference(before: State, after: State): readonly Change[] {
  const changes: Change[] = [];
  for (const kind of KINDS) {
    const come: Change[] = [];
    const old = before[kind].objects.entries();
    const now = after[kind].objects.entries();
    let left = nextOf(old);
    let right = nextOf(now);
    while (left !== undefined || right !== undefined) {
      const order = left === undefined ? 1 : right === undefined ? -1 : compare(left[0], right[0]);
      if (order < 0) push(changes, kind, left?.[1], undefined);
      else if (order > 0) push(come, kind, undefined, right?.[1]);
      else if (isChanged(left, right)) push(come, kind, left?.[1], right?.[1]);
      if (order <= 0) left = nextOf(old);
      if (order >= 0) right = nextOf(now);
    }
    for (const change of come) changes.push(change);
  }
  return changes;
}

type Pair = readonly [string, Stored];

function nextOf(entries: Iterator<Pair>): Pair | undefined {
  const { done, value } = entries.next();
  return done === true ? undefined : value;
}

/** The order of the tables' ids. */
function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function isChanged(left: Pair | undefined, right: Pair | undefined): boolean {
  return left !== undefined && right !== undefined && versionOf(left[1]) !== versionOf(right[1]);
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
