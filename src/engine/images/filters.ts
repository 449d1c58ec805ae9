/**
 * Filters of lists and prunes, as docker reads them: unknown keys are refused, labels are `key` or
 * `key=value`, times are durations back from now, RFC 3339 or seconds since the epoch.
 */

import { parseDuration } from "#base/duration.ts";
import { EngineError } from "#base/error.ts";
import type { Filters } from "../ports.ts";

export function checkFilters(filters: Filters, known: readonly string[]): void {
  for (const key of filters.keys()) {
    if (!known.includes(key)) {
      throw new EngineError("invalid-argument", `invalid filter '${key}'`);
    }
  }
}

/** True when every wanted label is there. */
export function matchesLabels(
  wanted: readonly string[] | undefined,
  labels: Readonly<Record<string, string>> | null | undefined,
): boolean {
  return (wanted ?? []).every((filter) => hasLabel(filter, labels));
}

/** True when none of the unwanted labels is there (`label!`). */
export function lacksLabels(
  unwanted: readonly string[] | undefined,
  labels: Readonly<Record<string, string>> | null | undefined,
): boolean {
  return !(unwanted ?? []).some((filter) => hasLabel(filter, labels));
}

function hasLabel(
  filter: string,
  labels: Readonly<Record<string, string>> | null | undefined,
): boolean {
  const equals = filter.indexOf("=");
  const key = equals === -1 ? filter : filter.slice(0, equals);
  const value = labels?.[key];
  if (value === undefined) return false;
  return equals === -1 || value === filter.slice(equals + 1);
}

/** A filter with a truth value; undefined when it is not given. */
export function readFlag(filters: Filters, key: string): boolean | undefined {
  const values = filters.get(key);
  if (values === undefined || values.length === 0) return undefined;
  const [yes, no] = [
    values.some((value) => ["1", "true", "t", "TRUE", "True"].includes(value)),
    values.some((value) => ["0", "false", "f", "FALSE", "False"].includes(value)),
  ];
  if (yes === no) {
    throw new EngineError("invalid-argument", `invalid filter '${key}=[${values.join(" ")}]'`);
  }
  return yes;
}

/** The moment of an `until` filter in milliseconds since the epoch; undefined when not given. */
export function readUntil(filters: Filters, nowMs: number): number | undefined {
  const values = filters.get("until") ?? [];
  if (values.length > 1) {
    throw new EngineError("invalid-argument", "more than one until filter specified");
  }
  const [value] = values;
  return value === undefined ? undefined : parseMoment(value, nowMs);
}

export function parseMoment(text: string, nowMs: number): number {
  const duration = parseDuration(text);
  if (duration.ok) return nowMs - duration.value / 1_000_000;
  if (/^\d+(?:\.\d+)?$/.test(text)) return Number(text) * 1000;
  const hasZone = /(?:Z|[+-]\d\d:\d\d)$/.test(text);
  const parsed = Date.parse(hasZone ? text : `${text}${text.includes("T") ? "" : "T00:00:00"}Z`);
  if (Number.isNaN(parsed)) {
    throw new EngineError("invalid-argument", `invalid time value: ${text}`);
  }
  return parsed;
}

/** Go's `path.Match`: `*` and `?` stop at a slash, `[a-z]` and `[^a-z]` are classes. */
export function pathMatch(pattern: string, text: string): boolean {
  let source = "";
  for (let at = 0; at < pattern.length; at += 1) {
    const character = pattern.charAt(at);
    if (character === "*") source += "[^/]*";
    else if (character === "?") source += "[^/]";
    else if (character === "[") {
      const end = pattern.indexOf("]", at + 2);
      if (end === -1) throw badPattern(pattern);
      const body = pattern
        .slice(at + 1, end)
        .replace(/^!/, "\\!")
        .replaceAll("[", "\\[");
      source += `[${body}]`;
      at = end;
    } else if (character === "\\" && at + 1 < pattern.length) {
      at += 1;
      source += escape(pattern.charAt(at));
    } else source += escape(character);
  }
  try {
    return new RegExp(`^${source}$`, "su").test(text);
  } catch {
    throw badPattern(pattern);
  }
}

function badPattern(pattern: string): EngineError {
  return new EngineError("invalid-argument", `syntax error in pattern: ${pattern}`);
}

function escape(character: string): string {
  return /[\\^$.*+?()[\]{}|/-]/.test(character) ? `\\${character}` : character;
}
