/** References to secrets and configs in a container template. */

import { create } from "@bufbuild/protobuf";
import type {
  ConfigReference as ConfigJson,
  FileTarget as FileJson,
  SecretReference as SecretJson,
} from "#wire/docker/tasks.ts";
import {
  type ConfigReference,
  ConfigReferenceSchema,
  type FileTarget,
  FileTargetSchema,
  RuntimeTargetSchema,
  type SecretReference,
  SecretReferenceSchema,
} from "#wire/gen/swarmkit/types_pb.js";
import type { JsonObject } from "./read-json.ts";
import { invalid } from "./refusal.ts";

export function secretReferenceFromJson(json: JsonObject): SecretReference {
  const file = json.object("File");
  return create(SecretReferenceSchema, {
    secretId: json.text("SecretID"),
    secretName: json.text("SecretName"),
    target: file === undefined ? { case: undefined } : { case: "file", value: fileFromJson(file) },
  });
}

/** References without a file have no form in JSON. */
export function secretReferencesToJson(references: readonly SecretReference[]): SecretJson[] {
  return references.flatMap(({ secretId, secretName, target }) => {
    if (target.case !== "file") return [];
    return [{ File: fileToJson(target.value), SecretID: secretId, SecretName: secretName }];
  });
}

export function configReferenceFromJson(json: JsonObject): ConfigReference {
  const file = json.object("File");
  const runtime = json.since(40).object("Runtime");
  if (file !== undefined && runtime !== undefined) {
    throw invalid("invalid Config: cannot specify both File and Runtime");
  }
  if (file === undefined && runtime === undefined) {
    throw invalid("invalid Config: either File or Runtime should be set");
  }
  return create(ConfigReferenceSchema, {
    configId: json.text("ConfigID"),
    configName: json.text("ConfigName"),
    target:
      file === undefined
        ? { case: "runtime", value: create(RuntimeTargetSchema) }
        : { case: "file", value: fileFromJson(file) },
  });
}

export function configReferencesToJson(references: readonly ConfigReference[]): ConfigJson[] {
  return references.flatMap(({ configId, configName, target }): ConfigJson[] => {
    const named = { ConfigID: configId, ConfigName: configName };
    switch (target.case) {
      case "file":
        return [{ File: fileToJson(target.value), ...named }];
      case "runtime":
        return [{ Runtime: {}, ...named }];
      case undefined:
        return [];
    }
  });
}

function fileFromJson(json: JsonObject): FileTarget {
  return create(FileTargetSchema, {
    name: json.text("Name"),
    uid: json.text("UID"),
    gid: json.text("GID"),
    mode: json.uint32("Mode"),
  });
}

function fileToJson(file: FileTarget): FileJson {
  return { Name: file.name, UID: file.uid, GID: file.gid, Mode: file.mode };
}
