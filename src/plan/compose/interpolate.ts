/**
 * Variables in a Compose file: `$X`, `${X}`, `${X:-default}`, `${X-default}`, `${X:?error}`,
 * `${X?error}`, `${X:+other}`, `${X+other}` and `$$`; what stands after the operator is itself
 * interpolated. Only values are, never keys, and only in the sections that docker interpolates.
 * Where the schema asks for a number or a boolean, the text that comes out is cast, as docker does.
 */

import type { Mapping, Value } from "./document.ts";
import { isList, isMapping } from "./document.ts";
import { type Path, Refusal } from "./refusal.ts";

export type Lookup = (name: string) => string | undefined;

/** Nesting of `${A:-${B:-…}}`. */
const NESTING_MAX = 20;

class InvalidTemplate extends Error {}
class MissingVariable extends Error {}

/** As `substitute`, and text that is no template stays as it is. */
export function substituteLeniently(text: string, lookup: Lookup): string {
  try {
    return substitute(text, lookup);
  } catch (thrown) {
    if (thrown instanceof InvalidTemplate) return text;
    throw thrown;
  }
}

/** Throws `InvalidTemplate` and `MissingVariable`. */
function substitute(template: string, lookup: Lookup): string {
  return expand(template, lookup, 0);
}

function expand(template: string, lookup: Lookup, nesting: number): string {
  if (nesting > NESTING_MAX) throw new InvalidTemplate(template);
  let out = "";
  let at = 0;
  while (at < template.length) {
    const dollar = template.indexOf("$", at);
    if (dollar < 0) return out + template.slice(at);
    out += template.slice(at, dollar);
    const next = template[dollar + 1];
    const name = /[_a-z][_a-z0-9]*/iy;
    name.lastIndex = dollar + 1;
    const plain = name.exec(template)?.[0];
    if (next === "$") {
      out += "$";
      at = dollar + 2;
    } else if (plain !== undefined) {
      out += lookup(plain) ?? "";
      at = dollar + 1 + plain.length;
    } else if (next === "{") {
      const end = closingBrace(template, dollar + 2);
      out += braced(template.slice(dollar + 2, end), lookup, nesting);
      at = end + 1;
    } else throw new InvalidTemplate(template);
  }
  return out;
}

function closingBrace(template: string, from: number): number {
  let depth = 1;
  for (let at = from; at < template.length; at += 1) {
    if (template.startsWith("${", at)) depth += 1;
    else if (template[at] === "}") depth -= 1;
    if (depth === 0) return at;
  }
  throw new InvalidTemplate(template);
}

function braced(text: string, lookup: Lookup, nesting: number): string {
  const match = /^([_a-z][_a-z0-9]*)(?:(:?[-?+])([\s\S]*))?$/i.exec(text);
  if (match === null) throw new InvalidTemplate(text);
  const [, name = "", operator = "", operand = ""] = match;
  const value = lookup(name);
  const given = value !== undefined && (value !== "" || !operator.startsWith(":"));
  switch (operator.slice(-1)) {
    case "-":
      return given ? value : expand(operand, lookup, nesting + 1);
    case "+":
      return given ? expand(operand, lookup, nesting + 1) : "";
    case "?":
      if (given) return value;
      throw new MissingVariable(
        `required variable ${name} is missing a value${operand === "" ? "" : `: ${expand(operand, lookup, nesting + 1)}`}`,
      );
    default:
      return value ?? "";
  }
}

type Cast = "int" | "float" | "boolean";

