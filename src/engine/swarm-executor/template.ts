/**
 * The part of Go's text/template that task specs use: `{{.Service.Name}}`, `{{index .Service.Labels
 * "k"}}`, `{{env "X"}}`, `{{join "," .A .B}}`, comments, and the trim markers `{{-` and `-}}`. Pure.
 * What is not understood (pipelines, if, range) is refused by name, never passed through: a half
 * expanded value would start a container with it.
 */

import { err, ok, type Result } from "#base/result.ts";

export type TemplateValue = string | { readonly [key: string]: TemplateValue };

export type TemplateFunction = (...args: readonly string[]) => Result<string>;

export interface TemplateScope {
  readonly data: { readonly [key: string]: TemplateValue };
  readonly functions?: Readonly<Record<string, TemplateFunction>>;
}

const ACTION = /\{\{(-\s)?([\s\S]*?)(\s-)?\}\}/g;
/** A field path, a quoted or raw string, or a word. */
const TOKEN = /\s*(?:(\.[\w.]*)|("(?:[^"\\]|\\.)*")|`([^`]*)`|([\w-]+))/y;

const BUILTIN: Readonly<Record<string, TemplateFunction>> = {
  join: (separator = "", ...parts) => ok(parts.join(separator)),
};

/** The text with every action replaced; the error names the action that could not be. */
export function expandTemplate(text: string, scope: TemplateScope): Result<string> {
  let out = "";
  let end = 0;
  let trimNext = false;
  for (const match of text.matchAll(ACTION)) {
    const [whole, trimLeft, body = "", trimRight] = match;
    let literal = text.slice(end, match.index);
    if (trimNext) literal = literal.trimStart();
    if (trimLeft !== undefined) literal = literal.trimEnd();
    const value = evaluate(body.trim(), scope);
    if (!value.ok) return err(`template: expansion: ${value.error}`);
    out += literal + value.value;
    end = match.index + whole.length;
    trimNext = trimRight !== undefined;
  }
  const rest = text.slice(end);
  if (rest.includes("{{")) return err("template: expansion: unclosed action");
  return ok(out + (trimNext ? rest.trimStart() : rest));
}

/** True if expanding the text could change it. */
export function isTemplate(text: string): boolean {
  return text.includes("{{");
}

function evaluate(body: string, scope: TemplateScope): Result<string> {
  if (/^\/\*[\s\S]*\*\/$/.test(body)) return ok("");
  const values = operands(body, scope);
  if (!values.ok) return values;
  const [first, ...rest] = values.value;
  if (first === undefined) return err("missing value for command");
  if (first.kind === "word") return call(first.text, rest, scope);
  if (rest.length > 0) return err(`unexpected <${first.text}> in operand`);
  return text(first);
}

type Operand =
  | { readonly kind: "word"; readonly text: string }
  | { readonly kind: "value"; readonly text: string; readonly value: TemplateValue };

function operands(body: string, scope: TemplateScope): Result<readonly Operand[]> {
  const found: Operand[] = [];
  TOKEN.lastIndex = 0;
  for (let at = 0; at < body.length; at = TOKEN.lastIndex) {
    TOKEN.lastIndex = at;
    const match = TOKEN.exec(body);
    if (match === null) {
      if (body.slice(at).trim() === "") break;
      return err(`unexpected ${JSON.stringify(body.slice(at).trim())} in operand`);
    }
    const [, path, quoted, raw, word] = match;
    if (path !== undefined) {
      const value = lookup(path, scope.data);
      if (!value.ok) return value;
      found.push({ kind: "value", text: path, value: value.value });
    } else if (quoted !== undefined) {
      const value = unquote(quoted);
      if (!value.ok) return value;
      found.push({ kind: "value", text: quoted, value: value.value });
    } else if (raw !== undefined) found.push({ kind: "value", text: raw, value: raw });
    else found.push({ kind: "word", text: word ?? "" });
  }
  return ok(found);
}

function lookup(path: string, data: TemplateValue): Result<TemplateValue> {
  let value = data;
  for (const field of path.split(".").filter((part) => part !== "")) {
    const next =
      typeof value === "string" || !Object.hasOwn(value, field) ? undefined : value[field];
    if (next === undefined) return err(`can't evaluate field ${field} in <${path}>`);
    value = next;
  }
  return ok(value);
}

function unquote(quoted: string): Result<string> {
  try {
    return ok(JSON.parse(quoted) as string);
  } catch {
    return err(`invalid string ${quoted}`);
  }
}

function call(name: string, args: readonly Operand[], scope: TemplateScope): Result<string> {
  if (name === "index") return index(args);
  const fn = own(scope.functions ?? {}, name) ?? own(BUILTIN, name);
  if (fn === undefined) return err(`function ${JSON.stringify(name)} not defined`);
  const texts: string[] = [];
  for (const arg of args) {
    const value = text(arg);
    if (!value.ok) return value;
    texts.push(value.value);
  }
  return fn(...texts);
}

/** The text is anybody's: "valueOf" must not find what every object inherits. */
function own(
  functions: Readonly<Record<string, TemplateFunction>>,
  name: string,
): TemplateFunction | undefined {
  return Object.hasOwn(functions, name) ? functions[name] : undefined;
}

/** As Go's: a key that a map does not have gives the empty string. */
function index([map, ...keys]: readonly Operand[]): Result<string> {
  if (map?.kind !== "value") return err("index of untyped nil");
  let value: TemplateValue = map.value;
  for (const key of keys) {
    const field = text(key);
    if (!field.ok) return field;
    if (typeof value === "string") return err("can't index a string");
    value = Object.hasOwn(value, field.value) ? (value[field.value] ?? "") : "";
  }
  return text({ kind: "value", text: map.text, value });
}

function text(operand: Operand): Result<string> {
  if (operand.kind === "word") return err(`function ${JSON.stringify(operand.text)} not defined`);
  return ok(print(operand.value));
}

/** As Go prints strings and maps. */
function print(value: TemplateValue): string {
  if (typeof value === "string") return value;
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return `map[${entries.map(([key, inner]) => `${key}:${print(inner)}`).join(" ")}]`;
}
