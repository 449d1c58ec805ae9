/** What a node may be used for, as its spec and status say. */

import type { Node } from "#wire/gen/swarmkit/objects_pb.js";
import { NodeSpec_Availability as Availability } from "#wire/gen/swarmkit/specs_pb.js";
import { NodeStatus_State as NodeState } from "#wire/gen/swarmkit/types_pb.js";

/** May be given new tasks: reachable, and not paused or drained. */
export function takesTasks(node: Node): boolean {
  return (
    node.status?.state === NodeState.READY &&
    (node.spec?.availability ?? Availability.ACTIVE) === Availability.ACTIVE
  );
}

/** Cannot keep the tasks it has: gone, down, or being drained. */
export function losesTasks(node: Node | undefined): boolean {
  return node === undefined || isDown(node) || isDrained(node);
}

export function isDown(node: Node | undefined): boolean {
  return node?.status?.state === NodeState.DOWN;
}

export function isDrained(node: Node | undefined): boolean {
  return node?.spec?.availability === Availability.DRAIN;
}

export function isPaused(node: Node | undefined): boolean {
  return node?.spec?.availability === Availability.PAUSE;
}
