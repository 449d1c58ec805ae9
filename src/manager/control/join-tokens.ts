/**
 * Join tokens beside the two that every cluster has: for nodes with certain labels, for a number of
 * nodes, or for a while. They are kept in the cluster object, and never shown with it.
 */

import type { MessageInitShape } from "@bufbuild/protobuf";
import { create } from "@bufbuild/protobuf";
import { EngineError } from "#base/error.ts";
import { newId } from "#base/ids.ts";
import { msOfDuration, timestampOf } from "#model/time.ts";
import { generateJoinToken } from "#pki/join-token.ts";
import type { RpcHandlers } from "#platform/grpc/server.ts";
import { digestOfPem } from "#platform/x509/certificate.ts";
import {
  type CreateJoinTokenRequest,
  type CreateJoinTokenResponseSchema,
  type JoinTokens,
} from "#wire/gen/skep/identity_pb.js";
import { NamedJoinTokenSchema, NodeRole } from "#wire/gen/swarmkit/types_pb.js";
import { clusterOf } from "../ca/cluster.ts";
import { type ControlContext, read, write } from "./context.ts";
import { invalid, notFound } from "./refusal.ts";

const TOKENS_MAX = 1_000;
const LABELS_MAX = 64;
const LIFE_MAX_MS = 10 * 365 * 24 * 60 * 60 * 1000;
const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}$/;

export function joinTokenHandlers(context: ControlContext): RpcHandlers<typeof JoinTokens> {
  return {
    create: (request) => createToken(context, request),
    list: async () => ({ tokens: clusterOf(await read(context)).namedJoinTokens }),
    remove: ({ name }) => removeToken(context, name),
  };
}

async function createToken(
  context: ControlContext,
  request: CreateJoinTokenRequest,
): Promise<MessageInitShape<typeof CreateJoinTokenResponseSchema>> {
  const { random, clock } = context;
  const nowMs = clock.nowMs();
  const { role, labels, identityLabels, maxUses } = request;
  const lifeMs = msOfDuration(request.expiresIn);
  const name = request.name === "" ? newId(random).slice(0, 8) : request.name;
  if (!NAME.test(name)) throw invalid(`invalid name of a join token: ${JSON.stringify(name)}`);
  if (role !== NodeRole.WORKER && role !== NodeRole.MANAGER) throw invalid("invalid role");
  for (const names of [Object.keys(labels), Object.keys(identityLabels)]) {
    if (names.length > LABELS_MAX) throw invalid("too many labels");
    if (names.includes("")) throw invalid("a label has no name");
  }
  if (lifeMs !== undefined && (lifeMs <= 0 || lifeMs > LIFE_MAX_MS)) {
    throw invalid("a join token lives between a moment and ten years");
  }
  return write(context, (tx) => {
    const cluster = clusterOf(tx);
    const others = cluster.namedJoinTokens;
    if (others.some((other) => other.name === name)) {
      throw new EngineError("already-exists", `join token ${name} exists already`);
    }
    if (others.length >= TOKENS_MAX) {
      throw new EngineError("resource-exhausted", "the cluster has too many join tokens");
    }
    // During a rotation joiners still find the old root.
    const root = cluster.rootCa?.caCert ?? new Uint8Array();
    const token = create(NamedJoinTokenSchema, {
      name,
      token: generateJoinToken(digestOfPem(root), random),
      role,
      labels,
      identityLabels,
      maxUses,
      createdAt: timestampOf(nowMs),
      ...(lifeMs === undefined ? {} : { expiresAt: timestampOf(nowMs + lifeMs) }),
    });
    tx.update("cluster", { ...cluster, namedJoinTokens: [...others, token] });
    return { token };
  });
}

async function removeToken(context: ControlContext, name: string): Promise<object> {
  return write(context, (tx) => {
    const cluster = clusterOf(tx);
    const kept = cluster.namedJoinTokens.filter((token) => token.name !== name);
    if (kept.length === cluster.namedJoinTokens.length) {
      throw notFound(`join token ${name} not found`);
    }
    tx.update("cluster", { ...cluster, namedJoinTokens: kept });
    return {};
  });
}
