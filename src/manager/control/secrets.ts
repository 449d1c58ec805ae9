/**
 * Secrets. Their data goes in and never comes out again here; the dispatcher hands it to the nodes
 * that run a task which needs it. Only labels may change: a new value is a new secret.
 */

import { timingSafeEqual } from "node:crypto";
import { create } from "@bufbuild/protobuf";
import { EngineError, isErrorCode } from "#base/error.ts";
import { SECRET_MAX_BYTES } from "#base/limits.ts";
import type { ReadView, Tx } from "#store/types.ts";
import {
  type CreateSecretRequest,
  type CreateSecretResponse,
  CreateSecretResponseSchema,
  type GetSecretRequest,
  type GetSecretResponse,
  GetSecretResponseSchema,
  type ListSecretsRequest,
  type ListSecretsResponse,
  ListSecretsResponseSchema,
  type RemoveSecretRequest,
  type RemoveSecretResponse,
  RemoveSecretResponseSchema,
  type UpdateSecretRequest,
  type UpdateSecretResponse,
  UpdateSecretResponseSchema,
} from "#wire/gen/swarmkit/control_pb.js";
import { MetaSchema, type Secret, SecretSchema } from "#wire/gen/swarmkit/objects_pb.js";
import { type SecretSpec, SecretSpecSchema } from "#wire/gen/swarmkit/specs_pb.js";
import type { Version } from "#wire/gen/swarmkit/types_pb.js";
import { type ControlContext, freshId, read, write } from "./context.ts";
import { hasLabels, pointsAt } from "./filters.ts";
import { checkFileName } from "./names.ts";
import { refuseReferenced, relabelled } from "./payloads.ts";
import { alreadyExists, invalid, notFound, required, requiredId } from "./refusal.ts";

export async function createSecret(
  context: ControlContext,
  request: CreateSecretRequest,
): Promise<CreateSecretResponse> {
  const { spec } = request;
  checkSecretSpec(spec);
  const secret = create(SecretSchema, { id: freshId(context), spec });
  return write(context, (tx) => {
    addSecret(tx, secret);
    return create(CreateSecretResponseSchema, { secret: redacted(existing(tx, secret.id)) });
  });
}

export async function getSecret(
  context: ControlContext,
  request: GetSecretRequest,
): Promise<GetSecretResponse> {
  const id = requiredId(request.secretId, "secret ID must be provided");
  return create(GetSecretResponseSchema, { secret: redacted(existing(await read(context), id)) });
}

/** Secrets that match any of the names or ids, less those with other labels and internal ones. */
export async function listSecrets(
  context: ControlContext,
  request: ListSecretsRequest,
): Promise<ListSecretsResponse> {
  const view = await read(context);
  const { filters } = request;
  const secrets: Secret[] = [];
  for (const secret of view.all("secret")) {
    if (secret.internal) continue;
    const { name = "", labels } = secret.spec?.annotations ?? {};
    const keep =
      filters === undefined ||
      (pointsAt(filters, secret.id, name) && hasLabels(labels, filters.labels));
    if (keep) secrets.push(redacted(secret));
  }
  return create(ListSecretsResponseSchema, { secrets });
}

export async function updateSecret(
  context: ControlContext,
  request: UpdateSecretRequest,
): Promise<UpdateSecretResponse> {
  const id = requiredId(request.secretId);
  const version = required(request.secretVersion);
  const wanted = required(request.spec);
  return write(context, (tx) => {
    relabelSecret(tx, existing(tx, id), wanted, version);
    return create(UpdateSecretResponseSchema, { secret: redacted(existing(tx, id)) });
  });
}

export function addSecret(tx: Tx, secret: Secret): void {
  try {
    tx.create("secret", secret);
  } catch (error) {
    if (!isErrorCode(error, "already-exists")) throw error;
    throw alreadyExists(`secret ${secret.spec?.annotations?.name ?? ""} already exists`);
  }
}

/** Refuses what would change more than labels. */
export function checkSecretKept(secret: Secret, wanted: SecretSpec): void {
  const spec = secret.spec ?? create(SecretSpecSchema);
  if (
    spec.annotations?.name !== wanted.annotations?.name ||
    (wanted.data.length > 0 && !sameBytes(wanted.data, spec.data))
  ) {
    throw invalid("only updates to Labels are allowed");
  }
}

/** Gives it other labels; everything else must be as it is. */
export function relabelSecret(tx: Tx, secret: Secret, wanted: SecretSpec, version: Version): void {
  checkSecretKept(secret, wanted);
  const spec = secret.spec ?? create(SecretSpecSchema);
  const meta = { ...(secret.meta ?? create(MetaSchema)), version };
  const annotations = relabelled(spec.annotations, wanted.annotations);
  tx.update("secret", { ...secret, meta, spec: { ...spec, annotations } });
}

export async function removeSecret(
  context: ControlContext,
  request: RemoveSecretRequest,
): Promise<RemoveSecretResponse> {
  const id = requiredId(request.secretId, "secret ID must be provided");
  return write(context, (tx) => {
    const secret = tx.get("secret", id);
    if (secret === undefined) throw notFound(`could not find secret ${id}`);
    refuseReferenced(tx, "secret", id, secret.spec?.annotations?.name ?? "");
    tx.delete("secret", id);
    return create(RemoveSecretResponseSchema);
  });
}

function existing(view: ReadView, id: string): Secret {
  const secret = view.get("secret", id);
  if (secret === undefined) throw notFound(`secret ${id} not found`);
  return secret;
}

function redacted(secret: Secret): Secret {
  if (secret.spec === undefined) return secret;
  return { ...secret, spec: { ...secret.spec, data: new Uint8Array() } };
}

export function checkSecretSpec(spec: SecretSpec | undefined): asserts spec is SecretSpec {
  if (spec === undefined) throw invalid();
  checkFileName(spec.annotations);
  if (spec.driver !== undefined) {
    if (spec.driver.name === "") throw invalid("secret driver must have a name");
    // No driver is asked by this engine: the secret would never have a value.
    throw new EngineError("unknown", `plugin "${spec.driver.name}" not found`);
  }
  if (spec.data.length === 0 || spec.data.length >= SECRET_MAX_BYTES) {
    throw invalid(`secret data must be larger than 0 and less than ${SECRET_MAX_BYTES} bytes`);
  }
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}
