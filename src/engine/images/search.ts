/** `docker search`: what a registry finds, and the filters that docker applies itself. */

import { EngineError } from "#base/error.ts";
import type { SearchHit } from "#platform/registry/search.ts";
import type { AuthConfig } from "#wire/docker/images.ts";
import type { Filters } from "../ports.ts";
import type { ImageContext } from "./context.ts";

export interface SearchRequest {
  readonly term: string;
  readonly limit: number;
  readonly filters: Filters;
  readonly auth?: AuthConfig | undefined;
  readonly signal?: AbortSignal | undefined;
}

const LIMIT_MAX = 100;
const KNOWN_FILTERS = ["is-automated", "is-official", "stars"];

export async function searchImages(
  context: ImageContext,
  { term, limit, filters, auth, signal }: SearchRequest,
): Promise<readonly SearchHit[]> {
  const unknown = [...filters.keys()].find((key) => !KNOWN_FILTERS.includes(key));
  if (unknown !== undefined) {
    throw new EngineError("invalid-argument", `invalid filter '${unknown}'`);
  }
  if (!Number.isInteger(limit) || limit < 1 || limit > LIMIT_MAX) {
    throw new EngineError(
      "invalid-argument",
      `limit ${limit} is outside the range of [1, ${LIMIT_MAX}]`,
    );
  }
  if (/^https?:\/\//.test(term)) {
    const reason = `invalid repository name: repository name (${term.replace(/^https?:\/\//, "")}) should not have a scheme`;
    throw new EngineError("invalid-argument", reason);
  }
  const official = readFlag(filters, "is-official");
  const automated = readFlag(filters, "is-automated");
  const stars = Math.max(0, ...(filters.get("stars") ?? []).map(readStars));
  const hits = await context.registry.search(term, limit, { auth, signal });
  return hits.filter(
    (hit) =>
      hit.star_count >= stars &&
      (official === undefined || hit.is_official === official) &&
      (automated === undefined || hit.is_automated === automated),
  );
}

function readFlag(filters: Filters, name: string): boolean | undefined {
  const [value] = filters.get(name) ?? [];
  if (value === undefined) return undefined;
  if (value === "true" || value === "1") return true;
  if (value === "false" || value === "0") return false;
  throw new EngineError("invalid-argument", `invalid filter '${name}=${value}'`);
}

function readStars(value: string): number {
  if (/^\d+$/.test(value)) return Number(value);
  throw new EngineError("invalid-argument", `invalid filter 'stars=${value}'`);
}
