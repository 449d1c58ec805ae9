/**
 * JSON the way Go's decoder reads it, which clients rely on without knowing: names of fields match
 * without regard to case, null is the same as absent, an empty body is the zero value. Names that
 * users chose (labels, options, sysctls…) are left alone.
 */

import { EngineError } from "#base/error.ts";
import { FIELD_NAMES, MAP_FIELDS } from "./go-json-names.ts";
import { AFTER_JSON, goSyntaxProblem } from "./go-json-syntax.ts";
import { asGoValue, checkGoType } from "./go-json-types.ts";

const CANONICAL: ReadonlyMap<string, string> = new Map(
  FIELD_NAMES.map((name) => [name.toLowerCase(), name]),
);
const EXACT: ReadonlySet<string> = new Set(FIELD_NAMES);
/** Nesting beyond this is no Engine API body, but an attack on the stack. */
const MAX_DEPTH = 64;

/** Undefined for an empty body; `invalid-argument` for malformed JSON or one that is no object. */
export function parseGoJson(text: string): unknown {
  if (text.trim() === "") return undefined;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    const problem = goSyntaxProblem(text);
    const trailing = problem === AFTER_JSON;
    throw new EngineError("invalid-argument", trailing ? problem : `invalid JSON: ${problem}`, {
      cause: error,
    });
  }
  if (value === null) return undefined;
  return canonicalize(value, false, 0);
}

/** `userKeys`: the names of this object are the user's, those below it are fields again. */
function canonicalize(value: unknown, userKeys: boolean, depth: number): unknown {
  if (depth > MAX_DEPTH) throw new EngineError("invalid-argument", "invalid JSON: nested too deep");
  if (Array.isArray(value)) return value.map((item) => canonicalize(item, false, depth + 1));
  if (typeof value !== "object" || value === null) return value;
  const result: Record<string, unknown> = {};
  for (const [key, item] of Object.entries(value)) {
    if (item === null) continue;
    const name = userKeys ? key : fieldName(key);
    if (!userKeys) checkGoType(name, item);
    const below = canonicalize(
      userKeys ? item : asGoValue(name, item),
      !userKeys && MAP_FIELDS.has(name),
      depth + 1,
    );
    // defineProperty semantics: "__proto__" is a name like any other.
    Object.defineProperty(result, name, {
      value: below,
      enumerable: true,
      configurable: true,
      writable: true,
    });
  }
  return result;
}

function fieldName(key: string): string {
  return EXACT.has(key) ? key : (CANONICAL.get(key.toLowerCase()) ?? key);
}
