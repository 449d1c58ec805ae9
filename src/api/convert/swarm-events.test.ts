import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import {
  NodeSchema,
  SecretSchema,
  ServiceSchema,
  TaskSchema,
} from "#wire/gen/swarmkit/objects_pb.js";
import { NodeSpec_Availability as Availability } from "#wire/gen/swarmkit/specs_pb.js";
import {
  NodeStatus_State,
  UpdateStatus_UpdateState as UpdateState,
} from "#wire/gen/swarmkit/types_pb.js";
import { WatchActionKind, WatchMessage_EventSchema } from "#wire/gen/swarmkit/watch_pb.js";
import { swarmEventOf } from "./swarm-events.ts";

const service = (image: string, replicas: bigint, state = UpdateState.UNKNOWN) =>
  create(ServiceSchema, {
    id: "s",
    spec: {
      annotations: { name: "web" },
      task: { runtime: { case: "container", value: { image } } },
      mode: { case: "replicated", value: { replicas } },
    },
    ...(state === UpdateState.UNKNOWN ? {} : { updateStatus: { state } }),
  });

test("an update of a service tells what is different", () => {
  const change = create(WatchMessage_EventSchema, {
    action: WatchActionKind.WATCH_ACTION_UPDATE,
    object: { Object: { case: "service", value: service("web:2", 3n, UpdateState.UPDATING) } },
    oldObject: { Object: { case: "service", value: service("web:1", 2n) } },
  });
  expect(swarmEventOf(change)).toEqual({
    Type: "service",
    Action: "update",
    scope: "swarm",
    Actor: {
      ID: "s",
      Attributes: {
        name: "web",
        "image.old": "web:1",
        "image.new": "web:2",
        "replicas.old": "2",
        "replicas.new": "3",
        "updatestate.new": "updating",
      },
    },
  });
});

test("a node goes down, a secret comes and goes, a task is not told of", () => {
  const node = (state: NodeStatus_State) =>
    create(NodeSchema, {
      id: "n",
      spec: { availability: Availability.ACTIVE },
      description: { hostname: "h1" },
      status: { state },
    });
  const down = create(WatchMessage_EventSchema, {
    action: WatchActionKind.WATCH_ACTION_UPDATE,
    object: { Object: { case: "node", value: node(NodeStatus_State.DOWN) } },
    oldObject: { Object: { case: "node", value: node(NodeStatus_State.READY) } },
  });
  expect(swarmEventOf(down)?.Actor.Attributes).toEqual({
    name: "h1",
    "state.old": "ready",
    "state.new": "down",
  });
  const secret = create(SecretSchema, { id: "x", spec: { annotations: { name: "key" } } });
  const gone = create(WatchMessage_EventSchema, {
    action: WatchActionKind.WATCH_ACTION_REMOVE,
    object: { Object: { case: "secret", value: secret } },
  });
  expect(swarmEventOf(gone)).toMatchObject({ Type: "secret", Action: "remove" });
  const task = create(WatchMessage_EventSchema, {
    action: WatchActionKind.WATCH_ACTION_CREATE,
    object: { Object: { case: "task", value: create(TaskSchema, { id: "t" }) } },
  });
  expect(swarmEventOf(task)).toBeUndefined();
});
