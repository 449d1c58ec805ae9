/**
 * The Watch service: the changes of the store that a client selected, in commit order, each exactly
 * once; from now on, or from after a version that the client has seen. Every manager answers from
 * its own store. The first message is empty: from then on nothing is missed.
 */

import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { EngineError } from "#base/error.ts";
import type { RpcContext } from "#platform/grpc/server.ts";
import type { Change, Kind, ObjectTypes } from "#store/types.ts";
import type { NodeSpec } from "#wire/gen/swarmkit/specs_pb.js";
import type { Annotations } from "#wire/gen/swarmkit/types_pb.js";
import {
  ObjectSchema,
  type SelectBy,
  Watch,
  WatchActionKind,
  type WatchMessage,
  WatchMessage_EventSchema,
  WatchMessageSchema,
  type WatchRequest,
  type WatchRequest_WatchEntry,
} from "#wire/gen/swarmkit/watch_pb.js";
import type { ManagerPart } from "./manager-ports.ts";
import type { ClusterState } from "./state.ts";

type WatchedObject = NonNullable<MessageInitShape<typeof ObjectSchema>["Object"]>;

const KINDS: ReadonlySet<string> = new Set<Kind>([
  "node",
  "service",
  "network",
  "task",
  "cluster",
  "secret",
  "resource",
  "extension",
  "config",
  "volume",
]);

const ACTION: Readonly<Record<Change["action"], WatchActionKind>> = {
  create: WatchActionKind.WATCH_ACTION_CREATE,
  update: WatchActionKind.WATCH_ACTION_UPDATE,
  delete: WatchActionKind.WATCH_ACTION_REMOVE,
};

export function watchPart(state: ClusterState): ManagerPart {
  return {
    name: "watch",
    register: (services) =>
      services.add(Watch, { watch: (request, context) => follow(state, request, context) }),
  };
}

async function* follow(
  state: ClusterState,
  request: WatchRequest,
  context: RpcContext,
): AsyncGenerator<WatchMessage> {
  for (const { kind } of request.entries) {
    if (!KINDS.has(kind)) {
      throw new EngineError("invalid-argument", `unrecognized kind: ${JSON.stringify(kind)}`);
    }
  }
  const { signal } = context;
  const from = request.resumeFrom?.index;
  // At once, so that who asks knows before the first change whether he missed any.
  if (from !== undefined && state.batchAfter(Number(from)) === "unavailable") {
    throw new EngineError("out-of-range", "watch from version unavailable");
  }
  const batches = state.watch(
    from === undefined ? { signal } : { signal, resumeFrom: Number(from) },
  );
  yield create(WatchMessageSchema);
  for await (const { index, changes } of batches) {
    const events = changes
      .filter((change) => request.entries.some((entry) => selects(entry, change)))
      .map((change) => eventOf(change, request.includeOldObject));
    if (events.length === 0) continue;
    yield create(WatchMessageSchema, { events, version: { index: BigInt(index) } });
  }
}

function eventOf(change: Change, includeOld: boolean) {
  const object = create(ObjectSchema, { Object: oneofOf(change.kind, change.object) });
  const old =
    includeOld && change.action === "update" ? oneofOf(change.kind, change.old) : undefined;
  return create(WatchMessage_EventSchema, {
    action: ACTION[change.action],
    object,
    ...(old === undefined ? {} : { oldObject: create(ObjectSchema, { Object: old }) }),
  });
}

/** The kinds of the store are the names of the oneof's fields. */
function oneofOf(kind: Kind, value: ObjectTypes[Kind]): WatchedObject {
  return { case: kind, value } as WatchedObject;
}

function selects(entry: WatchRequest_WatchEntry, change: Change): boolean {
  if (entry.kind !== change.kind) return false;
  // Action zero means all of them; it is a set of bits.
  if (entry.action !== WatchActionKind.WATCH_ACTION_UNKNOWN) {
    // oxlint-disable-next-line typescript/no-unsafe-enum-comparison -- actions are bits to combine
    if ((entry.action & ACTION[change.action]) === 0) return false;
  }
  return entry.filters.every((filter) => matches(filter, change));
}

function matches({ By: by }: SelectBy, change: Change): boolean {
  const { object } = change;
  switch (by.case) {
    case "id":
      return object.id === by.value;
    case "idPrefix":
      return object.id.startsWith(by.value);
    case "name":
      return nameOf(change).toLowerCase() === by.value.toLowerCase();
    case "namePrefix":
      return nameOf(change).toLowerCase().startsWith(by.value.toLowerCase());
    case "serviceId":
      return change.kind === "task" && change.object.serviceId === by.value;
    case "nodeId":
      return change.kind === "task" && change.object.nodeId === by.value;
    case "slot":
      return (
        change.kind === "task" &&
        change.object.serviceId === by.value.serviceId &&
        change.object.slot === by.value.slot
      );
    case "desiredState":
      return change.kind === "task" && change.object.desiredState === by.value;
    case "role":
      return change.kind === "node" && change.object.role === by.value;
    case "membership":
      return nodeSpecOf(change)?.membership === by.value;
    case "kind":
      return change.kind === "resource" && change.object.kind === by.value;
    case "custom":
    case "customPrefix":
    case "referencedNetworkId":
    case "referencedSecretId":
    case "referencedConfigId":
    case undefined:
      throw new EngineError(
        "unimplemented",
        `selecting by ${by.case ?? "nothing"} is not supported`,
      );
  }
}

function nodeSpecOf(change: Change): NodeSpec | undefined {
  return change.kind === "node" ? change.object.spec : undefined;
}

function nameOf(change: Change): string {
  return annotationsOf(change)?.name ?? "";
}

function annotationsOf(change: Change): Annotations | undefined {
  const { kind, object } = change;
  return kind === "task" || kind === "resource" || kind === "extension"
    ? object.annotations
    : object.spec?.annotations;
}
