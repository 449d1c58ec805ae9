/**
 * The `.env` file beside a Compose file: `NAME=value` with an optional `export`, comments, quotes
 * (single ones keep everything, double ones know `\n`, `\"` and the like), and variables in what is
 * not in single quotes: of the caller, or of lines before.
 */

import type { Result } from "#base/result.ts";
import { type Lookup, substituteLeniently } from "./interpolate.ts";
import { type ComposeError, catchRefusal, type Locate, type Path, Refusal } from "./refusal.ts";

/** `file` is for errors, which name it and the line. */
export function parseDotEnv(
  text: string,
  file: string,
  lookup: Lookup,
): Result<ReadonlyMap<string, string>, ComposeError> {
  const found = new Map<string, string>();
  const both: Lookup = (name) => lookup(name) ?? found.get(name);
  const locate: Locate = ([line]) => ({ file, line: Number(line) });
  return catchRefusal(locate, () => {
    for (const [index, raw] of text
      .replace(/^\uFEFF/, "")
      .split(/\r?\n/)
      .entries()) {
      const match = /^\s*(?:export\s+)?([A-Za-z_][\w.-]*)\s*=\s*(.*?)\s*$/.exec(raw);
      // Comments, and names alone, which add nothing to what the caller has.
      if (match === null) continue;
      const [, name = "", written = ""] = match;
      found.set(name, valueOf(written, both, [String(index + 1)]));
    }
    return found;
  });
}

function valueOf(written: string, lookup: Lookup, path: Path): string {
  const single = /^'([^']*)'\s*(?:#.*)?$/.exec(written);
  if (single !== null) return single[1] ?? "";
  const double = /^"((?:[^"\\]|\\.)*)"\s*(?:#.*)?$/.exec(written);
  if (double !== null) return substituteLeniently(unescaped(double[1] ?? ""), lookup);
  if (/^["']/.test(written)) throw new Refusal("a quote is not closed", path);
  return substituteLeniently(written.replace(/(^|\s+)#.*$/, "").trimEnd(), lookup);
}

const ESCAPES: Readonly<Record<string, string>> = { n: "\n", r: "\r", t: "\t", $: "$$" };

function unescaped(text: string): string {
  return text.replace(/\\(.)/g, (_, letter: string) => ESCAPES[letter] ?? letter);
}
