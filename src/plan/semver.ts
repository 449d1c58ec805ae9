/**
 * Ranges of versions as package managers write them, over image tags: "1.4.x", "1.4", "^1.4", "~1.4.2",
 * ">=1.2 <2", "1.x || 3.x". Tags may begin with "v"; those with a suffix ("1.4.2-alpine") match only a
 * range that ends in the same suffix ("1.4.x-alpine"), since they are other images.
 */

import { err, ok, type Result } from "#base/result.ts";

type Version = readonly [major: number, minor: number, patch: number];

interface Bound {
  readonly from: Version;
  /** Exclusive. */
  readonly to: Version;
}

export interface Range {
  readonly bounds: readonly Bound[];
  readonly suffix: string;
}

const TAG = /^v?(\d{1,9})(?:\.(\d{1,9}))?(?:\.(\d{1,9}))?(-[\w.-]+)?$/;
const PART =
  /^(\^|~|>=|<=|>|<|=)?v?(\d{1,9}|[x*])(?:\.(\d{1,9}|[x*]))?(?:\.(\d{1,9}|[x*]))?(-[\w.-]+)?$/i;
const MAX: Version = [Number.MAX_SAFE_INTEGER, 0, 0];

export function parseRange(text: string): Result<Range> {
  const suffixes = new Set<string>();
  const bounds: Bound[] = [];
  for (const alternative of text.split("||")) {
    let bound: Bound = { from: [0, 0, 0], to: MAX };
    const words = alternative.trim().split(/\s+/);
    if (words[0] === "") return err("empty range");
    for (const word of words) {
      const match = PART.exec(word);
      if (match === null) return err(`not a version range: ${word}`);
      suffixes.add(match[5] ?? "");
      const one = boundOf(match[1] ?? "", match.slice(2, 5));
      bound = { from: max(bound.from, one.from), to: min(bound.to, one.to) };
    }
    bounds.push(bound);
  }
  const [suffix = "", ...others] = suffixes;
  return others.length > 0
    ? err("all versions of a range have the same suffix")
    : ok({ bounds, suffix });
}

/** The tag of the newest version in the range; of two names for it the longer, which says more. */
export function newestMatch(tags: readonly string[], range: Range): string | undefined {
  let best: { readonly tag: string; readonly version: Version } | undefined;
  for (const tag of tags) {
    const match = TAG.exec(tag);
    if (match === null || (match[4] ?? "") !== range.suffix) continue;
    const version: Version = [Number(match[1]), Number(match[2] ?? 0), Number(match[3] ?? 0)];
    if (!range.bounds.some(({ from, to }) => !less(version, from) && less(version, to))) continue;
    const beats =
      best === undefined ||
      less(best.version, version) ||
      (!less(version, best.version) && tag.length > best.tag.length);
    if (beats) best = { tag, version };
  }
  return best?.tag;
}

function boundOf(operator: string, texts: readonly (string | undefined)[]): Bound {
  const given: number[] = [];
  for (const text of texts) {
    if (text === undefined || !/^\d/.test(text)) break;
    given.push(Number(text));
  }
  const [major = 0, minor = 0, patch = 0] = given;
  const from: Version = [major, minor, patch];
  const after = next(from, given.length);
  switch (operator) {
    case "^":
      return {
        from,
        to: next(from, major > 0 || given.length < 2 ? 1 : minor > 0 ? 2 : given.length),
      };
    case "~":
      return { from, to: next(from, Math.min(given.length, 2)) };
    case ">=":
      return { from, to: MAX };
    case ">":
      return { from: after, to: MAX };
    case "<":
      return { from: [0, 0, 0], to: from };
    case "<=":
      return { from: [0, 0, 0], to: after };
    default:
      return { from, to: after };
  }
}

/** The first version that differs in one of the first so many numbers. */
function next([major, minor, patch]: Version, numbers: number): Version {
  if (numbers === 0) return MAX;
  if (numbers === 1) return [major + 1, 0, 0];
  return numbers === 2 ? [major, minor + 1, 0] : [major, minor, patch + 1];
}

function less(a: Version, b: Version): boolean {
  for (const at of [0, 1, 2] as const) if (a[at] !== b[at]) return a[at] < b[at];
  return false;
}

function max(a: Version, b: Version): Version {
  return less(a, b) ? b : a;
}

function min(a: Version, b: Version): Version {
  return less(a, b) ? a : b;
}
