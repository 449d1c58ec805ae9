/** An operator who keeps changing the members: one at a time, several at once, joint or not. */

import {
  type ConfChange,
  type ConfChangeSingle,
  type ConfChangeTransition,
  EMPTY_BYTES,
  type NodeId,
  type Status,
} from "#raft/index.ts";
import type { SeededRandom } from "./random.ts";

export const MEMBERS_MAX = 7;

export interface PlannedChange {
  readonly change: ConfChange;
  readonly text: string;
  /** Must exist, empty, before the change is proposed. */
  readonly newcomers: readonly NodeId[];
}

/** A change that makes sense under the leader's membership, or undefined for none. */
export function planChange(
  random: SeededRandom,
  status: Status,
  nextId: NodeId,
  changesAtOnce: readonly [number, number],
): PlannedChange | undefined {
  const { voters, autoLeave } = status.config;
  if (voters.isJoint) return autoLeave ? undefined : leaveJoint();
  const changes: ConfChangeSingle[] = [];
  const count = random.chance(0.3) ? random.between(...changesAtOnce) : 1;
  let fresh = nextId;
  for (let i = 0; i < count; i++) {
    const change = planSingle(random, status, fresh);
    if (change === undefined || changes.some(({ nodeId }) => nodeId === change.nodeId)) continue;
    if (change.nodeId === fresh) fresh++;
    changes.push(change);
  }
  const [only] = changes;
  if (only === undefined) return undefined;
  const newcomers = changes.map(({ nodeId }) => nodeId).filter((id) => id >= nextId);
  const text = changes.map(({ type, nodeId }) => `${type} n${nodeId}`).join(", ");
  if (changes.length === 1 && random.chance(0.5)) {
    const change = { version: 1, id: 0n, ...only, context: EMPTY_BYTES } as const;
    return { change, text, newcomers };
  }
  const transitions = ["auto", "jointImplicit", "jointExplicit"] as const;
  const transition: ConfChangeTransition = random.pick(transitions) ?? "auto";
  const change = { version: 2, transition, changes, context: EMPTY_BYTES } as const;
  return { change, text: `${text} (${transition})`, newcomers };
}

export function leaveJoint(): PlannedChange {
  const change = { version: 2, transition: "auto", changes: [], context: EMPTY_BYTES } as const;
  return { change, text: "leave the joint state", newcomers: [] };
}

function planSingle(
  random: SeededRandom,
  { config }: Status,
  fresh: NodeId,
): ConfChangeSingle | undefined {
  const voters = config.voters.ids;
  const learners = config.learners.ids;
  switch (random.pick(["grow", "shrink", "promote", "demote"] as const)) {
    case "grow":
      if (voters.length + learners.length >= MEMBERS_MAX) return undefined;
      return { type: random.chance(0.5) ? "addNode" : "addLearnerNode", nodeId: fresh };
    case "shrink":
      return voters.length > 1 ? about(random, "removeNode", [...voters, ...learners]) : undefined;
    case "promote":
      return about(random, "addNode", learners);
    case "demote":
      return voters.length > 1 ? about(random, "addLearnerNode", voters) : undefined;
    case undefined:
      return undefined;
  }
}

function about(
  random: SeededRandom,
  type: ConfChangeSingle["type"],
  ids: readonly NodeId[],
): ConfChangeSingle | undefined {
  const nodeId = random.pick(ids);
  return nodeId === undefined ? undefined : { type, nodeId };
}
