/** `--mount type=…,source=…,target=…`: the fields of docker's command line, and what it refuses. */

import { parseBytes } from "#base/bytes.ts";
import { EngineError } from "#base/error.ts";
import type { MountRequest } from "#wire/docker/containers.ts";
import { parseBool } from "../pflag.ts";

type Options = Readonly<Record<string, unknown>>;
/** What a field adds to the options of its mount type. */
type Field = (value: string, field: string, before: Options) => Options;

const NAMES: Readonly<Record<string, string>> = {
  src: "source",
  dst: "target",
  destination: "target",
  ro: "readonly",
};

const FIELDS: Readonly<Record<string, Field>> = {
  "bind-propagation": (Propagation) => ({ Propagation: Propagation.toLowerCase() }),
  "bind-nonrecursive": (value, field) => ({ NonRecursive: truth(value, field) }),
  "bind-recursive": (value) => recursion(value),
  "bind-create-src": (value, field) => ({ CreateMountpoint: truth(value, field) }),
  "volume-subpath": (Subpath) => ({ Subpath }),
  "volume-nocopy": (value, field) => ({ NoCopy: truth(value, field) }),
  "volume-label": (value, _field, { Labels }) => ({ Labels: withPair(Labels, value) }),
  "volume-driver": (Name, _field, { DriverConfig }) => ({
    DriverConfig: { ...(DriverConfig as Options | undefined), Name },
  }),
  "volume-opt": (value, _field, { DriverConfig }) => {
    const driver = DriverConfig as Options | undefined;
    return { DriverConfig: { ...driver, Options: withPair(driver?.["Options"], value) } };
  },
  "image-subpath": (Subpath) => ({ Subpath }),
  "tmpfs-size": (value, field) => ({ SizeBytes: size(value, field) }),
  "tmpfs-mode": (value, field) => ({ Mode: fileMode(value, field) }),
};

const OPTIONS = { bind: "BindOptions", volume: "VolumeOptions", tmpfs: "TmpfsOptions" } as const;

export function parseMount(spec: string): MountRequest {
  const plain = new Map<string, string>();
  const options = new Map<string, Options>();
  for (const part of csvFields(spec)) {
    const [key, value] = keyAndValue(part);
    const field = FIELDS[key];
    if (field !== undefined) {
      const [type = ""] = key.split("-");
      const before = options.get(type) ?? {};
      options.set(type, { ...before, ...field(value, key, before) });
    } else if (["type", "source", "target", "readonly", "consistency"].includes(key)) {
      plain.set(key, value);
    } else throw refused(`unexpected key '${key}' in '${part}'`);
  }
  const type = (plain.get("type") ?? "volume").toLowerCase();
  const target = plain.get("target") ?? "";
  if (target === "") throw refused("target is required");
  for (const other of options.keys()) {
    if (other !== type) throw refused(`cannot mix '${other}-*' options with mount type '${type}'`);
  }
  const source = plain.get("source");
  const consistency = plain.get("consistency");
  const own = options.get(type);
  return {
    Type: type as MountRequest["Type"],
    Target: target,
    ...(source === undefined ? {} : { Source: source }),
    ...(plain.has("readonly") ? { ReadOnly: truth(plain.get("readonly") ?? "", "readonly") } : {}),
    ...(consistency === undefined ? {} : { Consistency: consistency.toLowerCase() }),
    ...(own === undefined ? {} : { [optionsOf(type)]: own }),
  };
}

function optionsOf(type: string): string {
  return Object.hasOwn(OPTIONS, type) ? OPTIONS[type as keyof typeof OPTIONS] : "ImageOptions";
}

/** Parted by commas; a part in quotes may have some, as in `"volume-opt=o=a,b"`. */
function csvFields(line: string): readonly string[] {
  const parts = line.match(/(?<=^|,)(?:"(?:[^"]|"")*"|[^,]*)(?=,|$)/g) ?? [];
  return parts.map((part) =>
    part.startsWith('"') && part.length > 1 ? part.slice(1, -1).replaceAll('""', '"') : part,
  );
}

/** Only some may stand alone, and mean yes then. */
function keyAndValue(part: string): readonly [key: string, value: string] {
  const equals = part.indexOf("=");
  const given = (equals < 0 ? part : part.slice(0, equals)).toLowerCase();
  const key = Object.hasOwn(NAMES, given) ? (NAMES[given] ?? given) : given;
  if (equals >= 0) return [key, part.slice(equals + 1)];
  if (["readonly", "bind-nonrecursive", "volume-nocopy", "bind-create-src"].includes(key)) {
    return [key, "true"];
  }
  throw refused(`invalid field '${part}' must be a key=value pair`);
}

function recursion(value: string): Options {
  switch (value) {
    case "enabled":
      return {};
    case "disabled":
      return { NonRecursive: true };
    case "writable":
      return { ReadOnlyNonRecursive: true };
    case "readonly":
      return { ReadOnlyForceRecursive: true };
    default:
      throw refused(
        `invalid value for bind-recursive: ${value} (must be "enabled", "disabled", "writable", or "readonly")`,
      );
  }
}

function withPair(before: unknown, text: string): Options {
  const [name = "", ...rest] = text.split("=");
  return { ...(before as Options | undefined), [name]: rest.join("=") };
}

function truth(value: string, field: string): boolean {
  const parsed = parseBool(value);
  if (parsed !== undefined) return parsed;
  throw refused(`invalid value for ${field}: ${value}`);
}

function size(value: string, field: string): number {
  const bytes = parseBytes(value);
  if (!bytes.ok) throw refused(`invalid value for ${field}: ${value}`);
  return bytes.value;
}

function fileMode(value: string, field: string): number {
  if (!/^[0-7]{1,11}$/.test(value)) throw refused(`invalid value for ${field}: ${value}`);
  return Number.parseInt(value, 8);
}

/** As docker's command line words what it cannot read. */
function refused(reason: string): EngineError {
  return new EngineError("invalid-argument", `invalid argument for "--mount" flag: ${reason}`);
}
