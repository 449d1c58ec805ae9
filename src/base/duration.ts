/**
 * Durations in Go's syntax ("1h30m", "500ms", "2540h0m0s"). The API carries nanoseconds as int64;
 * inside, a duration is a number of nanoseconds: whole microseconds are exact up to 104 days and
 * whole milliseconds far beyond, so a double loses nothing that anybody sets.
 */

import { err, ok, type Result } from "./result.ts";

export const NANOSECOND = 1;
export const MICROSECOND = 1_000;
export const MILLISECOND = 1_000_000;
export const SECOND = 1_000_000_000;
export const MINUTE = 60 * SECOND;
export const HOUR = 60 * MINUTE;

const UNITS: Readonly<Record<string, number>> = {
  ns: NANOSECOND,
  us: MICROSECOND,
  µs: MICROSECOND,
  μs: MICROSECOND,
  ms: MILLISECOND,
  s: SECOND,
  m: MINUTE,
  h: HOUR,
};

/** Parses Go's duration syntax into nanoseconds; the error reads as Go's `time.ParseDuration`. */
export function parseDuration(text: string): Result<number> {
  const sign = text.startsWith("-") ? -1 : 1;
  const body = text.replace(/^[-+]/, "");
  if (body === "0") return ok(0);
  if (body === "") return err(`time: invalid duration ${JSON.stringify(text)}`);
  const part = /(\d+\.?\d*|\.\d+)([a-z\u00b5\u03bc]*)/y;
  let total = 0;
  while (part.lastIndex < body.length) {
    const match = part.exec(body);
    if (match === null) return err(`time: invalid duration ${JSON.stringify(text)}`);
    const [, digits = "", unit = ""] = match;
    if (unit === "") return err(`time: missing unit in duration ${JSON.stringify(text)}`);
    const scale = UNITS[unit];
    if (scale === undefined) {
      return err(`time: unknown unit ${JSON.stringify(unit)} in duration ${JSON.stringify(text)}`);
    }
    total += Number(digits) * scale;
  }
  return ok(sign * Math.round(total));
}

/** Formats nanoseconds as Go's `Duration.String` does. */
export function formatDuration(ns: number): string {
  if (ns === 0) return "0s";
  const sign = ns < 0 ? "-" : "";
  const abs = Math.abs(ns);
  if (abs < MICROSECOND) return `${sign}${abs}ns`;
  if (abs < MILLISECOND) return `${sign}${trim(abs / MICROSECOND)}µs`;
  if (abs < SECOND) return `${sign}${trim(abs / MILLISECOND)}ms`;
  const hours = Math.floor(abs / HOUR);
  const minutes = Math.floor((abs % HOUR) / MINUTE);
  const seconds = trim((abs % MINUTE) / SECOND);
  if (hours > 0) return `${sign}${hours}h${minutes}m${seconds}s`;
  if (minutes > 0) return `${sign}${minutes}m${seconds}s`;
  return `${sign}${seconds}s`;
}

function trim(value: number): string {
  return String(Number(value.toFixed(9)));
}
