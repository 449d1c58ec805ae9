/** Changes of the swarm's objects as docker's events, scope "swarm". */

import type { EngineEvent } from "#wire/docker/events.ts";
import type { Node, Service } from "#wire/gen/swarmkit/objects_pb.js";
import { WatchActionKind, type WatchMessage_Event } from "#wire/gen/swarmkit/watch_pb.js";
import { nodeToJson } from "./nodes.ts";
import { serviceToJson } from "./services.ts";

/** Kinds whose changes are told; tasks are, as with docker, the events of their containers. */
export const EVENT_KINDS = ["service", "node", "secret", "config", "network"] as const;

const ACTIONS: Readonly<Partial<Record<WatchActionKind, string>>> = {
  [WatchActionKind.WATCH_ACTION_CREATE]: "create",
  [WatchActionKind.WATCH_ACTION_UPDATE]: "update",
  [WatchActionKind.WATCH_ACTION_REMOVE]: "remove",
};

type SwarmEvent = Pick<EngineEvent, "Type" | "Action" | "Actor" | "scope">;

/** Undefined for what is no object of these kinds. */
export function swarmEventOf(change: WatchMessage_Event): SwarmEvent | undefined {
  const object = change.object?.Object;
  const old = change.oldObject?.Object;
  const action = ACTIONS[change.action];
  if (object === undefined || action === undefined) return undefined;
  const told = (name: string, more: Readonly<Record<string, string>> = {}): SwarmEvent => ({
    Type: object.case ?? "",
    Action: action,
    Actor: { ID: object.value?.id ?? "", Attributes: { name, ...more } },
    scope: "swarm",
  });
  switch (object.case) {
    case "service": {
      const before = old?.case === "service" ? old.value : undefined;
      return told(object.value.spec?.annotations?.name ?? "", serviceChanges(before, object.value));
    }
    case "node": {
      const before = old?.case === "node" ? old.value : undefined;
      const { spec, description } = object.value;
      const given = spec?.annotations?.name ?? "";
      const name = given === "" ? (description?.hostname ?? "") : given;
      return told(name, nodeChanges(before, object.value));
    }
    case "secret":
    case "config":
    case "network":
      return told(object.value.spec?.annotations?.name ?? "");
    case "task":
    case "cluster":
    case "resource":
    case "extension":
    case "volume":
    case undefined:
      return undefined;
  }
}

function serviceChanges(before: Service | undefined, after: Service) {
  if (before === undefined) return {};
  const seen = (service: Service) => {
    const { Spec, UpdateStatus, Rollout } = serviceToJson(service);
    return {
      updatestate: UpdateStatus?.State ?? "",
      image: Spec.TaskTemplate?.ContainerSpec?.Image ?? "",
      replicas: String(Spec.Mode?.Replicated?.Replicas ?? ""),
      rollout: Rollout === undefined ? "" : `${Rollout.Strategy} ${Rollout.Phase}`,
    };
  };
  return changes(seen(before), seen(after));
}

function nodeChanges(before: Node | undefined, after: Node) {
  if (before === undefined) return {};
  const seen = (node: Node) => {
    const { Spec, Status, ManagerStatus } = nodeToJson(node);
    return {
      state: Status?.State ?? "",
      availability: Spec?.Availability ?? "",
      role: Spec?.Role ?? "",
      leader: ManagerStatus === undefined ? "" : String(ManagerStatus.Leader ?? false),
      reachability: ManagerStatus?.Reachability ?? "",
    };
  };
  return changes(seen(before), seen(after));
}

/** "image.old" and "image.new" for what differs. */
function changes(
  before: Readonly<Record<string, string>>,
  after: Readonly<Record<string, string>>,
): Readonly<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const [key, value] of Object.entries(after)) {
    const old = before[key] ?? "";
    if (old === value) continue;
    if (old !== "") found[`${key}.old`] = old;
    if (value !== "") found[`${key}.new`] = value;
  }
  return found;
}
