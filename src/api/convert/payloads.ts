/** Secrets and configs in the API. */

import { create } from "@bufbuild/protobuf";
import type { Config as ConfigJson } from "#wire/docker/configs.ts";
import type { Secret as SecretJson } from "#wire/docker/secrets.ts";
import type { Config, Secret } from "#wire/gen/swarmkit/objects_pb.js";
import {
  type ConfigSpec,
  ConfigSpecSchema,
  type SecretSpec,
  SecretSpecSchema,
} from "#wire/gen/swarmkit/specs_pb.js";
import {
  annotationsFromJson,
  annotationsToJson,
  driverFromJson,
  driverToJson,
  metaToJson,
} from "./common.ts";
import type { JsonObject } from "./read-json.ts";
import { base64OrNone, compact } from "./write-json.ts";

export function secretSpecFromJson(json: JsonObject): SecretSpec {
  return create(SecretSpecSchema, {
    annotations: annotationsFromJson(json),
    data: json.bytes("Data"),
    templating: driverFromJson(json.object("Templating")),
    driver: driverFromJson(json.since(31).object("Driver")),
  });
}

/** Without the data, whatever the object holds. */
export function secretToJson(secret: Secret): SecretJson {
  const { annotations, driver, templating } = secret.spec ?? {};
  return {
    ...metaToJson(secret),
    Spec: compact({
      ...annotationsToJson(annotations),
      Driver: driver && driverToJson(driver),
      Templating: templating && driverToJson(templating),
    }),
  };
}

export function configSpecFromJson(json: JsonObject): ConfigSpec {
  return create(ConfigSpecSchema, {
    annotations: annotationsFromJson(json),
    data: json.bytes("Data"),
    templating: driverFromJson(json.object("Templating")),
  });
}

export function configToJson(config: Config): ConfigJson {
  const { annotations, templating, data = new Uint8Array() } = config.spec ?? {};
  return {
    ...metaToJson(config),
    Spec: compact({
      ...annotationsToJson(annotations),
      Data: base64OrNone(data),
      Templating: templating && driverToJson(templating),
    }),
  };
}
