/** Mounts of service containers. */

import { create } from "@bufbuild/protobuf";
import type { ServiceMount } from "#wire/docker/tasks.ts";
import {
  type Mount,
  type Mount_BindOptions,
  Mount_BindOptions_Propagation,
  Mount_BindOptionsSchema,
  Mount_Consistency,
  type Mount_TmpfsOptions,
  Mount_TmpfsOptionsSchema,
  Mount_Type,
  type Mount_VolumeOptions,
  Mount_VolumeOptionsSchema,
  MountSchema,
} from "#wire/gen/swarmkit/types_pb.js";
import { driverFromJson, driverToJson } from "./common.ts";
import type { JsonObject } from "./read-json.ts";
import { named, nameOf } from "./refusal.ts";
import { compact, mapOrNone, numberOrNone, textOrNone, trueOrNone } from "./write-json.ts";

const TYPES = {
  bind: Mount_Type.BIND,
  volume: Mount_Type.VOLUME,
  tmpfs: Mount_Type.TMPFS,
  npipe: Mount_Type.NPIPE,
  cluster: Mount_Type.CLUSTER,
} as const;

const PROPAGATIONS = {
  rprivate: Mount_BindOptions_Propagation.RPRIVATE,
  private: Mount_BindOptions_Propagation.PRIVATE,
  rshared: Mount_BindOptions_Propagation.RSHARED,
  shared: Mount_BindOptions_Propagation.SHARED,
  rslave: Mount_BindOptions_Propagation.RSLAVE,
  slave: Mount_BindOptions_Propagation.SLAVE,
} as const;

const CONSISTENCIES = {
  default: Mount_Consistency.DEFAULT,
  consistent: Mount_Consistency.CONSISTENT,
  cached: Mount_Consistency.CACHED,
  delegated: Mount_Consistency.DELEGATED,
} as const;

export function mountFromJson(json: JsonObject): Mount {
  return create(MountSchema, {
    type: named(TYPES, json.text("Type"), Mount_Type.BIND, (v) => `invalid MountType: ${v}`),
    source: json.text("Source"),
    target: json.text("Target"),
    readonly: json.flag("ReadOnly"),
    consistency: named(
      CONSISTENCIES,
      json.text("Consistency"),
      Mount_Consistency.DEFAULT,
      (v) => `invalid mount consistency: ${v}`,
    ),
    bindOptions: bindFromJson(json.object("BindOptions")),
    volumeOptions: volumeFromJson(json.object("VolumeOptions")),
    tmpfsOptions: tmpfsFromJson(json.object("TmpfsOptions")),
  });
}

export function mountToJson(mount: Mount): ServiceMount {
  const { bindOptions, volumeOptions, tmpfsOptions, consistency } = mount;
  return compact({
    Type: nameOf(TYPES, mount.type, "bind"),
    Source: textOrNone(mount.source),
    Target: textOrNone(mount.target),
    ReadOnly: trueOrNone(mount.readonly),
    Consistency: consistencyName(consistency),
    BindOptions: bindOptions && bindToJson(bindOptions),
    VolumeOptions: volumeOptions && volumeToJson(volumeOptions),
    TmpfsOptions: tmpfsOptions && tmpfsToJson(tmpfsOptions),
    ClusterOptions: mount.type === Mount_Type.CLUSTER ? {} : undefined,
  });
}

function consistencyName(value: Mount_Consistency): ServiceMount["Consistency"] {
  const name = nameOf(CONSISTENCIES, value, "default");
  return name === "default" ? undefined : name;
}

/** Options that say nothing are none, as docker reads them. */
function bindFromJson(json: JsonObject | undefined): Mount_BindOptions | undefined {
  if (json === undefined) return undefined;
  const since44 = json.since(44);
  const propagation = json.text("Propagation");
  const flags = {
    nonrecursive: json.flag("NonRecursive"),
    createmountpoint: json.since(42).flag("CreateMountpoint"),
    readonlynonrecursive: since44.flag("ReadOnlyNonRecursive"),
    readonlyforcerecursive: since44.flag("ReadOnlyForceRecursive"),
  };
  if (propagation === "" && !Object.values(flags).includes(true)) return undefined;
  return create(Mount_BindOptionsSchema, {
    ...flags,
    propagation: named(
      PROPAGATIONS,
      propagation,
      Mount_BindOptions_Propagation.RPRIVATE,
      (v) => `invalid MountPropagation: ${v}`,
    ),
  });
}

function bindToJson(options: Mount_BindOptions): ServiceMount["BindOptions"] & object {
  return compact({
    Propagation: nameOf(PROPAGATIONS, options.propagation, "rprivate"),
    NonRecursive: trueOrNone(options.nonrecursive),
    CreateMountpoint: trueOrNone(options.createmountpoint),
    ReadOnlyNonRecursive: trueOrNone(options.readonlynonrecursive),
    ReadOnlyForceRecursive: trueOrNone(options.readonlyforcerecursive),
  });
}

function volumeFromJson(json: JsonObject | undefined): Mount_VolumeOptions | undefined {
  if (json === undefined) return undefined;
  return create(Mount_VolumeOptionsSchema, {
    nocopy: json.flag("NoCopy"),
    labels: json.map("Labels"),
    subpath: json.since(45).text("Subpath"),
    driverConfig: driverFromJson(json.object("DriverConfig")),
  });
}

function volumeToJson(options: Mount_VolumeOptions): ServiceMount["VolumeOptions"] & object {
  const { driverConfig } = options;
  return compact({
    NoCopy: trueOrNone(options.nocopy),
    Labels: mapOrNone(options.labels),
    Subpath: textOrNone(options.subpath),
    DriverConfig: driverConfig && driverToJson(driverConfig),
  });
}

/** Mount options travel as JSON in one string: `[["noexec"],["uid","1000"]]`. */
function tmpfsFromJson(json: JsonObject | undefined): Mount_TmpfsOptions | undefined {
  if (json === undefined) return undefined;
  const options = json.since(46).textLists("Options");
  return create(Mount_TmpfsOptionsSchema, {
    sizeBytes: json.int64("SizeBytes"),
    mode: json.uint32("Mode"),
    options: options.length === 0 ? "" : JSON.stringify(options),
  });
}

function tmpfsToJson(options: Mount_TmpfsOptions): ServiceMount["TmpfsOptions"] & object {
  return compact({
    SizeBytes: numberOrNone(options.sizeBytes),
    Mode: numberOrNone(options.mode),
    Options: parsedOptions(options.options),
  });
}

/** What another manager wrote may be anything; what is not options is not shown. */
function parsedOptions(text: string): string[][] | undefined {
  if (text === "") return undefined;
  try {
    const parsed: unknown = JSON.parse(text);
    if (!Array.isArray(parsed)) return undefined;
    return parsed.map((row) => (Array.isArray(row) ? row.map(String) : [String(row)]));
  } catch {
    return undefined;
  }
}
