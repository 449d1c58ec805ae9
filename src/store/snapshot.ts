/** All tables as SwarmKit's StoreSnapshot, and back. */

import { create } from "@bufbuild/protobuf";
import { type StoreSnapshot, StoreSnapshotSchema } from "#wire/gen/swarmkit/snapshot_pb.js";
import { changeOf, versionOf } from "./actions.ts";
import { KINDS, type Stored } from "./kinds.ts";
import { Draft, emptyState, type State } from "./tables.ts";
import type { Change, Kind, ReadView } from "./types.ts";

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
  return create(StoreSnapshotSchema, {
    nodes: [...view.all("node")],
    services: [...view.all("service")],
    tasks: [...view.all("task")],
    networks: [...view.all("network")],
    clusters: [...view.all("cluster")],
    secrets: [...view.all("secret")],
    configs: [...view.all("config")],
    extensions: [...view.all("extension")],
    resources: [...view.all("resource")],
    volumes: [...view.all("volume")],
  });
}

export function stateOfSnapshot(snapshot: StoreSnapshot): State {
  const draft = new Draft(emptyState());
  for (const kind of KINDS) {
    for (const object of snapshot[FIELDS[kind]]) draft.put(kind, object);
  }
  return draft.state;
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
