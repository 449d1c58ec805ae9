/** Query parameters of the swarm's endpoints: filters, versions, booleans. */

import { EngineError } from "#base/error.ts";
import { type JsonObject, readJson } from "./convert/read-json.ts";
import type { ApiRequest } from "./route.ts";

const TRUE_TEXTS: ReadonlySet<string> = new Set(["1", "t", "T", "TRUE", "true", "True"]);
const FALSE_TEXTS: ReadonlySet<string> = new Set(["0", "f", "F", "FALSE", "false", "False"]);
const UINT64_MAX = 2n ** 64n - 1n;

export type Filters = ReadonlyMap<string, readonly string[]>;

/** The filters of a list; one that the list does not know is refused. */
export function readFilters(request: ApiRequest, known: readonly string[]): Filters {
  const filters = request.filters();
  for (const key of filters.keys()) {
    if (!known.includes(key)) throw invalid(`invalid filter '${key}'`);
  }
  return filters;
}

export function valuesOf(filters: Filters, key: string): string[] {
  return [...(filters.get(key) ?? [])];
}

/** "key=value" or "key", which asks for any value. */
export function labelsOf(filters: Filters, key: string): Record<string, string> {
  return Object.fromEntries(
    valuesOf(filters, key).map((label) => {
      const at = label.indexOf("=");
      return at === -1 ? [label, ""] : [label.slice(0, at), label.slice(at + 1)];
    }),
  );
}

/** Values of an enumeration; empty ones are passed over, as docker does. */
export function enumsOf<T>(
  filters: Filters,
  key: string,
  parse: (name: string) => T | undefined,
): T[] {
  return valuesOf(filters, key)
    .filter((name) => name !== "")
    .map((name) => {
      const value = parse(name);
      if (value === undefined) throw invalid(`Invalid ${key} filter: '${name}'`);
      return value;
    });
}

/** The `version` that an update was made against. */
export function readVersion(request: ApiRequest, noun: string): { readonly index: bigint } {
  const text = request.query.get("version") ?? "";
  const index = /^[0-9]+$/.test(text) ? BigInt(text) : undefined;
  if (index !== undefined && index <= UINT64_MAX) return { index };
  const reason = index === undefined ? "invalid syntax" : "value out of range";
  throw invalid(
    `invalid ${noun} version '${text}': strconv.ParseUint: parsing ${JSON.stringify(text)}: ${reason}`,
  );
}

/** A boolean in Go's spelling; absent and empty mean false. */
export function readBool(request: ApiRequest, name: string): boolean {
  const text = request.query.get(name) ?? "";
  if (text === "" || FALSE_TEXTS.has(text)) return false;
  if (TRUE_TEXTS.has(text)) return true;
  throw invalid(`invalid value for ${name}: ${text}`);
}

/** The JSON body with the API version that gates its members. */
export async function readBody(request: ApiRequest): Promise<JsonObject> {
  const minor = request.version.major > 1 ? Number.MAX_SAFE_INTEGER : request.version.minor;
  return readJson(await request.json<unknown>(), minor);
}

function invalid(message: string): EngineError {
  return new EngineError("invalid-argument", message);
}
