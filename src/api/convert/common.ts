/** Conversions that several swarm objects need. */

import { create } from "@bufbuild/protobuf";
import { type Duration, DurationSchema } from "@bufbuild/protobuf/wkt";
import type {
  Annotations as AnnotationsJson,
  Driver as DriverJson,
  GenericResource as GenericResourceJson,
  ObjectMeta,
  Platform as PlatformJson,
} from "#wire/docker/common.ts";
import type { Meta } from "#wire/gen/swarmkit/objects_pb.js";
import {
  type Annotations,
  AnnotationsSchema,
  type Driver,
  DriverSchema,
  type GenericResource,
  GenericResourceSchema,
  type Platform,
} from "#wire/gen/swarmkit/types_pb.js";
import type { JsonObject } from "./read-json.ts";
import {
  compact,
  listOrNone,
  mapOrNone,
  numberOrNone,
  textOrNone,
  timeText,
} from "./write-json.ts";

export function metaToJson(object: {
  readonly id: string;
  readonly meta?: Meta | undefined;
}): ObjectMeta {
  const { id, meta } = object;
  return {
    ID: id,
    Version: compact({ Index: numberOrNone(meta?.version?.index ?? 0n) }),
    CreatedAt: timeText(meta?.createdAt),
    UpdatedAt: timeText(meta?.updatedAt),
  };
}

export function annotationsToJson(annotations: Annotations | undefined): AnnotationsJson {
  const { name = "", labels = {} } = annotations ?? {};
  return compact({ Name: textOrNone(name), Labels: labels });
}

export function annotationsFromJson(json: JsonObject): Annotations {
  return create(AnnotationsSchema, { name: json.text("Name"), labels: json.map("Labels") });
}

export function driverToJson(driver: Driver): DriverJson {
  return compact({ Name: textOrNone(driver.name), Options: mapOrNone(driver.options) });
}

export function driverFromJson(json: JsonObject | undefined): Driver | undefined {
  if (json === undefined) return undefined;
  return create(DriverSchema, { name: json.text("Name"), options: json.map("Options") });
}

export function platformToJson(platform: Platform | undefined): PlatformJson {
  const { architecture = "", os = "" } = platform ?? {};
  return compact({ Architecture: textOrNone(architecture), OS: textOrNone(os) });
}

export function genericResourcesToJson(
  resources: readonly GenericResource[],
): readonly GenericResourceJson[] | undefined {
  return listOrNone(resources.flatMap(({ resource }) => genericResourceToJson(resource)));
}

function genericResourceToJson(resource: GenericResource["resource"]): GenericResourceJson[] {
  switch (resource.case) {
    case "namedResourceSpec": {
      const { kind, value } = resource.value;
      return [{ NamedResourceSpec: compact({ Kind: textOrNone(kind), Value: textOrNone(value) }) }];
    }
    case "discreteResourceSpec": {
      const { kind, value } = resource.value;
      return [
        { DiscreteResourceSpec: compact({ Kind: textOrNone(kind), Value: numberOrNone(value) }) },
      ];
    }
    case undefined:
      return [];
  }
}

export function genericResourcesFromJson(list: readonly JsonObject[]): GenericResource[] {
  return list.flatMap((json) => {
    const discrete = json.object("DiscreteResourceSpec");
    if (discrete !== undefined) {
      const value = { kind: discrete.text("Kind"), value: discrete.int64("Value") };
      return create(GenericResourceSchema, { resource: { case: "discreteResourceSpec", value } });
    }
    const one = json.object("NamedResourceSpec");
    if (one === undefined) return [];
    const value = { kind: one.text("Kind"), value: one.text("Value") };
    return create(GenericResourceSchema, { resource: { case: "namedResourceSpec", value } });
  });
}

/** A duration in nanoseconds that may be left out. */
export function durationFromJson(json: JsonObject, name: string): Duration | undefined {
  return json.has(name) ? durationOf(json.int64(name)) : undefined;
}

export function durationOf(ns: bigint): Duration {
  return create(DurationSchema, {
    seconds: ns / 1_000_000_000n,
    nanos: Number(ns % 1_000_000_000n),
  });
}
