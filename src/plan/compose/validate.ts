/** A document against the schema of its version; the messages are docker's, at the value's place. */

import { isList, isMapping, type Mapping, type Value } from "./document.ts";
import { type Path, Refusal } from "./refusal.ts";
import {
  COMPOSE_FILE,
  keySchema,
  NEWEST_MINOR,
  type Schema,
  TODAY,
  type TypeName,
} from "./schema.ts";

/** Minor version of "3.8". Throws `Refusal`. */
export function minorVersion(root: Mapping): number {
  const { version } = root;
  if (version === undefined) return TODAY;
  if (typeof version !== "string") throw new Refusal("version must be a string", ["version"]);
  if (version === "3") return NEWEST_MINOR;
  const match = /^3\.(\d+)$/.exec(version);
  const minor = Number(match?.[1] ?? Number.NaN);
  if (!(minor <= NEWEST_MINOR)) {
    throw new Refusal(`unsupported Compose file version: ${version}`, ["version"]);
  }
  return minor;
}

/** Throws the first `Refusal` in the document's order. */
export function validate(root: Mapping, minor: number): void {
  check(root, COMPOSE_FILE, minor, []);
}

function check(value: Value, schema: Schema, minor: number, path: Path): void {
  switch (schema.kind) {
    case "any":
      return;
    case "scalar":
      return checkScalar(value, schema, path);
    case "list":
      if (!isList(value)) throw mustBe(path, ["array"]);
      for (const [index, item] of value.entries()) {
        check(item, schema.items, minor, [...path, String(index)]);
      }
      return;
    case "map":
      if (!isMapping(value)) throw mustBe(path, ["object"]);
      for (const [key, item] of Object.entries(value)) {
        check(item, schema.values, minor, [...path, key]);
      }
      return;
    case "object":
      return checkObject(value, schema, minor, path);
    case "oneOf": {
      const option = schema.options.find((candidate) => typeFits(value, candidate));
      const [first] = schema.options;
      check(value, option ?? first ?? { kind: "any" }, minor, path);
    }
  }
}

function checkScalar(
  value: Value,
  { types, minimum }: Extract<Schema, { readonly kind: "scalar" }>,
  path: Path,
): void {
  if (!types.some((type) => isType(value, type))) throw mustBe(path, types);
  if (minimum !== undefined && typeof value === "number" && value < minimum) {
    throw new Refusal(`${shown(path)} Must be greater than or equal to ${minimum}`, path);
  }
}

function checkObject(
  value: Value,
  schema: Extract<Schema, { readonly kind: "object" }>,
  minor: number,
  path: Path,
): void {
  if (value === null && schema.orNull === true) return;
  if (!isMapping(value))
    throw mustBe(path, schema.orNull === true ? ["object", "null"] : ["object"]);
  for (const required of schema.required ?? []) {
    if (!(required in value)) throw new Refusal(`${shown(path)} ${required} is required`, path);
  }
  for (const [key, item] of Object.entries(value)) {
    const found = Object.hasOwn(schema.keys, key) ? schema.keys[key] : undefined;
    const known = found === undefined ? undefined : keySchema(found);
    if (known !== undefined && known.since <= minor) {
      check(item, known.schema, minor, [...path, key]);
    } else if (
      !key.startsWith("x-") ||
      schema.extensions === undefined ||
      minor < schema.extensions
    ) {
      throw new Refusal(`${shown(path)} Additional property ${key} is not allowed`, [...path, key]);
    }
  }
}

function typeFits(value: Value, schema: Schema): boolean {
  switch (schema.kind) {
    case "any":
      return true;
    case "scalar":
      return schema.types.some((type) => isType(value, type));
    case "list":
      return isList(value);
    case "map":
      return isMapping(value);
    case "object":
      return isMapping(value) || (value === null && schema.orNull === true);
    case "oneOf":
      return schema.options.some((option) => typeFits(value, option));
  }
}

function isType(value: Value, type: TypeName): boolean {
  switch (type) {
    case "null":
      return value === null;
    case "array":
      return isList(value);
    case "object":
      return isMapping(value);
    case "integer":
      return typeof value === "number" && Number.isInteger(value);
    case "boolean":
    case "number":
    case "string":
      return typeof value === type;
  }
}

const TYPE_WORDS: Readonly<Partial<Record<TypeName, string>>> = {
  object: "mapping",
  array: "list",
};

function mustBe(path: Path, types: readonly TypeName[]): Refusal {
  const words = types.map((type) => TYPE_WORDS[type] ?? type);
  const last = words.at(-1) ?? "";
  const named = words.length === 1 ? last : `${words.slice(0, -1).join(", ")} or ${last}`;
  return new Refusal(`${shown(path)} must be a ${named}`, path);
}

function shown(path: Path): string {
  return path.length === 0 ? "(root)" : path.join(".");
}
