/** What docker says, word for word: clients and scripts look for these sentences. */

import { EngineError } from "#base/error.ts";
import type { Waiting } from "./enrol.ts";

const NOT_MANAGER = "This node is not a swarm manager. ";

const SENTENCES = {
  noSwarm: "This node is not part of a swarm",
  notInit: `${NOT_MANAGER}Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.`,
  worker: `${NOT_MANAGER}Worker nodes can't be used to view or modify cluster state. Please run this command on a manager node or promote the current node to a manager.`,
  preparing: `${NOT_MANAGER}Manager is being prepared or has trouble connecting to the cluster.`,
  exists: `This node is already part of a swarm. Use "docker swarm leave" to leave this swarm and join another one.`,
  joinTimeout: `Timeout was reached before node joined. The attempt to join the swarm will continue in the background. Use the "docker info" command to see the current swarm status of your node.`,
  locked: `Swarm is encrypted and needs to be unlocked before it can be used. Please use "docker swarm unlock" to unlock it.`,
  leaveLocked:
    "Swarm is encrypted and locked. Please unlock it first or use `--force` to ignore this message.",
} as const;

/** 503 with docker's own sentence. */
export function refusal(which: keyof typeof SENTENCES): EngineError {
  return new EngineError("unavailable", SENTENCES[which], { retryable: false });
}

export function invalidUnlockKey(): EngineError {
  return new EngineError("unauthenticated", "swarm could not be unlocked: invalid key provided");
}

export function notLocked(): EngineError {
  return new EngineError("conflict", "swarm is not locked");
}

/** 503: nothing is wrong, but the node is not in before an operator says so. */
export function waitingRefusal({ nodeId, fingerprint }: Waiting): EngineError {
  const message =
    `This node waits to be accepted into the swarm. Its key is ${fingerprint}. On a manager, compare that with ` +
    `"skep node ls", then run "skep node accept ${nodeId}". The attempt to join the swarm will continue in the background.`;
  return new EngineError("unavailable", message, { retryable: false });
}

/** 400: what the operator asked for cannot be. */
export function badRequest(message: string): EngineError {
  return new EngineError("invalid-argument", message);
}

export interface ManagerCounts {
  /** This node is one of the reachable managers. */
  readonly self: boolean;
  readonly reachable: number;
  readonly unreachable: number;
}

/** Why a manager does not leave without `--force`; undefined counts when it is not active. */
export function leaveRefusal(counts: ManagerCounts | undefined, active: boolean): EngineError {
  let text = "You are attempting to leave the swarm on a node that is participating as a manager. ";
  if (!active) {
    text += "Doing so may lose the consensus of your cluster. ";
  } else if (counts?.self && counts.reachable - 2 <= counts.unreachable) {
    if (counts.reachable === 1 && counts.unreachable === 0) {
      text +=
        "Removing the last manager erases all current state of the swarm. Use `--force` to ignore this message. ";
      return new EngineError("unavailable", text, { retryable: false });
    }
    const total = counts.reachable + counts.unreachable;
    text += `Removing this node leaves ${counts.reachable - 1} managers out of ${total}. Without a Raft quorum your swarm will be inaccessible. `;
  }
  text +=
    "The only way to restore a swarm that has lost consensus is to reinitialize it with `--force-new-cluster`. Use `--force` to suppress this message.";
  return new EngineError("unavailable", text, { retryable: false });
}
