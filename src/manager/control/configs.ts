/**
 * Configs: files for containers that need not be secret. As with secrets, a new value is a new
 * config; unlike them, the data can be read back.
 */

import { create } from "@bufbuild/protobuf";
import { isErrorCode } from "#base/error.ts";
import { CONFIG_MAX_BYTES } from "#base/limits.ts";
import type { ReadView, Tx } from "#store/types.ts";
import {
  type CreateConfigRequest,
  type CreateConfigResponse,
  CreateConfigResponseSchema,
  type GetConfigRequest,
  type GetConfigResponse,
  GetConfigResponseSchema,
  type ListConfigsRequest,
  type ListConfigsResponse,
  ListConfigsResponseSchema,
  type RemoveConfigRequest,
  type RemoveConfigResponse,
  RemoveConfigResponseSchema,
  type UpdateConfigRequest,
  type UpdateConfigResponse,
  UpdateConfigResponseSchema,
} from "#wire/gen/swarmkit/control_pb.js";
import { type Config, ConfigSchema, MetaSchema } from "#wire/gen/swarmkit/objects_pb.js";
import { type ConfigSpec, ConfigSpecSchema } from "#wire/gen/swarmkit/specs_pb.js";
import type { Version } from "#wire/gen/swarmkit/types_pb.js";
import { type ControlContext, freshId, read, write } from "./context.ts";
import { hasLabels, pointsAt } from "./filters.ts";
import { checkFileName } from "./names.ts";
import { refuseReferenced, relabelled } from "./payloads.ts";
import { alreadyExists, invalid, notFound, required, requiredId } from "./refusal.ts";

export async function createConfig(
  context: ControlContext,
  request: CreateConfigRequest,
): Promise<CreateConfigResponse> {
  const { spec } = request;
  checkConfigSpec(spec);
  const config = create(ConfigSchema, { id: freshId(context), spec });
  return write(context, (tx) => {
    addConfig(tx, config);
    return create(CreateConfigResponseSchema, { config: existing(tx, config.id) });
  });
}

export async function getConfig(
  context: ControlContext,
  request: GetConfigRequest,
): Promise<GetConfigResponse> {
  const id = requiredId(request.configId, "config ID must be provided");
  return create(GetConfigResponseSchema, { config: existing(await read(context), id) });
}

/** Configs that match any of the names or ids, less those with other labels. */
export async function listConfigs(
  context: ControlContext,
  request: ListConfigsRequest,
): Promise<ListConfigsResponse> {
  const view = await read(context);
  const { filters } = request;
  const configs: Config[] = [];
  for (const config of view.all("config")) {
    const { name = "", labels } = config.spec?.annotations ?? {};
    const keep =
      filters === undefined ||
      (pointsAt(filters, config.id, name) && hasLabels(labels, filters.labels));
    if (keep) configs.push(config);
  }
  return create(ListConfigsResponseSchema, { configs });
}

export async function updateConfig(
  context: ControlContext,
  request: UpdateConfigRequest,
): Promise<UpdateConfigResponse> {
  const id = requiredId(request.configId);
  const version = required(request.configVersion);
  const wanted = required(request.spec);
  return write(context, (tx) => {
    relabelConfig(tx, existing(tx, id), wanted, version);
    return create(UpdateConfigResponseSchema, { config: existing(tx, id) });
  });
}

export function addConfig(tx: Tx, config: Config): void {
  try {
    tx.create("config", config);
  } catch (error) {
    if (!isErrorCode(error, "already-exists")) throw error;
    throw alreadyExists(`config ${config.spec?.annotations?.name ?? ""} already exists`);
  }
}

/** Refuses what would change more than labels. */
export function checkConfigKept(config: Config, wanted: ConfigSpec): void {
  const spec = config.spec ?? create(ConfigSpecSchema);
  if (
    spec.annotations?.name !== wanted.annotations?.name ||
    (wanted.data.length > 0 && !sameBytes(wanted.data, spec.data))
  ) {
    throw invalid("only updates to Labels are allowed");
  }
}

/** Gives it other labels; everything else must be as it is. */
export function relabelConfig(tx: Tx, config: Config, wanted: ConfigSpec, version: Version): void {
  checkConfigKept(config, wanted);
  const spec = config.spec ?? create(ConfigSpecSchema);
  const meta = { ...(config.meta ?? create(MetaSchema)), version };
  const annotations = relabelled(spec.annotations, wanted.annotations);
  tx.update("config", { ...config, meta, spec: { ...spec, annotations } });
}

export async function removeConfig(
  context: ControlContext,
  request: RemoveConfigRequest,
): Promise<RemoveConfigResponse> {
  const id = requiredId(request.configId, "config ID must be provided");
  return write(context, (tx) => {
    const config = tx.get("config", id);
    if (config === undefined) throw notFound(`could not find config ${id}`);
    refuseReferenced(tx, "config", id, config.spec?.annotations?.name ?? "");
    tx.delete("config", id);
    return create(RemoveConfigResponseSchema);
  });
}

function existing(view: ReadView, id: string): Config {
  const config = view.get("config", id);
  if (config === undefined) throw notFound(`config ${id} not found`);
  return config;
}

export function checkConfigSpec(spec: ConfigSpec | undefined): asserts spec is ConfigSpec {
  if (spec === undefined) throw invalid();
  checkFileName(spec.annotations);
  if (spec.data.length === 0 || spec.data.length >= CONFIG_MAX_BYTES) {
    throw invalid(`config data must be larger than 0 and less than ${CONFIG_MAX_BYTES} bytes`);
  }
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, at) => byte === b[at]);
}
