/**
 * How far an attempt to join has come, kept until the node has its certificate: an operator may take
 * days to accept it, and knows it by the key that it asked with. Whoever reads the file could come in
 * in its place, so it is as secret as the key of a node.
 */

import { readFile, rm } from "node:fs/promises";
import { EngineError, messageOf } from "#base/error.ts";
import { isMissing } from "#platform/missing.ts";
import { NodeSpec_Availability } from "#wire/gen/swarmkit/specs_pb.js";
import { type SwarmPaths, writeAtomically } from "./paths.ts";

export interface JoinAttempt {
  /** Empty where the node asks without one. */
  readonly token: string;
  readonly availability: NodeSpec_Availability;
  /** Absent before the swarm was asked. */
  readonly asked?: AskedSwarm | undefined;
}

/** What the swarm was asked for, and what it answered. */
export interface AskedSwarm {
  /** PEM of the root that the node was shown, and trusts. */
  readonly rootCert: string;
  /** PEM. */
  readonly privateKey: string;
  readonly nodeId: string;
  /** An operator has to accept the node. */
  readonly pending: boolean;
}

export async function saveJoinAttempt(paths: SwarmPaths, attempt: JoinAttempt): Promise<void> {
  const { token, availability, asked } = attempt;
  const content = {
    Token: token,
    Availability: availability,
    Asked: asked && {
      RootCert: asked.rootCert,
      PrivateKey: asked.privateKey,
      NodeID: asked.nodeId,
      Pending: asked.pending,
    },
  };
  await writeAtomically(paths.joinRequest, JSON.stringify(content), 0o600);
}

/** The node has what it asked for. */
export async function forgetJoinAttempt(paths: SwarmPaths): Promise<void> {
  await rm(paths.joinRequest, { force: true });
}

/** Undefined where no attempt is under way. */
export async function loadJoinAttempt(paths: SwarmPaths): Promise<JoinAttempt | undefined> {
  let text: string;
  try {
    text = await readFile(paths.joinRequest, "utf8");
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
  try {
    return attemptOf(JSON.parse(text));
  } catch (error) {
    const reason = messageOf(error);
    const advice = "Leave the swarm with --force and join again.";
    throw new EngineError("data-loss", `${paths.joinRequest} cannot be read: ${reason}. ${advice}`);
  }
}

function attemptOf(content: unknown): JoinAttempt {
  const { Token, Availability, Asked } = fieldsOf(content);
  if (typeof Token !== "string") throw new Error("no token");
  const { ACTIVE, PAUSE, DRAIN } = NodeSpec_Availability;
  const availability = [ACTIVE, PAUSE, DRAIN].find((each) => each === Availability);
  if (availability === undefined) throw new Error("no availability");
  return {
    token: Token,
    availability,
    asked: Asked === undefined ? undefined : askedOf(fieldsOf(Asked)),
  };
}

function askedOf(fields: Readonly<Record<string, unknown>>): AskedSwarm {
  const { RootCert: rootCert, PrivateKey: privateKey, NodeID: nodeId, Pending } = fields;
  if (
    typeof rootCert !== "string" ||
    typeof privateKey !== "string" ||
    typeof nodeId !== "string"
  ) {
    throw new Error("half of what the swarm was asked for is missing");
  }
  return { rootCert, privateKey, nodeId, pending: Pending === true };
}

function fieldsOf(value: unknown): Readonly<Record<string, unknown>> {
  if (typeof value !== "object" || value === null) throw new Error("not an object");
  return value as Readonly<Record<string, unknown>>;
}
