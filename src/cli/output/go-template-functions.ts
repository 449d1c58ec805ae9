/** The functions of Go's text/template and docker's own (json, join, pad and others), over plain JSON data. */

import { EngineError } from "#base/error.ts";

export function entriesOf(value: unknown): readonly (readonly [unknown, unknown])[] {
  if (Array.isArray(value)) return [...(value as readonly unknown[]).entries()];
  if (typeof value === "object" && value !== null) {
    return Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  }
  if (value === null || value === undefined) return [];
  throw new EngineError("invalid-argument", `template: range can't iterate over ${show(value)}`);
}

export function truthy(value: unknown): boolean {
  if (value === null || value === undefined || value === false || value === 0 || value === "") {
    return false;
  }
  if (Array.isArray(value)) return value.length > 0;
  return typeof value !== "object" || Object.keys(value).length > 0;
}

/** A value as Go's `%v` prints it. */
export function show(value: unknown): string {
  if (value === undefined) return "<no value>";
  if (value === null) return "<nil>";
  if (Array.isArray(value)) return `[${value.map(show).join(" ")}]`;
  if (typeof value === "object") {
    const pairs = entriesOf(value).map(([key, item]) => `${String(key)}:${show(item)}`);
    return `map[${pairs.join(" ")}]`;
  }
  return `${value as string | number | boolean | bigint}`;
}

function compare(a: unknown, b: unknown): number {
  if (typeof a === "number" && typeof b === "number") return a - b;
  const left = show(a);
  const right = show(b);
  if (left === right) return 0;
  return left < right ? -1 : 1;
}

/** Go's encoding/json escapes these for HTML's sake, and `docker --format json` shows it. */
function goJson(value: unknown): string {
  return JSON.stringify(value ?? null).replace(
    /[<>&\u2028\u2029]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

function printf(format: unknown, ...args: readonly unknown[]): string {
  let next = 0;
  return String(format).replace(/%(-?)(\d*)(?:\.(\d+))?([sdvqtfx%])/g, (_all, ...groups) => {
    const [minus, width, precision, verb] = groups as [string, string, string | undefined, string];
    if (verb === "%") return "%";
    const value = args[next++];
    let text = show(value);
    if (verb === "s" && precision !== undefined) text = text.slice(0, Number(precision));
    if (verb === "q") text = JSON.stringify(text);
    if (verb === "f") text = Number(value).toFixed(precision === undefined ? 6 : Number(precision));
    if (verb === "x" && typeof value === "number") text = value.toString(16);
    return minus === "-" ? text.padEnd(Number(width)) : text.padStart(Number(width));
  });
}

export const FUNCTIONS: Readonly<Record<string, (...args: readonly unknown[]) => unknown>> = {
  json: goJson,
  join: (list, separator) => (Array.isArray(list) ? list : []).map(show).join(String(separator)),
  split: (text, separator) => show(text).split(String(separator)),
  lower: (text) => show(text).toLowerCase(),
  upper: (text) => show(text).toUpperCase(),
  title: (text) => show(text).replace(/(^|\s)\S/g, (first) => first.toUpperCase()),
  pad: (text, before, after) =>
    text === "" ? "" : `${" ".repeat(Number(before))}${show(text)}${" ".repeat(Number(after))}`,
  truncate: (text, length) => show(text).slice(0, Number(length)),
  println: (...args) => `${args.map(show).join(" ")}\n`,
  print: (...args) => args.map(show).join(""),
  printf,
  len: (value) => (typeof value === "string" ? value.length : entriesOf(value).length),
  index: (value, ...keys) =>
    keys.reduce<unknown>((inner, key) => {
      if (Array.isArray(inner)) return inner[Number(key)] as unknown;
      const name = String(key);
      if (typeof inner !== "object" || inner === null || !Object.hasOwn(inner, name)) return "";
      return (inner as Readonly<Record<string, unknown>>)[name] ?? "";
    }, value),
  eq: (first, ...others) => others.some((other) => compare(first, other) === 0),
  ne: (a, b) => compare(a, b) !== 0,
  lt: (a, b) => compare(a, b) < 0,
  le: (a, b) => compare(a, b) <= 0,
  gt: (a, b) => compare(a, b) > 0,
  ge: (a, b) => compare(a, b) >= 0,
  not: (value) => !truthy(value),
  and: (...args) => args.find((value) => !truthy(value)) ?? args.at(-1),
  or: (...args) => args.find(truthy) ?? args.at(-1),
};
