/** Changes as the log carries them (SwarmKit's StoreAction), and back. */

import { create } from "@bufbuild/protobuf";
import type { Meta } from "#wire/gen/swarmkit/objects_pb.js";
import { MetaSchema } from "#wire/gen/swarmkit/objects_pb.js";
import {
  type StoreAction,
  StoreActionKind,
  StoreActionSchema,
} from "#wire/gen/swarmkit/raft_pb.js";
import { VersionSchema } from "#wire/gen/swarmkit/types_pb.js";
import { KIND_RULES, type Stored } from "./kinds.ts";
import type { Change, Kind } from "./types.ts";

const ACTION_KINDS = {
  create: StoreActionKind.STORE_ACTION_CREATE,
  update: StoreActionKind.STORE_ACTION_UPDATE,
  delete: StoreActionKind.STORE_ACTION_REMOVE,
} as const;

/** The log entry's form of a change. A removal carries the id alone: that is all it needs. */
export function actionOf(change: Change): StoreAction {
  const value =
    change.action === "delete"
      ? create(KIND_RULES[change.kind].schema, { id: change.object.id })
      : change.object;
  // `Kind` is named after the cases of the oneof, and the value is an object of that kind.
  const target = { case: change.kind, value } as StoreAction["target"];
  return create(StoreActionSchema, { action: ACTION_KINDS[change.action], target });
}

/** What an action does to one object; undefined for kinds and actions of a newer version. */
export type Effect =
  | { readonly kind: Kind; readonly id: string; readonly put: Stored }
  | { readonly kind: Kind; readonly id: string; readonly put: undefined };

export function effectOf(action: StoreAction): Effect | undefined {
  const { target } = action;
  if (target.case === undefined) return undefined;
  const kind: Kind = target.case;
  const { id } = target.value;
  switch (action.action) {
    case StoreActionKind.STORE_ACTION_CREATE:
    case StoreActionKind.STORE_ACTION_UPDATE:
      return { kind, id, put: target.value };
    case StoreActionKind.STORE_ACTION_REMOVE:
      return { kind, id, put: undefined };
    case StoreActionKind.UNKNOWN:
      return undefined;
  }
  // A number that a newer version gave a meaning.
  return undefined;
}

/** A change of matching parts; the kind ties them together, which a spread would lose. */
export function changeOf(
  kind: Kind,
  before: Stored | undefined,
  after: Stored | undefined,
): Change | undefined {
  if (before === after) return undefined;
  if (before === undefined) return { kind, action: "create", object: after } as Change;
  if (after === undefined) return { kind, action: "delete", object: before } as Change;
  return { kind, action: "update", object: after, old: before } as Change;
}

/** The raft index of the entry that last wrote the object; 0 for one that was never stored. */
export function versionOf(object: Stored): number {
  return Number(object.meta?.version?.index ?? 0n);
}

/** The object as the entry at `index` writes it. */
export function stamped(object: Stored, index: number): Stored {
  if (versionOf(object) === index) return object;
  return { ...object, meta: metaAt(object.meta, index) };
}

export function metaAt(meta: Meta | undefined, index: number): Meta {
  const version = create(VersionSchema, { index: BigInt(index) });
  return meta === undefined ? create(MetaSchema, { version }) : { ...meta, version };
}