/** `*` is any key, `[]` any position of a list. */
const CASTS: ReadonlyMap<string, Cast> = new Map(
  (
    [
      ["services.*.configs.[].mode", "int"],
      ["services.*.secrets.[].mode", "int"],
      ["services.*.healthcheck.retries", "int"],
      ["services.*.healthcheck.disable", "boolean"],
      ["services.*.deploy.replicas", "int"],
      ["services.*.deploy.update_config.parallelism", "int"],
      ["services.*.deploy.update_config.max_failure_ratio", "float"],
      ["services.*.deploy.rollback_config.parallelism", "int"],
      ["services.*.deploy.rollback_config.max_failure_ratio", "float"],
      ["services.*.deploy.restart_policy.max_attempts", "int"],
      ["services.*.deploy.placement.max_replicas_per_node", "int"],
      ["services.*.deploy.resources.limits.pids", "int"],
      ["services.*.ports.[].target", "int"],
      ["services.*.ports.[].published", "int"],
      ["services.*.ulimits.*", "int"],
      ["services.*.ulimits.*.hard", "int"],
      ["services.*.ulimits.*.soft", "int"],
      ["services.*.oom_score_adj", "int"],
      ["services.*.init", "boolean"],
      ["services.*.privileged", "boolean"],
      ["services.*.read_only", "boolean"],
      ["services.*.stdin_open", "boolean"],
      ["services.*.tty", "boolean"],
      ["services.*.volumes.[].read_only", "boolean"],
      ["services.*.volumes.[].volume.nocopy", "boolean"],
      ["services.*.volumes.[].tmpfs.size", "int"],
      ["networks.*.external", "boolean"],
      ["networks.*.internal", "boolean"],
      ["networks.*.attachable", "boolean"],
      ["volumes.*.external", "boolean"],
      ["secrets.*.external", "boolean"],
      ["configs.*.external", "boolean"],
    ] as const
  ).map(([path, cast]) => [path, cast]),
);
const SECTIONS = ["services", "volumes", "networks", "secrets", "configs"] as const;

/** The document with its variables replaced. Throws `Refusal` at the value's place. */
export function interpolate(root: Mapping, lookup: Lookup): Mapping {
  const replaced = Object.entries(root).map(([section, value]): [string, Value] => {
    if (!(SECTIONS as readonly string[]).includes(section)) return [section, value];
    return [section, walk(value, [section], section, lookup)];
  });
  return Object.fromEntries(replaced);
}

/** `pattern` is the path as `CASTS` names it. */
function walk(value: Value, path: Path, pattern: string, lookup: Lookup): Value {
  if (typeof value === "string") return replace(value, path, pattern, lookup);
  if (isList(value)) {
    return value.map((item, index) =>
      walk(item, [...path, String(index)], `${pattern}.[]`, lookup),
    );
  }
  if (!isMapping(value)) return value;
  const children = Object.entries(value).map(([key, child]): [string, Value] => {
    const named = path.length === 1 || pattern === "services.*.ulimits";
    return [key, walk(child, [...path, key], `${pattern}.${named ? "*" : key}`, lookup)];
  });
  return Object.fromEntries(children);
}

function replace(text: string, path: Path, pattern: string, lookup: Lookup): Value {
  // docker's error names a list's position as "[]".
  const shown = path.map((part, at) => (pattern.split(".")[at] === "[]" ? "[]" : part)).join(".");
  let out: string;
  try {
    out = substitute(text, lookup);
  } catch (thrown) {
    if (thrown instanceof InvalidTemplate) {
      throw new Refusal(
        `invalid interpolation format for ${shown}: ${JSON.stringify(text)}; you may need to escape any $ with another $`,
        path,
      );
    }
    if (!(thrown instanceof MissingVariable)) throw thrown;
    throw new Refusal(`error while interpolating ${shown}: ${thrown.message}`, path);
  }
  const cast = CASTS.get(pattern);
  // Without a variable as well, where docker refuses: `tty: on` and `replicas: "2"` mean one thing only.
  if (cast === undefined) return out;
  const value = castTo(cast, out);
  if (typeof value === "object") {
    throw new Refusal(
      `error while interpolating ${shown}: failed to cast to expected type: ${value.problem}`,
      path,
    );
  }
  return value;
}

function castTo(cast: Cast, text: string): number | boolean | { readonly problem: string } {
  const quoted = JSON.stringify(text);
  switch (cast) {
    case "int":
      return /^[-+]?\d+$/.test(text)
        ? Number(text)
        : { problem: `strconv.Atoi: parsing ${quoted}: invalid syntax` };
    case "float":
      return text.trim() !== "" && Number.isFinite(Number(text))
        ? Number(text)
        : { problem: `strconv.ParseFloat: parsing ${quoted}: invalid syntax` };
    case "boolean": {
      const lower = text.toLowerCase();
      if (["true", "y", "yes", "on"].includes(lower)) return true;
      if (["false", "n", "no", "off"].includes(lower)) return false;
      return { problem: `invalid boolean: ${text}` };
    }
  }
}
